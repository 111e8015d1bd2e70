/** A strip of small pictures to press, made once and repainted as long as their number stays: no flicker. */

import { imageShape, paint, paintRelaxed } from "../pictures.js";

/** @typedef {import("../types.js").Model} Model */

/**
 * @typedef {object} Item
 * @property {number[]} output
 * @property {string} label
 * @property {{name: string, values: number[] | number[][]}[]} [maps]  small maps of codes under the picture
 * @property {boolean} [isCurrent]
 */

export class Strip {
  #root;
  #press;

  /** @param {HTMLElement} root @param {(index: number) => void} press */
  constructor(root, press) {
    this.#root = root;
    this.#press = press;
  }

  /** @param {Item[]} items @param {Model} model */
  show(items, model) {
    while (this.#root.children.length > items.length) this.#root.lastElementChild?.remove();
    items.forEach((item, index) => {
      const button = /** @type {HTMLButtonElement} */ (this.#root.children[index] ?? this.#add(index));
      const maps = item.maps ?? [];
      while (button.children.length - 1 > maps.length) button.lastElementChild?.remove();
      while (button.children.length - 1 < maps.length) button.append(map());
      button.setAttribute("aria-label", item.label);
      button.title = item.label;
      if (item.isCurrent !== undefined) button.setAttribute("aria-current", String(item.isCurrent));
      const picture = /** @type {HTMLCanvasElement} */ (button.firstElementChild);
      picture.classList.toggle("bars", !imageShape(model.input));
      paint(picture, item.output, model.input);
      maps.forEach(({ name, values }, number) => {
        const figure = button.children[number + 1];
        paintRelaxed(/** @type {HTMLCanvasElement} */ (figure.firstElementChild), values, model);
        /** @type {HTMLElement} */ (figure.lastElementChild).textContent = name;
      });
    });
  }

  /** @param {number} index */
  #add(index) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "picture";
    button.append(document.createElement("canvas"));
    button.addEventListener("click", () => this.#press(index));
    this.#root.append(button);
    return button;
  }
}

function map() {
  const figure = document.createElement("span");
  figure.className = "map";
  figure.append(document.createElement("canvas"), document.createElement("span"));
  return figure;
}
