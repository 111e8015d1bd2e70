/** The page: puts the sections together, chooses the model, tells people what went wrong. */

import { Api, Refused } from "./api.js";
import { imageShape } from "./pictures.js";
import { mountCode } from "./sections/code.js";
import { mountGenerate } from "./sections/generate.js";
import { mountInput } from "./sections/input.js";
import { mountInterpolate } from "./sections/interpolate.js";
import { mountSamples } from "./sections/samples.js";
import { mountSnippet } from "./sections/snippet.js";
import { Store, initialState } from "./state.js";
import { mountTheme } from "./theme.js";

/** @typedef {import("./types.js").Code} Code */
/** @typedef {import("./types.js").Loaded} Loaded */
/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Posterior} Posterior */

const KEY_IN_TAB = "latent-codes-api-key";
/** How long the page says that it has copied. */
const COPIED_MS = 2500;

/** What the sections share. */
export class Page {
  store = new Store(initialState());
  api = new Api(new URL(".", document.baseURI));
  /** @type {(() => void)[]} */
  #themeListeners = [];
  /** @type {Loaded | null} */
  #ofInput = null;
  /** @type {Map<HTMLElement, number>} */
  #copiedTimers = new Map();

  /** @param {string} id @returns {HTMLElement} */
  element = (id) => {
    const found = document.getElementById(id);
    if (!found) throw new Error(`the page has no element #${id}`);
    return found;
  };

  /** Put a code into the grid, as where changes begin. @param {Loaded} loaded */
  load(loaded) {
    this.store.set({ loaded, code: loaded.code, output: loaded.output, undo: [], latency_ms: 0 });
  }

  /** The same for the most probable code of the input, which samples are compared with. @param {Loaded} loaded */
  loadEncoding(loaded) {
    this.#ofInput = loaded;
    this.load(loaded);
  }

  /** @returns {Posterior | null} */
  posteriorOfInput() {
    return this.#ofInput?.posterior ?? null;
  }

  /** @returns {Code | null} */
  codeOfInput() {
    return this.#ofInput?.code ?? null;
  }

  /** Say what went wrong, in words. @param {unknown} error */
  report = (error) => {
    if (!(error instanceof Error)) throw error;
    this.say(error.message);
    this.element("key-form").hidden = !(error instanceof Refused && error.needsKey);
    if (error instanceof Refused && error.needsKey) this.element("key").focus();
  };

  /** @param {string} sentence */
  say(sentence) {
    this.element("key-form").hidden = true;
    this.element("problem-text").textContent = sentence;
    this.element("problem").hidden = false;
  }

  /** Whatever was wrong is right again. */
  clear() {
    this.element("problem").hidden = true;
    this.element("problem-text").textContent = "";
  }

  /** @param {() => void} repaint  called when the colours change */
  onTheme(repaint) {
    this.#themeListeners.push(repaint);
  }

  themeChanged() {
    for (const listener of this.#themeListeners) listener();
  }

  /** @param {string} text @param {HTMLElement} status  where to say so, near what was pressed */
  async copy(text, status) {
    let done = true;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Only pages from this machine, or over HTTPS, may write to the clipboard that way.
      done = copiedBySelection(text);
    }
    status.textContent = done ? "Copied." : "This browser does not let the page copy; select the text instead.";
    clearTimeout(this.#copiedTimers.get(status));
    this.#copiedTimers.set(status, setTimeout(() => (status.textContent = ""), COPIED_MS));
  }
}

/** @param {string} text */
function copiedBySelection(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "hidden-visually";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** @param {Page} page */
async function chooseFirstModel(page) {
  const choice = /** @type {HTMLSelectElement} */ (page.element("model"));
  const models = (await page.api.models()).filter((model) => model.version !== null);
  if (models.length === 0) {
    page.say("This service has no model. Export one into its model repository and start it again.");
    return;
  }
  choice.replaceChildren(...models.map(({ name }) => new Option(name, name)));
  choice.disabled = false;
  const wanted = new URLSearchParams(location.search).get("model");
  choice.value = models.some(({ name }) => name === wanted) ? String(wanted) : models[0].name;
  await chooseModel(page, choice.value);
}

/** @param {Page} page @param {string} name */
async function chooseModel(page, name) {
  const model = await page.api.model(name);
  const examples = await page.api.examples(model);
  const choice = /** @type {HTMLSelectElement} */ (page.element("model"));
  if (choice.value !== name) return;
  page.clear();
  const size = imageShape(model.input) ? model.input.shape.join(" × ") : `${model.input.shape.join(" × ")} numbers`;
  const symbols =
    model.kind === "binary" ? `${model.num_latents} bits` : `${model.num_latents} symbols of ${model.num_categories} categories`;
  page.element("model-summary").textContent = `${size} to ${symbols} · version ${model.version}`;
  lead(page, model, symbols);
  page.element("main").setAttribute("aria-busy", "false");
  history.replaceState(null, "", `?${new URLSearchParams({ model: name })}`);
  // First everything fits itself to the model, then there is something to show.
  page.store.set({ model, input: null, loaded: null, code: [], output: [], undo: [] });
  page.store.set({ examples });
}

/** The sentences at the top, for pictures and for numbers. @param {Page} page @param {Model} model @param {string} symbols */
function lead(page, model, symbols) {
  const isImage = imageShape(model.input) !== null;
  const change = model.kind === "binary" ? "flip a bit" : "choose another category";
  page.element("lead-input").textContent = isImage ? "A picture becomes" : "Numbers become";
  page.element("lead-code").textContent = symbols;
  page.element("lead-output").textContent = isImage ? "a picture" : "numbers";
  page.element("lead-advice").textContent = `${isImage ? "Draw something" : "Change some"}, then ${change} and see what it meant.`;
}

function start() {
  const page = new Page();
  mountTheme(/** @type {HTMLButtonElement} */ (page.element("theme")), () => page.themeChanged());
  // In this order: the code is encoded before samples are drawn.
  for (const mount of [mountInput, mountCode, mountSamples, mountGenerate, mountInterpolate, mountSnippet]) mount(page);

  const choice = /** @type {HTMLSelectElement} */ (page.element("model"));
  choice.addEventListener("change", () => void chooseModel(page, choice.value).catch(page.report));
  page.element("problem-close").addEventListener("click", () => page.clear());
  page.api.key = sessionStorage.getItem(KEY_IN_TAB) ?? "";
  page.element("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    page.api.key = /** @type {HTMLInputElement} */ (page.element("key")).value.trim();
    sessionStorage.setItem(KEY_IN_TAB, page.api.key);
    page.clear();
    void chooseFirstModel(page).catch(page.report);
  });
  void chooseFirstModel(page).catch(page.report);
}

start();
