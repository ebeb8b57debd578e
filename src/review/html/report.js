"use strict";
// What a cell sorts by: numbers, then words, then NaN, then nothing.
const rank = (cell) => {
  const text = cell.dataset.v ?? cell.textContent.trim();
  if (text === "") return [3, 0];
  if (text === "NaN") return [2, 0];
  const number = Number(text);
  return Number.isNaN(number) ? [1, text] : [0, number];
};
const sort = (table, head) => {
  const column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  const rows = [...table.tBodies[0].rows].map((row) => [rank(row.cells[column]), row]);
  rows.sort(([[a, x]], [[b, y]]) => {
    if (a !== b) return a - b;
    const order = typeof x === "string" ? x.localeCompare(y) : x < y ? -1 : x > y ? 1 : 0;
    return down ? -order : order;
  });
  for (const other of head.parentNode.cells) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...rows.map(([, row]) => row));
};
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => sort(button.closest("table"), button.closest("th")));
}
const field = document.getElementById("filter");
if (field) {
  const rows = [...document.querySelectorAll("#runs tbody tr")].map((row) => [row, row.textContent.toLowerCase()]);
  const count = document.getElementById("count");
  field.closest("div").hidden = false;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/);
    let shown = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    count.textContent = `${shown} of ${rows.length} runs`;
  });
}
const legend = document.querySelector(".legend");
if (legend) {
  legend.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
    const pressed = [...legend.querySelectorAll("[aria-pressed=true]")].map((one) => one.dataset.g);
    for (const line of document.querySelectorAll("#curves path.on")) line.classList.remove("on");
    for (const group of pressed) for (const line of document.querySelectorAll(`#curves path.${group}`)) line.classList.add("on");
    document.getElementById("curves").classList.toggle("focus", pressed.length > 0);
  });
}
