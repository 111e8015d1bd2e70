/** Light, dark, or as the system says. */

const KEY = "latent-codes-theme";
const THEMES = /** @type {const} */ (["auto", "light", "dark"]);
const NAMES = { auto: "Auto", light: "Light", dark: "Dark" };
const SENTENCES = { auto: "as the system says", light: "light", dark: "dark" };

/** @param {HTMLButtonElement} button @param {() => void} changed */
export function mountTheme(button, changed) {
  const system = matchMedia("(prefers-color-scheme: dark)");
  let theme = THEMES.find((name) => name === localStorage.getItem(KEY)) ?? "auto";

  const show = () => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = NAMES[theme];
    button.setAttribute("aria-label", `Colours: ${SENTENCES[theme]}`);
    changed();
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    localStorage.setItem(KEY, theme);
    show();
  });
  system.addEventListener("change", show);
  show();
}
