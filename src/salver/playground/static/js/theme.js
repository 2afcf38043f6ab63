// Light, dark, or as the system has it.

import { recall, remember } from "./store.js";

const NEXT = { auto: "light", light: "dark", dark: "auto" };
const WORDS = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };

/** Puts the remembered theme on the page and lets a button change it. */
export function themeButton(button) {
  let theme = recall("theme", "auto");
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    button.setAttribute("aria-label", WORDS[theme]);
    button.title = WORDS[theme];
  };
  button.addEventListener("click", () => {
    theme = NEXT[theme] ?? "auto";
    remember("theme", theme);
    apply();
  });
  apply();
}
