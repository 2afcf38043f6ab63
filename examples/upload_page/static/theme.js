// Dark where the browser asks for it, and when it changes its mind.
const dark = window.matchMedia("(prefers-color-scheme: dark)");
function follow() {
  document.documentElement.dataset.bsTheme = dark.matches ? "dark" : "light";
}
dark.addEventListener("change", follow);
follow();
