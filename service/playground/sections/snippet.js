/** The request behind what is on the screen, to copy. */

import { curl, python } from "../snippets.js";

/** @typedef {import("../app.js").Page} Page */

const NOTHING_YET = {
  encode: "Draw something first.",
  decode: "There is no code in the grid yet.",
  samples: "Draw something first.",
  generate: "Generate something first.",
  interpolate: "Choose a beginning and an end first.",
};

/** @param {Page} page */
export function mountSnippet(page) {
  const { store, api, element } = page;
  const subject = /** @type {HTMLSelectElement} */ (element("snippet-subject"));
  const language = () => /** @type {HTMLInputElement} */ (document.querySelector("[name=language]:checked")).value;
  let isDue = false;

  for (const control of [subject, ...document.getElementsByName("language")]) control.addEventListener("change", write);
  element("copy-snippet").addEventListener("click", () => {
    write();
    void page.copy(element("snippet").textContent ?? "", element("copied"));
  });

  function write() {
    isDue = false;
    const chosen = /** @type {import("../snippets.js").Subject} */ (subject.value);
    const spell = language() === "curl" ? curl : python;
    const text = spell(chosen, store.state, api.root, api.key !== "");
    element("snippet").textContent = text ?? NOTHING_YET[chosen];
    element("copy-snippet").toggleAttribute("disabled", text === null);
  }

  store.watch(
    ["model", "input", "code", "samples", "seed", "generated", "frames", "temperature", "relaxation_temperature"],
    () => {
      // After the pictures: nobody reads this while a slider moves.
      if (!isDue) setTimeout(write, 120);
      isDue = true;
    },
  );
}
