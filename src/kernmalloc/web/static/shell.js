// The page around its parts: a section for each, links to them, and the kernel.

import { Client } from "./client.js";
import { build } from "./views/dom.js";

// Draw all parts by the views of those names.
export function startPage(views) {
  const began = performance.now();
  const { parts, kernel } = JSON.parse(document.getElementById("data").textContent);
  const page = kernel ? new Client(kernel, document.getElementById("worker").textContent) : null;
  const links = parts.map((part, number) => {
    const root = build("section", { id: `part-${number}`, "aria-labelledby": `title-${number}` });
    root.append(build("h2", { id: `title-${number}` }, part.title));
    document.querySelector("main").append(root);
    views[part.view](root, part.data, page);
    return build("a", { href: `#part-${number}` }, part.title);
  });
  document.querySelector("header nav").append(...links);
  const done = (name) => () => document.body.setAttribute(name, Math.round(performance.now() - began));
  const drawn = () => requestAnimationFrame(done("data-drawn"));
  if (page) {
    page.ready.then(drawn);
    page.ready.then(() => page.boot()).then(done("data-booted"), (error) =>
      document.querySelector("main").prepend(build("p", { class: "refused", role: "alert" }, error.message)),
    );
  } else drawn();
  window.kernel = page;
}
