// Charts are drawn when they come into view; closed claims cost nothing.
(() => {
  const store = document.getElementById("charts");
  if (!store) return;
  const { specifications, charts } = JSON.parse(store.textContent);
  const rows = (table) => {
    const columns = Object.entries(table);
    const lengths = columns.filter(([, v]) => Array.isArray(v)).map(([, v]) => v.length);
    return Array.from({ length: lengths[0] ?? 1 }, (_, k) =>
      Object.fromEntries(columns.map(([key, v]) => [key, Array.isArray(v) ? v[k] : v])),
    );
  };
  const drawn = new Map();
  const draw = (place) => {
    if (drawn.has(place)) return drawn.get(place);
    const chart = charts[place.dataset.chart];
    const spec = {
      ...specifications[chart.spec],
      description: chart.description,
      height: chart.height,
      datasets: { rows: chart.tables.flatMap(rows) },
    };
    const work = vegaEmbed(place, spec, {
      actions: false,
      renderer: "svg",
      tooltip: { theme: "page" },
    }).then(
      () => place.classList.add("drawn-chart"),
      (error) => {
        place.textContent = `This chart could not be drawn: ${error.message}`;
      },
    );
    drawn.set(place, work);
    return work;
  };
  const places = Array.from(document.querySelectorAll("[data-chart]"));
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
  places.forEach((place) => watcher.observe(place));

  // Print with every visible chart drawn, which takes longer than a browser waits of itself.
  const button = document.getElementById("print");
  button.hidden = false;
  button.addEventListener("click", async () => {
    dispatchEvent(new Event("beforeprint"));
    await Promise.all(places.filter((place) => place.offsetParent).map(draw));
    print();
  });
})();
