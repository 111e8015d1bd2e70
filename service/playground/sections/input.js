/** The input: drawn, dropped, pasted, chosen, an example of the model's, or typed as numbers. */

import { DrawingPad } from "../drawing.js";
import { Latest } from "../latest.js";
import { flattened } from "../api.js";
import { imageShape, paint } from "../pictures.js";

/** @typedef {import("../app.js").Page} Page */
/** @typedef {import("../types.js").Input} Input */
/** @typedef {import("../types.js").Model} Model */

const SOURCES = { drawing: "drawn here", example: "came with the model", file: "your file", numbers: "typed here" };

/** @param {Page} page */
export function mountInput(page) {
  const { store, api, element } = page;
  const pad = new DrawingPad(/** @type {HTMLCanvasElement} */ (element("pad")), drawn);
  const seen = /** @type {HTMLCanvasElement} */ (element("seen"));
  const preview = /** @type {HTMLCanvasElement} */ (element("upload-preview"));
  const file = /** @type {HTMLInputElement} */ (element("file"));
  const centre = /** @type {HTMLInputElement} */ (element("centre"));
  const ink = /** @type {HTMLInputElement} */ (element("ink"));
  const numbers = /** @type {HTMLTextAreaElement} */ (element("numbers"));
  const conversion = new Latest(page.report);

  function drawn() {
    const { model } = store.state;
    if (!model) return;
    showPad(true);
    store.set({ input: { source: "drawing", values: pad.values(model.input), notes: [] } });
  }

  /** @param {boolean} isPad */
  function showPad(isPad) {
    preview.hidden = isPad;
    element("pad").hidden = !isPad;
  }

  // Whoever draws on a picture that was chosen wants to draw, on an empty pad.
  preview.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    pad.clear();
    pad.begin(event);
  });
  element("undo").addEventListener("click", () => pad.undo());
  element("clear").addEventListener("click", () => pad.clear());
  centre.addEventListener("change", () => {
    pad.centres = centre.checked;
    drawn();
  });
  ink.addEventListener("input", () => (pad.ink = ink.value));
  file.addEventListener("change", () => {
    if (file.files?.[0]) void convert(file.files[0]);
    file.value = "";
  });
  element("numbers-apply").addEventListener("click", typed);

  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])][0];
    if (pasted) void convert(pasted);
  });
  const card = element("input-card");
  for (const name of ["dragover", "dragenter"]) {
    document.addEventListener(name, (event) => {
      event.preventDefault();
      card.classList.add("dropping");
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) card.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    card.classList.remove("dropping");
    const dropped = event.dataTransfer?.files[0];
    if (dropped) void convert(dropped);
  });

  /** The service converts the file, so that it becomes here what it becomes everywhere. @param {File} chosen */
  async function convert(chosen) {
    const { model } = store.state;
    if (!model) return;
    if (!model.input.image) {
      page.say(`${chosen.name}: ${model.name} takes numbers, not pictures.`);
      return;
    }
    const content = await base64(chosen);
    const body = { images: [content], outputs: ["codes", "inputs", "conversions"] };
    conversion.ask(
      () => api.encode(model, body).catch((error) => Promise.reject(named(error, chosen))),
      (reply) => {
        page.clear();
        const values = flattened(reply.inputs[0]);
        paint(preview, values, model.input);
        showPad(false);
        void showFile(chosen);
        const { format, width, height, steps } = reply.conversions[0];
        const notes = [`${chosen.name}: ${format}, ${width} × ${height}`, ...steps];
        store.set({ input: { source: "file", values, notes } });
      },
    );
  }

  /** The picture itself, where the browser can show it. @param {File} chosen */
  async function showFile(chosen) {
    try {
      const bitmap = await createImageBitmap(chosen);
      [preview.width, preview.height] = [bitmap.width, bitmap.height];
      /** @type {CanvasRenderingContext2D} */ (preview.getContext("2d")).drawImage(bitmap, 0, 0);
    } catch {
      // What the model sees is shown instead.
    }
  }

  function typed() {
    const { model } = store.state;
    if (!model) return;
    const words = numbers.value.split(/[\s,;[\]]+/).filter((word) => word !== "");
    const values = words.map(Number);
    const stranger = values.findIndex((value) => !Number.isFinite(value));
    const size = model.input.shape.reduce((product, length) => product * length, 1);
    if (stranger >= 0) return page.say(`“${words[stranger]}” is not a number.`);
    if (values.length !== size) return page.say(`${model.name} takes ${size} values; these are ${values.length}.`);
    store.set({ input: { source: "numbers", values, notes: [] } });
  }

  store.watch(["model"], ({ model }) => {
    if (!model) return;
    conversion.forget();
    const isImage = imageShape(model.input) !== null;
    element("picture-tools").hidden = !isImage;
    element("number-tools").hidden = isImage;
    element("input-title").textContent = isImage ? "Picture" : "Input";
    element("ink-label").hidden = imageShape(model.input)?.channels !== 3;
    if (isImage) {
      pad.prepare(model.input);
      ink.value = pad.ink;
    }
  });

  store.watch(["examples"], ({ model, examples }) => {
    if (!model) return;
    element("examples").replaceChildren(
      ...examples.map((values, index) => {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "picture";
        button.setAttribute("aria-label", `Example ${index + 1}`);
        const canvas = document.createElement("canvas");
        paint(canvas, values, model.input);
        button.append(canvas);
        button.addEventListener("click", () => {
          page.clear();
          showPad(false);
          paint(preview, values, model.input);
          store.set({ input: { source: "example", values, notes: [] } });
        });
        return button;
      }),
    );
    if (imageShape(model.input)?.channels !== 1) {
      // A drawn seven tells little of a model of numbers, or of photographs.
      const button = /** @type {HTMLButtonElement | null} */ (element("examples").firstElementChild);
      if (button) return button.click();
    }
    drawn();
  });

  store.watch(["input"], ({ model, input }) => {
    if (!model || !input) return;
    paint(seen, input.values, model.input);
    seen.classList.toggle("bars", imageShape(model.input) === null);
    element("input-source").textContent = SOURCES[input.source];
    element("seen-caption").textContent = `As the model sees it: ${model.input.shape.join(" × ")}`;
    element("conversions").textContent = input.notes.join(" · ");
    if (document.activeElement !== numbers) {
      numbers.value = imageShape(model.input) ? "" : input.values.map((value) => +value.toPrecision(6)).join(", ");
    }
  });

  page.onTheme(() => {
    const { model, input } = store.state;
    if (model && input) paint(seen, input.values, model.input);
  });
}

/** The same error, naming the file. @param {any} error @param {File} file */
function named(error, file) {
  error.message = `${file.name}: ${error.message}`;
  return error;
}

/** @param {Blob} blob @returns {Promise<string>} */
async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let start = 0; start < bytes.length; start += 8192) text += String.fromCharCode(...bytes.subarray(start, start + 8192));
  return btoa(text);
}
