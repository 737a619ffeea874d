"use strict";

(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));

  // Links to a claim open it.
  const reveal = () => {
    let name;
    try {
      name = decodeURIComponent(location.hash.slice(1));
    } catch {
      return;
    }
    const target = name && document.getElementById(name);
    if (!target) return;
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
    }
    target.hidden = false;
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  // A link to the hash that is already there changes nothing, but its claim may be closed.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link && link.hash === location.hash) reveal();
  });

  // Charts are drawn when they come into view; closed claims cost nothing.
  const store = document.getElementById("charts");
  if (store) {
    const { specifications, charts } = JSON.parse(store.textContent);
    const rows = (table) => {
      const columns = Object.entries(table);
      const lengths = columns.filter(([, v]) => Array.isArray(v)).map(([, v]) => v.length);
      return Array.from({ length: lengths[0] ?? 1 }, (_, k) =>
        Object.fromEntries(columns.map(([key, v]) => [key, Array.isArray(v) ? v[k] : v])),
      );
    };
    const draw = (place) => {
      const chart = charts[place.dataset.chart];
      const spec = {
        ...specifications[chart.spec],
        description: chart.description,
        height: chart.height,
        datasets: { rows: chart.tables.flatMap(rows) },
      };
      vegaEmbed(place, spec, { actions: false, renderer: "svg", tooltip: { theme: "page" } }).then(
        () => place.classList.add("drawn-chart"),
        (error) => {
          place.textContent = `This chart could not be drawn: ${error.message}`;
        },
      );
    };
    const watcher = new IntersectionObserver(
      (entries) => {
        for (const entry of entries) {
          if (!entry.isIntersecting) continue;
          watcher.unobserve(entry.target);
          draw(entry.target);
        }
      },
      { rootMargin: "300px" },
    );
    all("[data-chart]").forEach((place) => watcher.observe(place));
  }

  // Search and filter.
  const tools = document.querySelector(".tools");
  if (tools) {
    tools.hidden = false;
    const search = document.getElementById("search");
    const filters = all("[data-filter]", tools);
    const items = all("[data-claim]");
    const texts = new Map(items.map((item) => [item, item.textContent.toLowerCase()]));
    const apply = () => {
      const wanted = search.value.trim().toLowerCase();
      const verdicts = new Set(
        filters.filter((b) => b.getAttribute("aria-pressed") === "true").map((b) => b.dataset.filter),
      );
      const matching = new Set(
        items
          .filter((item) => verdicts.has(item.dataset.verdict) && texts.get(item).includes(wanted))
          .map((item) => item.dataset.claim),
      );
      items.forEach((item) => (item.hidden = !matching.has(item.dataset.claim)));
      all("table.claims tbody").forEach((body) => {
        body.hidden = !body.querySelector("tr.row:not([hidden])");
      });
      const total = new Set(items.map((item) => item.dataset.claim)).size;
      document.getElementById("found").textContent =
        matching.size === total ? "" : `${matching.size} of ${total} claims`;
    };
    search.addEventListener("input", apply);
    filters.forEach((button) =>
      button.addEventListener("click", () => {
        button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
        apply();
      }),
    );
    const openAll = document.getElementById("open-all");
    openAll.addEventListener("click", () => {
      const open = openAll.textContent === "Open all";
      all("details.claim").forEach((claim) => (claim.open = open));
      openAll.textContent = open ? "Close all" : "Open all";
    });
  }

  // On paper everything is open.
  addEventListener("beforeprint", () => {
    all("details.claim").forEach((claim) => {
      if (!claim.hidden) claim.open = true;
    });
  });

  reveal();
})();
