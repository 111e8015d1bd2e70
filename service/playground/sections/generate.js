/** Codes drawn from the prior. */

import { flattened } from "../api.js";
import { Latest } from "../latest.js";
import { Strip } from "./strip.js";

/** @typedef {import("../app.js").Page} Page */

const NUM_CODES = 12;

/** @param {Page} page */
export function mountGenerate(page) {
  const { store, api, element } = page;
  const generating = new Latest(page.report);
  const temperature = /** @type {HTMLInputElement} */ (element("prior-temperature"));
  const strip = new Strip(element("generated"), (index) => {
    const { code, output } = store.state.generated[index];
    page.load({ label: `generated, number ${index + 1}`, code, output, posterior: null });
    element("code-card").scrollIntoView({ block: "nearest", behavior: "smooth" });
  });

  element("generate").addEventListener("click", () => generate(null));
  temperature.addEventListener("input", () => store.set({ prior_temperature: Number(temperature.value) }));

  /** @param {number | null} seed */
  function generate(seed) {
    const { model, prior_temperature } = store.state;
    if (!model) return;
    const body = { num_samples: NUM_CODES, temperature: prior_temperature, ...(seed === null ? {} : { seed }) };
    generating.ask(
      () => api.generate(model, body),
      (reply) => {
        const generated = reply.codes.map((/** @type {number[]} */ code, /** @type {number} */ index) => ({
          code,
          relaxed: [],
          output: flattened(reply.outputs[index]),
        }));
        store.set({ generated, ...(reply.seed === null ? {} : { prior_seed: reply.seed }) });
      },
    );
  }

  store.watch(["model"], ({ model }) => {
    if (!model) return;
    generating.forget();
    store.set({ generated: [], prior_seed: null });
    generate(null);
  });
  store.watch(["prior_temperature"], ({ prior_seed }) => {
    show();
    generate(prior_seed);
  });
  store.watch(["generated", "prior_seed"], show);
  page.onTheme(show);

  function show() {
    const { model, generated, prior_temperature, prior_seed } = store.state;
    temperature.value = String(prior_temperature);
    element("prior-temperature-value").textContent = prior_temperature.toFixed(2);
    element("prior-seed").textContent = prior_seed === null ? "not drawn yet" : String(prior_seed);
    if (!model) return;
    strip.show(
      generated.map(({ output }, index) => ({ output, label: `Generated, number ${index + 1}` })),
      model,
    );
  }
}
