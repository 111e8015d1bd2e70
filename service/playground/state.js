/** One object of state, and who wants to know when which part of it changes. */

/** @typedef {import("./types.js").State} State */

export class Store {
  /** @type {State} */
  #state;
  /** @type {{names: (keyof State)[], listener: (state: State) => void}[]} */
  #listeners = [];

  /** @param {State} initial */
  constructor(initial) {
    this.#state = initial;
  }

  /** The state as it is now. Not to be written to: `set` is the only way. */
  get state() {
    return this.#state;
  }

  /**
   * Replace some parts, then tell everyone who watches one of them, once each and in the order in which they asked.
   * @param {Partial<State>} changes
   */
  set(changes) {
    const names = /** @type {(keyof State)[]} */ (Object.keys(changes));
    const changed = names.filter((name) => this.#state[name] !== changes[name]);
    this.#state = { ...this.#state, ...changes };
    for (const watch of this.#listeners) {
      if (watch.names.some((name) => changed.includes(name))) watch.listener(this.#state);
    }
  }

  /**
   * @param {(keyof State)[]} names
   * @param {(state: State) => void} listener
   */
  watch(names, listener) {
    this.#listeners.push({ names, listener });
  }
}

/** @returns {State} Before any model is known. */
export function initialState() {
  return {
    model: null,
    examples: [],
    input: null,
    loaded: null,
    code: [],
    output: [],
    undo: [],
    latency_ms: 0,
    temperature: 1,
    relaxation_temperature: 0.5,
    seed: null,
    seed_fixed: true,
    num_samples: 6,
    samples: [],
    prior_temperature: 1,
    prior_seed: null,
    generated: [],
    from: null,
    to: null,
    way: "flips",
    frames: [],
    frame: 0,
  };
}
