// Elements of a view: made, filled, and drawn anew when their width changes.

// An element with attributes (a function listens: {click: f}; null and false are left out) and children: nodes, text.
export function build(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (typeof value === "function") made.addEventListener(name, value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

// A part of a view under a heading of its own.
export function headed(title, ...children) {
  return build("div", { class: "chart-part" }, build("h3", {}, title), ...children);
}

// An element that `draw(width)` fills, at once and whenever its width changes; `draw` returns nodes. Beyond `again()`,
// which draws anew, it costs nothing while its width stays as it is.
export function fitted(attributes, draw) {
  const box = build("div", attributes);
  let width = 0;
  const again = () => width && box.replaceChildren(...[draw(width)].flat());
  new ResizeObserver(([entry]) => {
    const found = Math.floor(entry.contentRect.width);
    if (found === width || !found) return;
    width = found;
    again();
  }).observe(box);
  box.again = again;
  return box;
}

// Calls `work` before the next picture, however often it is asked to until then.
export function oncePerFrame(work) {
  let asked = false;
  return () => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      work();
    });
  };
}
