/** The requests behind what is on the screen, spelt for curl and for the Python client. They run as they stand. */

import { at } from "./api.js";
import { asLevels, asPng } from "./pictures.js";
import { toHex } from "./code.js";

/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").State} State */
/** @typedef {import("./types.js").Values} Values */

/** @typedef {"encode" | "decode" | "samples" | "generate" | "interpolate"} Subject */

/**
 * @param {Subject} subject
 * @param {State} state
 * @param {URL} root
 * @param {boolean} hasKey
 */
export function curl(subject, state, root, hasKey) {
  const call = callOf(subject, state);
  if (!call) return null;
  const key = hasKey ? `  --header "Authorization: Bearer $LATENT_CODES_API_KEY" \\\n` : "";
  return (
    `curl --silent --show-error --fail-with-body ${new URL(`${at(call.model)}/${call.operation}`, root)} \\\n${key}` +
    `  --header 'Content-Type: application/json' \\\n  --data '${JSON.stringify(call.body)}'\n`
  );
}

/**
 * @param {Subject} subject
 * @param {State} state
 * @param {URL} root
 * @param {boolean} hasKey
 */
export function python(subject, state, root, hasKey) {
  const call = callOf(subject, state);
  if (!call) return null;
  const address = JSON.stringify(root.href.replace(/\/$/, ""));
  const headers = hasKey ? `, headers={"Authorization": f"Bearer {os.environ['LATENT_CODES_API_KEY']}"}` : "";
  const positional = [JSON.stringify(call.model.name), ...(call.subject.name ? [call.subject.name] : [])];
  const named = Object.entries({ ...call.named, version: call.model.version });
  const listed = [...positional, ...named.map(([name, value]) => `${name}=${pythonic(value)}`)].join(", ");
  return (
    [
      ...(hasKey ? ["import os", ""] : []),
      ...call.subject.imports,
      "from latent_codes_client import LatentCodesClient",
      "",
      ...call.subject.lines,
      `with LatentCodesClient(${address}${headers}) as client:`,
      `    reply = client.${call.operation}(${listed})`,
      ...call.shown.map((name) => `    print(reply.${name})`),
    ].join("\n") + "\n"
  );
}

/**
 * @typedef {object} Call
 * @property {Model} model
 * @property {string} operation
 * @property {object} body  of the request in JSON
 * @property {{name: string, imports: string[], lines: string[]}} subject  what Python sends, under that name
 * @property {Record<string, any>} named  other arguments in Python
 * @property {string[]} shown  what Python prints of the result
 */

/** @param {Subject} subject @param {State} state @returns {Call | null} */
function callOf(subject, state) {
  const { model } = state;
  if (!model) return null;
  switch (subject) {
    case "encode": {
      const named = { outputs: ["codes", "probabilities", "margins"] };
      return withInput(state, model, "encode", named, ["codes", "probabilities", "margins"]);
    }
    case "samples": {
      const named = {
        temperature: state.temperature,
        relaxation_temperature: state.relaxation_temperature,
        ...(state.seed === null ? {} : { seed: state.seed }),
        num_samples: state.num_samples,
        outputs: ["codes", "relaxed"],
      };
      return withInput(state, model, "reconstruct", named, ["codes", "relaxed", "outputs"]);
    }
    case "decode": {
      if (state.code.length === 0) return null;
      const codes = [toHex(state.code, model)];
      const named = { code_format: "hex" };
      const lines = [`codes = ${JSON.stringify(codes)}`];
      return {
        model,
        operation: "decode",
        body: { codes, ...named },
        subject: { name: "codes", imports: [], lines },
        named,
        shown: ["outputs"],
      };
    }
    case "generate": {
      if (state.generated.length === 0) return null;
      const named = {
        num_samples: state.generated.length,
        temperature: state.prior_temperature,
        ...(state.prior_seed === null ? {} : { seed: state.prior_seed }),
      };
      const nothing = { name: "", imports: [], lines: [] };
      return { model, operation: "generate", body: named, subject: nothing, named, shown: ["codes", "outputs"] };
    }
    case "interpolate": {
      if (state.frames.length === 0) return null;
      if (state.way === "relaxed") {
        const relaxed = state.frames.map((frame) => frame.relaxed);
        const lines = [`relaxed = ${JSON.stringify(relaxed)}`];
        return {
          model,
          operation: "decode",
          body: { relaxed },
          subject: { name: "relaxed=relaxed", imports: [], lines },
          named: {},
          shown: ["outputs"],
        };
      }
      const codes = state.frames.map((frame) => toHex(/** @type {number[]} */ (frame.code), model));
      const named = { code_format: "hex" };
      const lines = [`codes = ${JSON.stringify(codes)}`];
      return {
        model,
        operation: "decode",
        body: { codes, ...named },
        subject: { name: "codes", imports: [], lines },
        named,
        shown: ["outputs"],
      };
    }
  }
}

/**
 * A call that sends the input: as a small PNG where 8 bits hold it, else as numbers.
 * @param {State} state @param {Model} model @param {string} operation @param {Record<string, any>} named @param {string[]} shown
 * @returns {Call | null}
 */
function withInput(state, model, operation, named, shown) {
  if (!state.input) return null;
  const { values } = state.input;
  const png = asPng(values, model.input);
  const sent = png ? { images: [png] } : { inputs: [values.map(shortest)] };
  return { model, operation, body: { ...sent, ...named }, subject: inputInPython(values, model), named, shown };
}

/** @param {Values} values @param {Model} model */
function inputInPython(values, model) {
  const { input } = model;
  const shape = `1, ${input.shape.join(", ")}`;
  const levels = input.image && asLevels(values, input);
  if (!levels) {
    const lines = [`inputs = np.array([${values.map(shortest).join(", ")}]).reshape(${shape})`];
    return { name: "inputs", imports: ["import numpy as np"], lines };
  }
  const bytes = btoa(levels.map((level) => String.fromCharCode(level)).join(""));
  const scaled =
    input.minimum === 0 && input.maximum === 1
      ? "pixels / 255"
      : `${input.minimum} + pixels / 255 * ${input.maximum - input.minimum}`;
  const lines = [`pixels = np.frombuffer(base64.b64decode("${bytes}"), np.uint8).reshape(${shape})`, `inputs = ${scaled}`];
  return { name: "inputs", imports: ["import base64", "", "import numpy as np"], lines };
}

/** The shortest decimal that is the same in 32 bits. @param {number} number */
function shortest(number) {
  for (let digits = 1; digits <= 9; digits++) {
    const rounded = Number(number.toPrecision(digits));
    if (Math.fround(rounded) === Math.fround(number)) return rounded;
  }
  return number;
}

/** @param {any} value */
function pythonic(value) {
  return JSON.stringify(value).replaceAll(",", ", ");
}
