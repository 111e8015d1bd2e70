/** Codes as values: flipped, compared, spelt as packed bits. Nothing here knows the page or the service. */

/** @typedef {import("./types.js").Code} Code */
/** @typedef {import("./types.js").Model} Model */

/** @param {Model} model  Bits that a latent takes in a packed code. */
export function bitsOfLatent(model) {
  return Math.ceil(Math.log2(model.num_categories));
}

/** @param {Code} code @param {number} latent @param {number} value @returns {Code} */
export function withValue(code, latent, value) {
  return code.map((old, index) => (index === latent ? value : old));
}

/** @param {Code} one @param {Code} other  Latents in which they differ. @returns {number[]} */
export function differences(one, other) {
  return one.flatMap((value, latent) => (value === other[latent] ? [] : [latent]));
}

/** Corners that the decoder takes. @param {Code} code @param {Model} model @returns {number[] | number[][]} */
export function oneHot(code, model) {
  if (model.kind === "binary") return code;
  return code.map((value) => Array.from({ length: model.num_categories }, (_, category) => Number(category === value)));
}

/** Hex of the packed bits, most significant first. Inverse of `fromHex`. @param {Code} code @param {Model} model */
export function toHex(code, model) {
  const width = bitsOfLatent(model);
  const bits = code.map((value) => value.toString(2).padStart(width, "0")).join("");
  const digits = bits.padEnd(Math.ceil(bits.length / 8) * 8, "0").match(/.{4}/g) ?? [];
  return digits.map((four) => parseInt(four, 2).toString(16)).join("");
}

/**
 * @param {string} text
 * @param {Model} model
 * @returns {Code}
 * @throws {RangeError} that says what was expected and what came
 */
export function fromHex(text, model) {
  const width = bitsOfLatent(model);
  const expected = 2 * Math.ceil(model.code_bits / 8);
  const digits = text.replace(/\s/g, "").toLowerCase();
  const stranger = digits.match(/[^0-9a-f]/);
  if (stranger) throw new RangeError(`A code is written in hex digits, 0 to 9 and a to f; “${stranger[0]}” is none.`);
  if (digits.length !== expected) {
    throw new RangeError(`A code of this model has ${expected} hex digits; these are ${digits.length}.`);
  }
  const bits = [...digits].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
  if (bits.slice(model.code_bits).includes("1")) {
    throw new RangeError(`A code of this model has ${model.code_bits} bits; those after them must be 0.`);
  }
  return Array.from({ length: model.num_latents }, (_, latent) => {
    const value = parseInt(bits.slice(latent * width, (latent + 1) * width), 2);
    if (value >= model.num_categories) {
      throw new RangeError(
        `Latent ${latent + 1} of that code is ${value}; expected a category from 0 to ${model.num_categories - 1}.`,
      );
    }
    return value;
  });
}

/** Inverse of flattening. @template T @param {T[]} items @param {number} length @returns {T[][]} */
export function chunks(items, length) {
  return Array.from({ length: Math.ceil(items.length / length) }, (_, index) =>
    items.slice(index * length, (index + 1) * length),
  );
}
