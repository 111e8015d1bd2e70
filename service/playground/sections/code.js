/** The code in the middle: encoded from the input, shown as cells, changed by hand, decoded at once. */

import { differences, fromHex, toHex, withValue } from "../code.js";
import { flattened } from "../api.js";
import { CodeGrid } from "../grid.js";
import { Latest } from "../latest.js";
import { imageShape, paint, paintChange } from "../pictures.js";

/** @typedef {import("../app.js").Page} Page */
/** @typedef {import("../types.js").Code} Code */
/** @typedef {import("../types.js").Loaded} Loaded */
/** @typedef {import("../types.js").State} State */

/** @param {Page} page */
export function mountCode(page) {
  const { store, api, element } = page;
  const encoding = new Latest(page.report);
  const decoding = new Latest(page.report);
  const text = /** @type {HTMLInputElement} */ (element("code-text"));
  const canvas = (/** @type {string} */ id) => /** @type {HTMLCanvasElement} */ (element(id));
  const grid = new CodeGrid(element("grid"), choose, (sentence) => (element("cell-sentence").textContent = sentence));

  /** @param {number} latent @param {number} value */
  function choose(latent, value) {
    const { model, code } = store.state;
    if (!model) return;
    if (!Number.isInteger(value) || value < 0 || value >= model.num_categories) {
      const got = Number.isNaN(value) ? "no number" : value;
      codeProblem(`Latent ${latent + 1}: expected a category from 0 to ${model.num_categories - 1}, got ${got}.`);
      store.set({ code: [...code] });
      return;
    }
    if (code[latent] !== value) changeTo(withValue(code, latent, value));
  }

  /** @param {Code} code */
  function changeTo(code) {
    codeProblem("");
    store.set({ undo: [...store.state.undo, store.state.code], code });
    decode();
  }

  function decode() {
    const { model, code } = store.state;
    if (!model) return;
    const start = performance.now();
    decoding.ask(
      () => api.decode(model, { codes: [code] }),
      ([output]) => store.set({ output, latency_ms: performance.now() - start }),
    );
  }

  /** @param {string} sentence */
  function codeProblem(sentence) {
    element("code-problem").textContent = sentence;
    text.setAttribute("aria-invalid", String(sentence !== ""));
  }

  element("undo-flip").addEventListener("click", undo);
  element("grid").addEventListener("keydown", (event) => {
    if (event.key.toLowerCase() !== "z" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    undo();
  });
  function undo() {
    const { undo: before } = store.state;
    if (before.length === 0) return;
    codeProblem("");
    store.set({ undo: before.slice(0, -1), code: before[before.length - 1] });
    decode();
  }

  element("reset-code").addEventListener("click", () => {
    const { loaded } = store.state;
    if (loaded) page.load(loaded);
  });
  element("copy-code").addEventListener("click", () => void page.copy(text.value, element("code-copied")));
  element("code-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const { model } = store.state;
    if (!model) return;
    try {
      changeTo(fromHex(text.value, model));
    } catch (error) {
      codeProblem(/** @type {Error} */ (error).message);
    }
  });

  store.watch(["model"], ({ model }) => {
    if (!model) return;
    encoding.forget();
    decoding.forget();
    codeProblem("");
    grid.prepare(model);
    element("code-explain").textContent =
      model.kind === "binary"
        ? `${model.num_latents} bits, each a question that the model made up. A filled cell is a 1; the bar in it is the ` +
          `probability of a 1. Pale: unsure. Press a cell to flip it.`
        : `${model.num_latents} symbols of ${model.num_categories} categories: a row a symbol, its category filled, the ` +
          `others as dark as they are probable. Press another category to choose it.`;
  });

  store.watch(["input"], ({ model, input }) => {
    if (!model || !input) return;
    const body = { inputs: [input.values], outputs: ["codes", "probabilities", "margins"] };
    encoding.ask(
      () => api.reconstruct(model, body),
      (reply) => {
        page.clear();
        page.loadEncoding({
          label: "of this " + (imageShape(model.input) ? "picture" : "input"),
          code: reply.codes[0],
          output: flattened(reply.outputs[0]),
          posterior: { probabilities: reply.probabilities[0], margins: reply.margins[0] },
        });
      },
    );
  });

  store.watch(["code", "loaded"], (state) => {
    const { model, code, loaded } = state;
    if (!model || code.length === 0) return;
    grid.update(state);
    if (document.activeElement !== text || text.getAttribute("aria-invalid") !== "true") text.value = toHex(code, model);
    const changed = loaded ? differences(code, loaded.code).length : 0;
    element("code-source").textContent = loaded ? loaded.label : "";
    element("reset-code").toggleAttribute("disabled", changed === 0);
    const what = model.kind === "binary" ? ["bit", "bits"] : ["symbol", "symbols"];
    element("change-count").textContent = changed === 0 ? "" : `${changed} ${what[changed === 1 ? 0 : 1]} changed`;
  });
  store.watch(["undo"], ({ undo: before }) => element("undo-flip").toggleAttribute("disabled", before.length === 0));

  store.watch(["output", "loaded"], showOutput);
  page.onTheme(() => showOutput(store.state));

  /** @param {State} state */
  function showOutput({ model, output, loaded, input, latency_ms: latency, code }) {
    if (!model || !loaded || output.length === 0) return;
    paint(canvas("output"), output, model.input);
    paint(canvas("before"), loaded.output, model.input);
    paintChange(canvas("change"), loaded.output, output, model.input);
    for (const id of ["output", "before", "change"]) canvas(id).classList.toggle("bars", !imageShape(model.input));
    element("output-card").classList.toggle("touched", code !== loaded.code && differences(code, loaded.code).length > 0);
    element("latency").textContent = latency === 0 ? "" : `decoded in ${Math.max(1, Math.round(latency))} ms`;
    element("error-of-output").textContent =
      loaded.posterior && input ? `Mean squared error against the input: ${meanSquaredError(output, input.values).toFixed(4)}` : "";
  }
}

/** @param {number[]} one @param {number[]} other */
function meanSquaredError(one, other) {
  return one.reduce((sum, value, index) => sum + (value - other[index]) ** 2, 0) / one.length;
}
