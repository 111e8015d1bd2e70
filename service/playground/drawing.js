/** A pad to draw on, by pointer or by keyboard. It keeps strokes, not pixels: they are drawn at whatever size is asked. */

/** @typedef {import("./types.js").InputSpec} InputSpec */
/** @typedef {import("./types.js").Values} Values */

/** Points between 0 and 1, x before y. @typedef {{colour: string, points: [number, number][]}} Stroke */

/** Of the shorter side: about the stroke of a handwritten digit of MNIST. */
const STROKE_WIDTH = 0.085;
/** Of the side that the longer side of a centred drawing takes: 20 of 28 pixels, as in MNIST. */
const CENTRED_SIZE = 20 / 28;
const LARGEST_GROWTH = 2.5;
const KEYBOARD_STEP = 1 / 40;

/** A seven, so that nobody begins before an empty page. @type {Stroke[]} */
const SEVEN = [
  {
    colour: "",
    points: [
      [0.3, 0.27],
      [0.42, 0.265],
      [0.55, 0.26],
      [0.69, 0.25],
      [0.66, 0.33],
      [0.6, 0.45],
      [0.55, 0.57],
      [0.51, 0.68],
      [0.47, 0.79],
    ],
  },
];

export class DrawingPad {
  /** @type {Stroke[]} */
  #strokes = [];
  /** @type {Stroke | null} */
  #current = null;
  /** @type {[number, number]} */
  #cursor = [0.5, 0.5];
  #penIsDown = false;
  #canvas;
  #onChange;
  #paper = "#000000";
  #ink = "#ffffff";
  centres = true;

  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onChange
   */
  constructor(canvas, onChange) {
    this.#canvas = canvas;
    this.#onChange = onChange;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.#extend(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (this.#current = null));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("focus", () => this.#paint());
    canvas.addEventListener("blur", () => this.#paint());
  }

  /** Colour of the next stroke. @param {string} colour */
  set ink(colour) {
    this.#ink = colour;
  }

  get ink() {
    return this.#ink;
  }

  get isEmpty() {
    return this.#strokes.length === 0;
  }

  /** Fit the pad to a model, and start with a drawing that is there already. @param {InputSpec} input */
  prepare(input) {
    const inverts = input.image?.invert ?? false;
    this.#paper = inverts ? "#ffffff" : "#000000";
    this.#ink = inverts ? "#000000" : "#ffffff";
    const [height, width] = input.shape;
    const scale = 560 / Math.max(height, width);
    this.#canvas.width = Math.round(width * scale);
    this.#canvas.height = Math.round(height * scale);
    this.#strokes = SEVEN.map((stroke) => ({ ...stroke, colour: this.#ink }));
    this.#paint();
  }

  undo() {
    this.#strokes.pop();
    this.#changed();
  }

  clear() {
    this.#strokes = [];
    this.#changed();
  }

  /** Draw again what is there: after it was hidden. */
  repaint() {
    this.#paint();
  }

  /** The drawing as the model takes it: at its size, in its range. @param {InputSpec} input @returns {Values} */
  values(input) {
    const [height, width] = input.shape;
    const canvas = new OffscreenCanvas(width, height);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    this.#draw(context, width, height, this.centres ? centred(this.#strokes, width, height) : this.#strokes);
    const { data } = context.getImageData(0, 0, width, height);
    const channels = input.shape[2] === 3 ? [0, 1, 2] : [0];
    const inverts = input.image?.invert ?? false;
    /** @type {Values} */
    const values = [];
    for (let pixel = 0; pixel < data.length; pixel += 4) {
      for (const channel of channels) {
        const level = data[pixel + channel] / 255;
        values.push(input.minimum + (inverts ? 1 - level : level) * (input.maximum - input.minimum));
      }
    }
    return values;
  }

  /** Begin a stroke where the pointer is. @param {PointerEvent} event */
  begin(event) {
    if (event.button !== 0) return;
    event.preventDefault();
    this.#canvas.focus({ preventScroll: true });
    this.#canvas.setPointerCapture(event.pointerId);
    this.#penIsDown = false;
    this.#current = { colour: this.#ink, points: [this.#place(event)] };
    this.#strokes.push(this.#current);
    this.#changed();
  }

  /** @param {PointerEvent} event */
  #extend(event) {
    if (!this.#current) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.#current.points.push(this.#place(each));
    this.#changed();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const step = steps[/** @type {keyof typeof steps} */ (event.key)];
    if (step) {
      this.#cursor = [clamped(this.#cursor[0] + step[0] * KEYBOARD_STEP), clamped(this.#cursor[1] + step[1] * KEYBOARD_STEP)];
      if (this.#penIsDown) this.#strokes[this.#strokes.length - 1]?.points.push(this.#cursor);
    } else if (event.key === " ") {
      this.#penIsDown = !this.#penIsDown;
      if (this.#penIsDown) this.#strokes.push({ colour: this.#ink, points: [this.#cursor] });
    } else if (event.key.toLowerCase() === "z" && (event.ctrlKey || event.metaKey)) {
      this.#penIsDown = false;
      this.undo();
    } else if (event.key === "Delete" || event.key === "Backspace") {
      this.#penIsDown = false;
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
    if (this.#penIsDown) this.#changed();
    else this.#paint();
  }

  #changed() {
    this.#paint();
    this.#onChange();
  }

  /** @param {PointerEvent} event @returns {[number, number]} */
  #place(event) {
    const box = this.#canvas.getBoundingClientRect();
    return [clamped((event.clientX - box.left) / box.width), clamped((event.clientY - box.top) / box.height)];
  }

  #paint() {
    const context = /** @type {CanvasRenderingContext2D} */ (this.#canvas.getContext("2d"));
    const { width, height } = this.#canvas;
    this.#draw(context, width, height, this.#strokes);
    if (document.activeElement === this.#canvas && this.#canvas.matches(":focus-visible")) {
      context.strokeStyle = this.#penIsDown ? "#ff8a3d" : "#8a8f9c";
      context.lineWidth = 3;
      context.beginPath();
      context.arc(this.#cursor[0] * width, this.#cursor[1] * height, 12, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  /**
   * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} context
   * @param {number} width
   * @param {number} height
   * @param {Stroke[]} strokes
   */
  #draw(context, width, height, strokes) {
    context.fillStyle = this.#paper;
    context.fillRect(0, 0, width, height);
    context.lineCap = "round";
    context.lineJoin = "round";
    context.lineWidth = Math.max(1, STROKE_WIDTH * Math.min(width, height));
    for (const { colour, points } of strokes) {
      context.strokeStyle = colour;
      context.beginPath();
      context.moveTo(points[0][0] * width, points[0][1] * height);
      // A curve through the middles of the lines, so that a quick hand leaves no corners. One point is a dot.
      for (let index = 1; index < points.length - 1; index++) {
        const [x, y] = points[index];
        const [nextX, nextY] = points[index + 1];
        context.quadraticCurveTo(x * width, y * height, ((x + nextX) / 2) * width, ((y + nextY) / 2) * height);
      }
      const [x, y] = points[points.length - 1];
      context.lineTo(x * width, y * height);
      context.stroke();
    }
  }
}

/**
 * Strokes scaled to the size of MNIST's digits, their centre of mass in the middle.
 *
 * @param {Stroke[]} strokes
 * @param {number} width  of the picture; only the ratio to its height matters
 * @param {number} height
 * @returns {Stroke[]}
 */
export function centred(strokes, width, height) {
  const side = Math.max(width, height);
  const scaled = strokes.map(({ points }) => points.map(([x, y]) => [(x * width) / side, (y * height) / side]));
  const all = scaled.flat();
  if (all.length === 0) return strokes;
  const extent = (/** @type {0 | 1} */ axis) =>
    Math.max(...all.map((point) => point[axis])) - Math.min(...all.map((point) => point[axis]));
  const longest = Math.max(extent(0), extent(1)) + STROKE_WIDTH;
  const growth = Math.min(LARGEST_GROWTH, (CENTRED_SIZE * Math.min(width, height)) / side / longest);
  const [centreX, centreY] = centreOfMass(scaled);
  return strokes.map(({ colour }, index) => ({
    colour,
    points: scaled[index].map(([x, y]) => [
      ((x - centreX) * growth * side) / width + 0.5,
      ((y - centreY) * growth * side) / height + 0.5,
    ]),
  }));
}

/** Each piece of a line weighs as much as it is long. @param {number[][][]} lines @returns {[number, number]} */
function centreOfMass(lines) {
  let [weight, sumX, sumY] = [0, 0, 0];
  for (const line of lines) {
    line.forEach(([x, y], index) => {
      const [lastX, lastY] = line[Math.max(0, index - 1)];
      const length = Math.hypot(x - lastX, y - lastY) + 1e-6;
      weight += length;
      sumX += (length * (x + lastX)) / 2;
      sumY += (length * (y + lastY)) / 2;
    });
  }
  return [sumX / weight, sumY / weight];
}

/** @param {number} number */
function clamped(number) {
  return Math.min(1, Math.max(0, number));
}
