/**
 * The words that the modules share, as types only: nothing here runs.
 *
 * @typedef {"binary" | "categorical"} Kind
 *
 * @typedef {object} ImageSpec
 * @property {"L" | "RGB"} mode
 * @property {number} height
 * @property {number} width
 * @property {boolean} invert  whether a file's dark is the model's light
 *
 * @typedef {object} InputSpec
 * @property {number[]} shape
 * @property {number} minimum
 * @property {number} maximum
 * @property {ImageSpec | null} image
 *
 * @typedef {object} Model  a version of a model, as `GET /v1/models/{model}` describes it
 * @property {string} name
 * @property {number} version
 * @property {string} description
 * @property {Kind} kind
 * @property {number} num_latents
 * @property {number} num_categories
 * @property {number} code_bits
 * @property {number} relaxation_temperature
 * @property {InputSpec} input
 *
 * @typedef {number[]} Code  one value in 0..num_categories-1 for each latent
 * @typedef {number[]} Values  one input or output, flattened
 *
 * @typedef {object} Posterior  what the encoder thinks of each latent
 * @property {number[] | number[][]} probabilities  of 1 for a bit, of each category otherwise
 * @property {number[]} margins  how firm each symbol is: best minus second-best score
 *
 * @typedef {object} Loaded  the code that the grid started from, before any cell was changed
 * @property {string} label  where it comes from, as a sentence would say it
 * @property {Code} code
 * @property {Values} output
 * @property {Posterior | null} posterior  null where no input stands behind the code
 *
 * @typedef {object} Input
 * @property {"drawing" | "example" | "file" | "numbers"} source
 * @property {Values} values
 * @property {string[]} notes  what was done to a file
 *
 * @typedef {object} Sample
 * @property {Code} code
 * @property {number[] | number[][]} relaxed
 * @property {Values} output
 *
 * @typedef {object} State
 * @property {Model | null} model
 * @property {Values[]} examples
 * @property {Input | null} input
 * @property {Loaded | null} loaded
 * @property {Code} code  what the grid shows
 * @property {Values} output  what `code` decodes to
 * @property {Code[]} undo  what the grid showed before each change
 * @property {number} latency_ms  from the last flip to its picture
 * @property {number} temperature
 * @property {number} relaxation_temperature
 * @property {number | null} seed
 * @property {boolean} seed_fixed
 * @property {number} num_samples
 * @property {Sample[]} samples
 * @property {number} prior_temperature
 * @property {number | null} prior_seed
 * @property {Sample[]} generated
 * @property {Loaded | null} from  one end of an interpolation
 * @property {Loaded | null} to  the other
 * @property {"flips" | "relaxed"} way
 * @property {import("./interpolation.js").Frame[]} frames
 * @property {number} frame  which one is shown large
 */
export {};
