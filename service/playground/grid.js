/**
 * A code as a grid of cells: a cell a bit, or a row of one-hot cells a latent, or a number a latent where the categories
 * are too many for a row. One cell is in the tab order; arrow keys move among them.
 */

import { columnsOf } from "./pictures.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").State} State */

/** More categories than this are numbers to type, not cells. */
const MOST_COLUMNS = 32;
/** More cells than this are not shown: the code can still be read and written as text. */
const MOST_CELLS = 4096;
/** A margin below this is called unsure: the symbol is less than three times as probable as the next. */
const UNSURE_MARGIN = Math.log(3);

/** @typedef {(latent: number, value: number) => void} Choose */

export class CodeGrid {
  #root;
  #choose;
  #describe;
  /** @type {Model | null} */
  #model = null;
  /** @type {HTMLElement[]} */
  #cells = [];
  #columns = 0;
  #current = 0;

  /**
   * @param {HTMLElement} root
   * @param {Choose} choose
   * @param {(sentence: string) => void} describe  told about the cell that is pointed at
   */
  constructor(root, choose, describe) {
    this.#root = root;
    this.#choose = choose;
    this.#describe = describe;
    root.addEventListener("click", (event) => this.#activate(cellOf(event)));
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("change", (event) => this.#typed(/** @type {HTMLInputElement} */ (event.target)));
    for (const name of ["pointerover", "focusin"]) root.addEventListener(name, (event) => this.#point(cellOf(event)));
    root.addEventListener("focusin", (event) => this.#remember(cellOf(event)));
  }

  /** Cells for a model, made once. @param {Model} model */
  prepare(model) {
    this.#model = model;
    this.#current = 0;
    const { num_latents: latents, num_categories: categories } = model;
    const width = model.kind === "binary" ? columnsOf(model) : categories <= MOST_COLUMNS ? categories : 8;
    this.#columns = width;
    const perLatent = this.#isOneHot ? categories : 1;
    const count = latents * perLatent;
    this.#root.replaceChildren();
    this.#root.dataset.kind = model.kind === "binary" ? "bits" : this.#isOneHot ? "one-hot" : "numbers";
    this.#root.style.setProperty("--columns", String(width));
    this.#cells = [];
    if (count > MOST_CELLS) {
      this.#root.append(`A code of ${latents} latents is too large to show as cells; it is below as text.`);
      return;
    }
    for (let first = 0; first < count; first += width) {
      const row = made("div", { role: "row" });
      if (this.#isOneHot) row.append(made("span", { role: "rowheader", class: "latent" }, String(first / width + 1)));
      for (let index = first; index < Math.min(first + width, count); index++) row.append(this.#cell(index));
      this.#root.append(row);
    }
  }

  /** @param {State} state */
  update(state) {
    const model = this.#model;
    if (!model || this.#cells.length === 0 || state.code.length !== model.num_latents) return;
    this.#cells.forEach((cell, index) => {
      const { latent, category } = this.#meaning(index);
      const value = state.code[latent];
      const probability = probabilityOf(state, latent, model.kind === "binary" ? 1 : this.#isOneHot ? category : value);
      const isOn = model.kind === "binary" ? value === 1 : this.#isOneHot ? value === category : false;
      const changed = state.loaded !== null && state.loaded.code[latent] !== value;
      const margin = state.loaded?.posterior?.margins[latent];
      cell.classList.toggle("on", isOn);
      cell.classList.toggle("changed", changed && (isOn || model.kind === "binary" || !this.#isOneHot));
      cell.classList.toggle("unsure", margin !== undefined && margin < UNSURE_MARGIN && (isOn || !this.#isOneHot));
      cell.style.setProperty("--probability", String(probability ?? 0));
      cell.toggleAttribute("data-no-probability", probability === null);
      cell.dataset.sentence = sentence({ model, latent, category, value, probability, margin, changed, isOn });
      if (this.#model?.kind === "binary") cell.textContent = String(value);
      const input = /** @type {HTMLInputElement | null} */ (cell.querySelector("input"));
      if (input) {
        if (document.activeElement !== input || Number(input.value) !== value) input.value = String(value);
        input.setAttribute("aria-label", cell.dataset.sentence);
        return;
      }
      cell.setAttribute("aria-selected", String(isOn));
      cell.setAttribute("aria-label", cell.dataset.sentence);
    });
    const pointed = this.#root.querySelector(":focus, :hover:is([role=gridcell])");
    if (pointed) this.#point(/** @type {HTMLElement} */ (pointed.closest("[role=gridcell]")));
  }

  get #isOneHot() {
    return this.#model !== null && this.#model.kind === "categorical" && this.#model.num_categories <= MOST_COLUMNS;
  }

  /** @param {number} index */
  #cell(index) {
    const model = /** @type {Model} */ (this.#model);
    const isNumber = model.kind === "categorical" && !this.#isOneHot;
    const cell = made(isNumber ? "span" : "button", { role: "gridcell", "data-index": String(index), class: "cell" });
    if (isNumber) {
      const attributes = { type: "number", min: "0", max: String(model.num_categories - 1), step: "1" };
      cell.append(made("input", { ...attributes, "data-index": String(index) }));
    } else {
      cell.setAttribute("type", "button");
      cell.tabIndex = index === 0 ? 0 : -1;
    }
    this.#cells.push(cell);
    return cell;
  }

  /** @param {number} index */
  #meaning(index) {
    if (!this.#isOneHot) return { latent: index, category: 0 };
    return { latent: Math.floor(index / this.#columns), category: index % this.#columns };
  }

  /** @param {HTMLElement | null} cell */
  #activate(cell) {
    const model = this.#model;
    if (!model || !cell || cell.querySelector("input")) return;
    const { latent, category } = this.#meaning(Number(cell.dataset.index));
    this.#choose(latent, model.kind === "binary" ? (cell.classList.contains("on") ? 0 : 1) : category);
  }

  /** @param {HTMLInputElement} input */
  #typed(input) {
    this.#choose(Number(input.dataset.index), input.value === "" ? NaN : Number(input.value));
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const columns = this.#columns;
    const inRow = this.#current % columns;
    const step = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      Home: event.ctrlKey ? -this.#current : -inRow,
      End: event.ctrlKey ? this.#cells.length - 1 - this.#current : columns - 1 - inRow,
    }[event.key];
    if (step === undefined || /** @type {HTMLElement} */ (event.target).tagName === "INPUT") return;
    event.preventDefault();
    const next = this.#current + step;
    if (next < 0 || next >= this.#cells.length) return;
    this.#cells[next].focus();
  }

  /** @param {HTMLElement | null} cell */
  #remember(cell) {
    if (!cell || cell.querySelector("input")) return;
    this.#cells[this.#current].tabIndex = -1;
    this.#current = Number(cell.dataset.index);
    cell.tabIndex = 0;
  }

  /** @param {HTMLElement | null} cell */
  #point(cell) {
    if (cell?.dataset.sentence) this.#describe(cell.dataset.sentence);
  }
}

/** @param {Event} event @returns {HTMLElement | null} */
function cellOf(event) {
  return /** @type {HTMLElement} */ (event.target).closest("[role=gridcell]");
}

/** @param {State} state @param {number} latent @param {number} value */
function probabilityOf(state, latent, value) {
  const probabilities = state.loaded?.posterior?.probabilities[latent];
  if (probabilities === undefined) return null;
  return typeof probabilities === "number" ? probabilities : probabilities[value];
}

/**
 * @param {{model: Model, latent: number, category: number, value: number, probability: number | null,
 *   margin: number | undefined, changed: boolean, isOn: boolean}} cell
 */
function sentence({ model, latent, category, value, probability, margin, changed, isOn }) {
  const isBinary = model.kind === "binary";
  const name = isBinary ? `Bit ${latent + 1} is ${value}` : `Latent ${latent + 1}, category ${isOn ? value : category}`;
  const chosen = isBinary ? "" : isOn ? ", chosen" : "";
  const thought = probability === null ? "" : `; probability${isBinary ? " of 1" : ""} ${percent(probability)}`;
  const firm = margin === undefined || (!isBinary && !isOn) ? "" : firmness(margin);
  return `${name}${chosen}${thought}${firm}${changed && (isBinary || isOn) ? ", changed by you" : ""}.`;
}

/** @param {number} margin */
function firmness(margin) {
  return `, ${margin < UNSURE_MARGIN ? "unsure" : "firm"} (margin ${margin.toFixed(1)})`;
}

/** @param {number} probability */
function percent(probability) {
  if (probability > 0.995 && probability < 1) return "above 99 %";
  if (probability < 0.005 && probability > 0) return "below 1 %";
  return `${Math.round(100 * probability)} %`;
}

/** @param {string} tag @param {Record<string, string>} attributes @param {string} [text] @returns {HTMLElement} */
function made(tag, attributes, text) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  return element;
}
