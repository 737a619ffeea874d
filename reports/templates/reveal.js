// Links to a claim or a figure open it; arrow keys go from one to the next; on paper all are open.
(() => {
  const all = (selector, within = document) => Array.from(within.querySelectorAll(selector));
  const open = (target) => {
    for (let node = target; node; node = node.parentElement) {
      if (node.tagName === "DETAILS") node.open = true;
      node.hidden = false;
    }
  };
  const reveal = () => {
    let name;
    try {
      name = decodeURIComponent(location.hash.slice(1));
    } catch {
      return;
    }
    const target = name && document.getElementById(name);
    if (!target) return;
    open(target);
    target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  // A link to the hash that is already there changes nothing, but its claim may be closed.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link && link.hash === location.hash) reveal();
  });

  // On the heading of a claim or a figure: up and down, Home and End.
  document.addEventListener("keydown", (event) => {
    const here = event.target.closest?.("details.fold > summary");
    if (!here || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const headings = all("details.fold:not([hidden]) > summary", here.closest("section"));
    const at = headings.indexOf(here);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: headings.length - 1 }[event.key];
    if (to === undefined || !headings[to]) return;
    event.preventDefault();
    headings[to].focus();
  });

  addEventListener("beforeprint", () => {
    all("details.fold:not([hidden])").forEach((fold) => (fold.open = true));
  });
  reveal();
})();
