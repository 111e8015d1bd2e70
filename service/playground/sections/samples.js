/** Several samples of the input's code side by side, at the temperatures of the sliders. */

import { differences, oneHot } from "../code.js";
import { flattened } from "../api.js";
import { Latest } from "../latest.js";
import { Strip } from "./strip.js";

/** @typedef {import("../app.js").Page} Page */

/** @param {Page} page */
export function mountSamples(page) {
  const { store, api, element } = page;
  const sampling = new Latest(page.report);
  const strip = new Strip(element("samples"), load);
  const input = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (element(id));

  input("temperature").addEventListener("input", () => store.set({ temperature: Number(input("temperature").value) }));
  input("relaxation").addEventListener("input", () => {
    store.set({ relaxation_temperature: rounded(10 ** Number(input("relaxation").value)) });
  });
  input("num-samples").addEventListener("input", () => store.set({ num_samples: Number(input("num-samples").value) }));
  input("seed-fixed").addEventListener("change", () => store.set({ seed_fixed: input("seed-fixed").checked }));
  element("redraw").addEventListener("click", () => sample(null));
  input("seed").addEventListener("change", () => {
    const text = input("seed").value.trim();
    const seed = Number(text);
    const fits = /^\d+$/.test(text) && Number.isSafeInteger(seed);
    input("seed").setAttribute("aria-invalid", String(!fits));
    element("seed-problem").textContent = fits ? "" : `Seed: expected a whole number from 0 to 2^53 - 1, got “${text}”.`;
    if (fits) sample(seed);
  });

  /** @param {number | null} seed  null: the service draws one, and says which */
  function sample(seed) {
    const { model, input: sent, temperature, relaxation_temperature, num_samples } = store.state;
    if (!model || !sent) return;
    const body = {
      inputs: [sent.values],
      temperature,
      relaxation_temperature,
      num_samples,
      outputs: ["codes", "relaxed"],
      ...(seed === null ? {} : { seed }),
    };
    sampling.ask(
      () => api.reconstruct(model, body),
      (reply) => {
        const several = (/** @type {any} */ rows) => (num_samples === 1 ? [rows] : rows);
        const [codes, relaxed, outputs] = [reply.codes[0], reply.relaxed[0], reply.outputs[0]].map(several);
        const samples = codes.map((/** @type {number[]} */ code, /** @type {number} */ index) => ({
          code,
          relaxed: relaxed[index],
          output: flattened(outputs[index]),
        }));
        // At temperature 0 nothing is drawn, and the seed before stays for when it is.
        store.set({ samples, ...(reply.seed === null ? {} : { seed: reply.seed }) });
      },
    );
  }

  /** @param {number} index */
  function load(index) {
    const { code, output } = store.state.samples[index];
    page.load({ label: `sample ${index + 1}`, code, output, posterior: page.posteriorOfInput() });
  }

  store.watch(["model"], ({ model }) => {
    if (!model) return;
    sampling.forget();
    store.set({ relaxation_temperature: model.relaxation_temperature, samples: [] });
  });
  store.watch(["input", "temperature", "relaxation_temperature", "num_samples", "seed_fixed"], (state) => {
    sample(state.seed_fixed ? state.seed : null);
  });

  store.watch(["temperature", "relaxation_temperature", "num_samples", "seed"], show);
  function show() {
    const { temperature, relaxation_temperature, num_samples, seed } = store.state;
    input("temperature").value = String(temperature);
    element("temperature-value").textContent = temperature.toFixed(2);
    input("relaxation").value = String(Math.log10(relaxation_temperature));
    element("relaxation-value").textContent = String(relaxation_temperature);
    input("relaxation").setAttribute("aria-valuetext", String(relaxation_temperature));
    input("num-samples").value = String(num_samples);
    element("num-samples-value").textContent = String(num_samples);
    if (document.activeElement !== input("seed")) input("seed").value = seed === null ? "" : String(seed);
  }
  show();

  store.watch(["samples"], showSamples);
  page.onTheme(showSamples);
  function showSamples() {
    const { model, samples } = store.state;
    if (!model) return;
    const most = page.codeOfInput();
    const what = model.kind === "binary" ? "bits" : "symbols";
    const items = samples.map(({ code, relaxed, output }, index) => {
      const away = most ? `, ${differences(code, most).length} ${what} from the most probable code` : "";
      const maps = [
        { name: "code", values: oneHot(code, model) },
        { name: "relaxed", values: relaxed },
      ];
      return { output, label: `Sample ${index + 1}${away}`, maps };
    });
    strip.show(items, model);
  }
}

/** Three significant digits. @param {number} number */
function rounded(number) {
  return Number(number.toPrecision(3));
}
