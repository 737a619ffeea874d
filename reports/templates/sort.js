// Tables sorted by their headings: ascending, descending, and back to the original order.
(() => {
  const value = (row, column) => {
    const cell = row.cells[column];
    const key = cell?.dataset.sort ?? cell?.textContent.trim() ?? "";
    const number = Number(key);
    return key !== "" && !Number.isNaN(number) ? number : key;
  };
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is missing comes last
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), "en", { numeric: true });
  };
  for (const table of document.querySelectorAll("table[data-sortable]")) {
    const groups = Array.from(table.tBodies);
    // A row, and the rows of explanation that follow it.
    const units = groups.flatMap((group) => {
      const found = [];
      for (const row of group.rows) {
        if (row.matches(".why")) found.at(-1)?.push(row);
        else if (!row.matches(".group")) found.push([row]);
      }
      return found.map((rows) => ({ rows, group }));
    });
    const headings = Array.from(table.tHead.rows[0].cells);
    headings.forEach((heading, column) => {
      const button = heading.querySelector("button.sort");
      if (!button) return;
      button.disabled = false;
      button.addEventListener("click", () => {
        const next = { none: "ascending", ascending: "descending", descending: "none" };
        const order = next[heading.getAttribute("aria-sort") ?? "none"];
        headings.forEach((other) => other.removeAttribute("aria-sort"));
        if (order !== "none") heading.setAttribute("aria-sort", order);
        table.classList.toggle("sorted", order !== "none");
        const sign = order === "descending" ? -1 : 1;
        const sorted =
          order === "none"
            ? units
            : [...units].sort((a, b) => {
                const [one, other] = [value(a.rows[0], column), value(b.rows[0], column)];
                const missing = one === "" || other === "";
                return (missing ? 1 : sign) * compare(one, other);
              });
        // Sorted rows leave their groups, whose headings the style then hides.
        for (const unit of sorted) (order === "none" ? unit.group : groups[0]).append(...unit.rows);
        table.dispatchEvent(new Event("sorted"));
      });
    });
  }
})();
