// Search and filters. The choices are part of the address, so that a view can be shared.
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const tools = document.querySelector(".tools");
  if (!tools) return;
  tools.hidden = false;
  const search = document.getElementById("search");
  const verdicts = all("[data-filter]", tools);
  const section = document.getElementById("section");
  const claims = all("details.claim");
  const shown = all("[data-claim]");
  const texts = new Map(claims.map((claim) => [claim, claim.textContent.toLowerCase()]));
  const pressed = (button) => button.getAttribute("aria-pressed") === "true";

  const remember = () => {
    const query = new URLSearchParams();
    if (search.value.trim()) query.set("q", search.value.trim());
    const off = verdicts.filter((button) => !pressed(button));
    if (off.length) query.set("without", off.map((button) => button.dataset.filter).join(","));
    if (section.value) query.set("section", section.value);
    const text = query.toString();
    try {
      history.replaceState(null, "", `${text ? `?${text}` : location.pathname}${location.hash}`);
    } catch {
      // Some browsers do not let a local file change its address.
    }
  };

  const apply = () => {
    const wanted = search.value.trim().toLowerCase();
    const chosen = new Set(verdicts.filter(pressed).map((button) => button.dataset.filter));
    const matching = new Set(
      claims
        .filter(
          (claim) =>
            chosen.has(claim.dataset.verdict) &&
            texts.get(claim).includes(wanted) &&
            ["", claim.dataset.section].includes(section.value),
        )
        .map((claim) => claim.dataset.claim),
    );
    shown.forEach((item) => (item.hidden = !matching.has(item.dataset.claim)));
    all("table.claims tbody").forEach((body) => {
      body.hidden = !body.querySelector("tr.row:not([hidden])");
    });
    const found = matching.size === claims.length ? "" : `${matching.size} of ${claims.length} claims`;
    document.getElementById("found").textContent = found;
    document.getElementById("clear").hidden = !found;
  };
  const change = () => {
    apply();
    remember();
  };

  const given = new URLSearchParams(location.search);
  search.value = given.get("q") ?? "";
  const off = (given.get("without") ?? "").split(",");
  verdicts.forEach((b) => b.setAttribute("aria-pressed", !off.includes(b.dataset.filter)));
  const known = Array.from(section.options, (option) => option.value);
  section.value = known.find((value) => value === given.get("section")) ?? "";
  apply();

  search.addEventListener("input", change);
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    search.value = "";
    change();
  });
  section.addEventListener("change", change);
  verdicts.forEach((button) =>
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", !pressed(button));
      change();
    }),
  );
  document.getElementById("clear").addEventListener("click", () => {
    search.value = "";
    section.value = "";
    verdicts.forEach((button) => button.setAttribute("aria-pressed", true));
    change();
    search.focus();
  });
  document.querySelector("table.claims").addEventListener("sorted", apply);
  const openAll = document.getElementById("open-all");
  openAll.addEventListener("click", () => {
    const open = openAll.textContent === "Open all";
    claims.forEach((claim) => (claim.open = open));
    openAll.textContent = open ? "Close all" : "Open all";
  });
})();
