"use strict";

// Light or dark: the system's choice, until a reader makes one. Run before anything is painted.
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.scheme ?? (dark.matches ? "dark" : "light");
  // Where nothing can be stored, the choice lasts as long as the page.
  const withStorage = (work) => {
    try {
      return work(localStorage);
    } catch {
      return null;
    }
  };
  const chosen = withStorage((storage) => storage.getItem("depth-claims-scheme"));
  if (chosen === "dark" || chosen === "light") root.dataset.scheme = chosen;
  addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("scheme");
    const name = () => (button.textContent = current() === "dark" ? "Light" : "Dark");
    button.parentElement.hidden = false;
    button.addEventListener("click", () => {
      root.dataset.scheme = current() === "dark" ? "light" : "dark";
      withStorage((storage) => storage.setItem("depth-claims-scheme", root.dataset.scheme));
      name();
    });
    dark.addEventListener("change", name);
    name();
  });
})();
