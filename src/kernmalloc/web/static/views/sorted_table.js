// A table that sorts itself by the column whose heading is pressed.

import { build } from "./dom.js";

// Columns: {title, value: row => what is sorted by, text: row => what is shown (default: the value), number: to the
// right, prose: may be long, bar: row => share of 1 that a bar under the text shows, meaning: what the heading's tip says}.
export function sortedTable(caption, columns, rows, total = null) {
  const body = build("tbody", {});
  const headings = columns.map((column, at) => heading(column, () => sortBy(at)));
  let by = -1;
  let descending = false;
  const lines = rows.map((row, place) => ({ row, place, line: line(columns, row) }));
  const show = () => body.replaceChildren(...lines.map((each) => each.line));

  function sortBy(at) {
    descending = by === at ? !descending : columns[at].number === true;
    by = at;
    const value = columns[at].value;
    lines.sort((a, b) => compared(value(a.row), value(b.row)) * (descending ? -1 : 1) || a.place - b.place);
    headings.forEach((cell, place) => {
      if (place === at) cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    show();
  }

  show();
  const foot = total ? build("tfoot", {}, line(columns, total)) : null;
  const table = build(
    "table",
    { class: "chart-table" },
    build("caption", {}, caption),
    build("thead", {}, build("tr", {}, headings)),
    body,
    foot,
  );
  return build("div", { class: "chart-scroll", tabindex: 0, role: "region", "aria-label": caption }, table);
}

function heading(column, press) {
  const button = build("button", { type: "button", title: column.meaning, click: press }, column.title);
  return build("th", { scope: "col", class: column.number ? "number" : null }, button);
}

function line(columns, row) {
  const cells = columns.map((column, at) => {
    const shown = (column.text ?? column.value)(row);
    const kind = column.number ? "number" : column.prose ? "prose" : null;
    const cell = build(at ? "td" : "th", { scope: at ? null : "row", class: kind });
    cell.append(...[shown].flat().map((each) => each ?? ""));
    if (column.bar) {
      cell.classList.add("chart-bar");
      cell.style.setProperty("--share", `${100 * Math.min(column.bar(row), 1)}%`);
    }
    return cell;
  });
  const made = build("tr", {}, cells);
  if (row.id) made.id = row.id;
  return made;
}

function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a ?? "").localeCompare(String(b ?? ""), "en", { numeric: true });
}
