"use strict";
// Sorting of the tables by their columns. Without it they stay in the order of execution.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const body = table.tBodies[0];
      const key = (row) => row.cells[column].dataset.order ?? row.cells[column].textContent.trim();
      const numeric = [...body.rows].some((row) => row.cells[column].dataset.order !== undefined);
      const compare = (a, b) => {
        if (!numeric) return key(a).localeCompare(key(b), "en", { numeric: true });
        const [x, y] = [a, b].map((row) => row.cells[column].dataset.order);
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined) || 0;
        return x - y;
      };
      body.append(...[...body.rows].sort((a, b) => (down ? -compare(a, b) : compare(a, b))));
    });
  });
}
// Paper cannot be unfolded.
const closed = [];
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details:not([open])")) closed.push(one), (one.open = true);
});
addEventListener("afterprint", () => {
  for (const one of closed.splice(0)) one.open = false;
});
document.documentElement.dataset.ready = "";
