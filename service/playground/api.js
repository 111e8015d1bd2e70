/** The public interface of the service, and nothing else of it: every answer here is one that curl would get. */

/** @typedef {import("./types.js").Model} Model */

/** The service answered, and not with what was asked for. The message is for people. */
export class Refused extends Error {
  /** @param {number} status @param {string} message */
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  get needsKey() {
    return this.status === 401;
  }
}

/** The service did not answer. */
export class Unreachable extends Error {}

export class Api {
  /** @param {URL} root  where the service is; may have a path, behind a proxy */
  constructor(root) {
    this.root = root;
    /** @type {string} */
    this.key = "";
  }

  /** @returns {Promise<{name: string, version: number | null}[]>} */
  async models() {
    return (await this.#send("GET", "v1/models")).models;
  }

  /** @param {string} name @returns {Promise<Model>} */
  model(name) {
    return this.#send("GET", `v1/models/${encodeURIComponent(name)}`);
  }

  /** Inputs that came with the model. @param {Model} model @returns {Promise<number[][]>} */
  async examples(model) {
    return (await this.#send("GET", `${at(model)}/examples`)).inputs.map(flattened);
  }

  /** @param {Model} model @param {object} body */
  encode(model, body) {
    return this.#send("POST", `${at(model)}/encode`, body);
  }

  /** @param {Model} model @param {object} body */
  reconstruct(model, body) {
    return this.#send("POST", `${at(model)}/reconstruct`, body);
  }

  /** @param {Model} model @param {object} body @returns {Promise<number[][]>} one flat row for each code */
  async decode(model, body) {
    return (await this.#send("POST", `${at(model)}/decode`, body)).outputs.map(flattened);
  }

  /** @param {Model} model @param {object} body */
  generate(model, body) {
    return this.#send("POST", `${at(model)}/generate`, body);
  }

  /** @param {string} method @param {string} path @param {object} [body] */
  async #send(method, path, body) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (this.key) headers.Authorization = `Bearer ${this.key}`;
    if (body) headers["Content-Type"] = "application/json";
    let reply;
    try {
      reply = await fetch(new URL(path, this.root), { method, headers, body: body && JSON.stringify(body) });
    } catch {
      throw new Unreachable("The service does not answer. Is it still running?");
    }
    if (!reply.ok) throw await refusal(reply);
    return reply.json();
  }
}

/** @param {Model} model  The path of one version: what is on the screen does not change while a new one is published. */
export function at(model) {
  return `v1/models/${encodeURIComponent(model.name)}/versions/${model.version}`;
}

/** @param {any} nested @returns {number[]} */
export function flattened(nested) {
  return nested.flat(Infinity);
}

/** @param {Response} reply @returns {Promise<Refused>} */
async function refusal(reply) {
  const seconds = Number(reply.headers.get("Retry-After"));
  const again = seconds > 0 ? ` Try again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.` : "";
  try {
    const problem = await reply.json();
    const what = problem.detail ? `${problem.title}: ${problem.detail}` : problem.title;
    if (what) return new Refused(reply.status, `${what}.${again}`);
  } catch {
    // Not a problem of ours: a proxy may stand before the service.
  }
  return new Refused(reply.status, `The service answered with ${reply.status} ${reply.statusText}.${again}`);
}
