/** Ways from one code to another. Nothing here knows the page; decoding is asked of whoever calls. */

import { differences, oneHot, withValue } from "./code.js";

/** @typedef {import("./types.js").Code} Code */
/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Values} Values */

/**
 * @typedef {object} Frame  one stop on the way
 * @property {number} progress  from 0 to 1
 * @property {Code | null} code  null between codes, where only the relaxed value exists
 * @property {number[] | number[][]} relaxed
 * @property {string} label
 * @property {Values} output
 */

/** @typedef {Omit<Frame, "output">} Stop */

/**
 * In which order to change the latents in which two codes differ, so that the output moves evenly.
 *
 * How far a latent alone brings the output towards the end's is known: `changed[i]` is the output of `from` with the
 * i-th of them changed. As if these ways added up, the next one is always that which keeps nearest to an even pace.
 *
 * @param {number[]} latents
 * @param {Values} from
 * @param {Values} to
 * @param {Values[]} changed
 * @returns {number[]}
 */
export function order(latents, from, to, changed) {
  const way = to.map((value, index) => value - from[index]);
  const gain = changed.map((output) => output.reduce((sum, value, index) => sum + (value - from[index]) * way[index], 0));
  const pace = gain.reduce((sum, one) => sum + one, 0) / latents.length;
  const left = latents.map((_, index) => index);
  /** @type {number[]} */
  const ordered = [];
  let gone = 0;
  while (left.length > 0) {
    const missing = pace * (ordered.length + 1) - gone;
    const distances = left.map((index) => Math.abs(gain[index] - missing));
    const [next] = left.splice(distances.indexOf(Math.min(...distances)), 1);
    gone += gain[next];
    ordered.push(latents[next]);
  }
  return ordered;
}

/** `from` with each of the latents changed alone. @param {Code} from @param {Code} to @returns {Code[]} */
export function singleChanges(from, to) {
  return differences(from, to).map((latent) => withValue(from, latent, to[latent]));
}

/**
 * Codes all the way: one latent after the other, in this order. At most `most` stops, the ends among them.
 *
 * @param {Code} from @param {Code} to @param {number[]} ordered @param {Model} model @param {number} most
 * @returns {Stop[]}
 */
export function flipPath(from, to, ordered, model, most) {
  const codes = [from];
  for (const latent of ordered) codes.push(withValue(codes[codes.length - 1], latent, to[latent]));
  const last = codes.length - 1;
  const count = Math.min(codes.length, most);
  return Array.from({ length: count }, (_, index) => {
    const changed = count === 1 ? 0 : Math.round((index * last) / (count - 1));
    const code = codes[changed];
    const what = model.kind === "binary" ? "bits flipped" : "latents changed";
    return {
      progress: last === 0 ? 0 : changed / last,
      code,
      relaxed: oneHot(code, model),
      label: `${changed} of ${last} ${what}`,
    };
  });
}

/**
 * The straight line between two corners. Between its ends lie values that no code has.
 *
 * @param {Code} from @param {Code} to @param {Model} model @param {number} count
 * @returns {Stop[]}
 */
export function relaxedPath(from, to, model, count) {
  const [start, end] = [oneHot(from, model), oneHot(to, model)];
  return Array.from({ length: count }, (_, index) => {
    const progress = index / (count - 1);
    const code = progress === 0 ? from : progress === 1 ? to : null;
    return { progress, code, relaxed: between(start, end, progress), label: `${Math.round(100 * progress)} % of the way` };
  });
}

/** @param {any} start @param {any} end @param {number} progress @returns {any} */
function between(start, end, progress) {
  if (Array.isArray(start)) return start.map((value, index) => between(value, end[index], progress));
  return start + progress * (end - start);
}
