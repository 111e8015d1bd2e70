/** From one code to another, a symbol at a time or along relaxed values. */

import { flattened } from "../api.js";
import { differences } from "../code.js";
import { flipPath, order, relaxedPath, singleChanges } from "../interpolation.js";
import { Latest } from "../latest.js";
import { paint } from "../pictures.js";
import { Strip } from "./strip.js";

/** @typedef {import("../app.js").Page} Page */
/** @typedef {import("../interpolation.js").Frame} Frame */
/** @typedef {import("../types.js").Loaded} Loaded */
/** @typedef {import("../types.js").Model} Model */

const MOST_STOPS = 65;
/** Outputs of more values, all single changes together, are not asked for: the order is then that of the latents. */
const MOST_VALUES = 1_000_000;
const RELAXED_STOPS = 17;
const SHOWN_STOPS = 9;

/** @param {Page} page */
export function mountInterpolate(page) {
  const { store, api, element } = page;
  const walking = new Latest(page.report);
  const ending = new Latest(page.report);
  const slider = /** @type {HTMLInputElement} */ (element("frame-slider"));
  const canvas = (/** @type {string} */ id) => /** @type {HTMLCanvasElement} */ (element(id));
  const strip = new Strip(element("frames"), (index) => store.set({ frame: shown()[index] }));

  element("set-from").addEventListener("click", () => store.set({ from: grid() }));
  element("set-to").addEventListener("click", () => store.set({ to: grid() }));
  slider.addEventListener("input", () => store.set({ frame: Number(slider.value) }));
  for (const radio of document.getElementsByName("way")) {
    radio.addEventListener("change", () => {
      store.set({ way: /** @type {"flips" | "relaxed"} */ (/** @type {HTMLInputElement} */ (radio).value) });
    });
  }

  /** @returns {Loaded} */
  function grid() {
    const { code, output } = store.state;
    return { label: "", code, output, posterior: null };
  }

  store.watch(["model"], ({ model }) => {
    if (!model) return;
    walking.forget();
    ending.forget();
    store.set({ from: null, to: null, frames: [], frame: 0 });
  });

  // Until ends are chosen: from the first input to the last of the model's own.
  store.watch(["loaded"], ({ from, loaded }) => {
    if (!from && loaded?.posterior) store.set({ from: { ...loaded, posterior: null } });
  });
  store.watch(["examples"], ({ model, examples }) => {
    if (!model || examples.length === 0) return;
    ending.ask(
      () => api.reconstruct(model, { inputs: examples.slice(-1) }),
      ({ codes, outputs }) => {
        const end = { label: "", code: codes[0], output: flattened(outputs[0]), posterior: null };
        if (!store.state.to) store.set({ to: end });
      },
    );
  });

  store.watch(["from", "to", "way"], ({ model, from, to, way }) => {
    if (!model) return;
    for (const [id, end] of /** @type {const} */ ([["from", from], ["to", to]])) {
      if (end) paint(canvas(id), end.output, model.input);
    }
    if (!from || !to) return;
    walking.ask(
      () => (way === "flips" ? byFlips(model, from, to) : relaxed(model, from, to)),
      (frames) => store.set({ frames, frame: Math.min(store.state.frame, frames.length - 1) }),
    );
  });

  /** @param {Model} model @param {Loaded} from @param {Loaded} to @returns {Promise<Frame[]>} */
  async function byFlips(model, from, to) {
    const latents = differences(from.code, to.code);
    const isCheap = latents.length * from.output.length <= MOST_VALUES;
    const changed = isCheap && latents.length ? await api.decode(model, { codes: singleChanges(from.code, to.code) }) : [];
    const ordered = changed.length ? order(latents, from.output, to.output, changed) : latents;
    const stops = flipPath(from.code, to.code, ordered, model, MOST_STOPS);
    const outputs = await api.decode(model, { codes: stops.map((stop) => stop.code) });
    return stops.map((stop, index) => ({ ...stop, output: outputs[index] }));
  }

  /** @param {Model} model @param {Loaded} from @param {Loaded} to @returns {Promise<Frame[]>} */
  async function relaxed(model, from, to) {
    const stops = relaxedPath(from.code, to.code, model, RELAXED_STOPS);
    const outputs = await api.decode(model, { relaxed: stops.map((stop) => stop.relaxed) });
    return stops.map((stop, index) => ({ ...stop, output: outputs[index] }));
  }

  /** Which frames the strip shows: evenly spaced, the ends among them. @returns {number[]} */
  function shown() {
    const last = store.state.frames.length - 1;
    const count = Math.min(SHOWN_STOPS, last + 1);
    return Array.from({ length: count }, (_, index) => (count === 1 ? 0 : Math.round((index * last) / (count - 1))));
  }

  store.watch(["frames", "frame"], show);
  page.onTheme(show);
  function show() {
    const { model, frames, frame } = store.state;
    element("interpolation").hidden = frames.length === 0;
    if (!model || frames.length === 0) return;
    const current = frames[Math.min(frame, frames.length - 1)];
    slider.max = String(frames.length - 1);
    slider.value = String(frame);
    slider.setAttribute("aria-valuetext", current.label);
    element("frame-label").textContent = current.label;
    paint(canvas("frame"), current.output, model.input);
    strip.show(
      shown().map((index) => ({ output: frames[index].output, label: frames[index].label, isCurrent: index === frame })),
      model,
    );
  }
}
