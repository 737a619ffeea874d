// Links to a claim or a figure open it; on paper all are open.
(() => {
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

  addEventListener("beforeprint", () => {
    document.querySelectorAll("details.fold:not([hidden])").forEach((fold) => (fold.open = true));
  });
  reveal();
})();
