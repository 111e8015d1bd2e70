/** Values as pictures: grey or colour images, bars for vectors, small maps of codes. Pure painting, on given canvases. */

/** @typedef {import("./types.js").InputSpec} InputSpec */
/** @typedef {import("./types.js").Model} Model */
/** @typedef {import("./types.js").Values} Values */

/** A small change of many pixels must be seen too. */
const CHANGE_GAIN = 1.8;

/**
 * Height, width and channels of what can be shown as an image; null for a vector.
 * @param {InputSpec} input
 */
export function imageShape(input) {
  const [height, width, channels = 1] = input.shape;
  const isImage = input.shape.length === 2 || (input.shape.length === 3 && (channels === 1 || channels === 3));
  return isImage ? { height, width, channels } : null;
}

/** @param {HTMLCanvasElement} canvas @param {Values} values @param {InputSpec} input */
export function paint(canvas, values, input) {
  const shape = imageShape(input);
  if (!shape) return paintBars(canvas, [{ values, colour: "--accent" }], input);
  const pixels = new ImageData(shape.width, shape.height);
  const scale = 255 / (input.maximum - input.minimum);
  for (let pixel = 0; pixel < shape.width * shape.height; pixel++) {
    for (let channel = 0; channel < 3; channel++) {
      const value = values[pixel * shape.channels + (shape.channels === 3 ? channel : 0)];
      pixels.data[4 * pixel + channel] = Math.round((value - input.minimum) * scale);
    }
    pixels.data[4 * pixel + 3] = 255;
  }
  put(canvas, pixels);
}

/**
 * What changed from one output to another: brighter in orange, darker in blue, the stronger the more it changed.
 * @param {HTMLCanvasElement} canvas @param {Values} before @param {Values} after @param {InputSpec} input
 */
export function paintChange(canvas, before, after, input) {
  const shape = imageShape(input);
  if (!shape) {
    const layers = [
      { values: before, colour: "--muted" },
      { values: after, colour: "--accent" },
    ];
    return paintBars(canvas, layers, input);
  }
  const pixels = new ImageData(shape.width, shape.height);
  for (let pixel = 0; pixel < shape.width * shape.height; pixel++) {
    let change = 0;
    for (let channel = 0; channel < shape.channels; channel++) {
      const index = pixel * shape.channels + channel;
      change += (after[index] - before[index]) / (input.maximum - input.minimum) / shape.channels;
    }
    const [red, green, blue] = change > 0 ? [238, 122, 48] : [54, 112, 236];
    pixels.data.set([red, green, blue, Math.min(255, Math.round(Math.abs(change) * CHANGE_GAIN * 255))], 4 * pixel);
  }
  put(canvas, pixels);
}

/**
 * Bars over one another, the later ones in front and narrower.
 * @param {HTMLCanvasElement} canvas
 * @param {{values: Values, colour: string}[]} layers  `colour` is the name of a CSS variable
 * @param {InputSpec} input
 */
function paintBars(canvas, layers, input) {
  const [width, height] = [640, 400];
  resize(canvas, width, height);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, width, height);
  const y = (/** @type {number} */ value) => height - ((value - input.minimum) / (input.maximum - input.minimum)) * height;
  const zero = y(Math.min(input.maximum, Math.max(input.minimum, 0)));
  layers.forEach(({ values, colour }, layer) => {
    const step = width / values.length;
    const share = layers.length === 1 ? 0.78 : 0.86 - 0.44 * layer;
    context.fillStyle = colourOf(colour);
    values.forEach((value, index) => {
      const top = Math.min(zero, y(value));
      const size = Math.max(1.5, Math.abs(y(value) - zero));
      context.fillRect((index + (1 - share) / 2) * step, top, Math.max(1, share * step), size);
    });
  });
}

/** Columns in which the latents of a binary model are laid out. @param {Model} model */
export function columnsOf(model) {
  if (model.num_latents <= 8) return model.num_latents;
  if (model.num_latents <= 128) return 8;
  return model.num_latents <= 512 ? 16 : 32;
}

/**
 * A code, or a relaxed one, as a map of cells: the fuller the cell, the nearer its value to 1.
 * @param {HTMLCanvasElement} canvas @param {number[] | number[][]} relaxed @param {Model} model
 */
export function paintRelaxed(canvas, relaxed, model) {
  const cell = 10;
  const columns = model.kind === "binary" ? columnsOf(model) : model.num_categories;
  const flat = /** @type {number[]} */ (relaxed.flat());
  resize(canvas, columns * cell, Math.ceil(flat.length / columns) * cell);
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [empty, full] = [colourOf("--cell-empty"), colourOf("--accent")];
  flat.forEach((value, index) => {
    const [x, y] = [(index % columns) * cell + 1, Math.floor(index / columns) * cell + 1];
    context.globalAlpha = 1;
    context.fillStyle = empty;
    context.fillRect(x, y, cell - 2, cell - 2);
    context.globalAlpha = value;
    context.fillStyle = full;
    context.fillRect(x, y, cell - 2, cell - 2);
  });
  context.globalAlpha = 1;
}

/**
 * The values of an image as an 8-bit PNG, in base64, when 8 bits hold them; null when they do not.
 * @param {Values} values @param {InputSpec} input
 */
export function asPng(values, input) {
  const levels = asLevels(values, input);
  const shape = imageShape(input);
  if (!levels || !shape || !input.image) return null;
  const canvas = document.createElement("canvas");
  paint(canvas, input.image.invert ? values.map((value) => input.minimum + input.maximum - value) : values, input);
  return canvas.toDataURL("image/png").slice("data:image/png;base64,".length);
}

/** Values in the model's range as levels from 0 to 255; null when some lie between two levels. @param {Values} values @param {InputSpec} input */
export function asLevels(values, input) {
  const scale = 255 / (input.maximum - input.minimum);
  const levels = values.map((value) => (value - input.minimum) * scale);
  if (levels.some((level) => Math.abs(level - Math.round(level)) > 1e-3)) return null;
  return levels.map(Math.round);
}

/** @param {HTMLCanvasElement} canvas @param {ImageData} pixels */
function put(canvas, pixels) {
  resize(canvas, pixels.width, pixels.height);
  /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d")).putImageData(pixels, 0, 0);
}

/** Setting a size clears a canvas, even the same size: that would flicker. @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
function resize(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

/** @param {string} variable  Name of a CSS variable that holds a colour. */
function colourOf(variable) {
  return getComputedStyle(document.documentElement).getPropertyValue(variable).trim();
}
