/**
 * Requests of one kind, of which only the newest answer matters.
 *
 * At most two are under way. What is asked while they are replaces what was waiting, so a slider sends no more than
 * the service answers; and an answer that comes after a newer one was shown is dropped.
 */

const MOST_UNDER_WAY = 2;

export class Latest {
  #asked = 0;
  #shown = 0;
  #underWay = 0;
  /** @type {(() => Promise<void>) | null} */
  #waiting = null;
  /** @type {(error: unknown) => void} */
  #report;

  /** @param {(error: unknown) => void} report  told of the errors that still matter */
  constructor(report) {
    this.#report = report;
  }

  /** Whether an answer is still to come. */
  get isBusy() {
    return this.#underWay > 0 || this.#waiting !== null;
  }

  /** Whatever is still under way no longer matters: the question has changed. */
  forget() {
    this.#shown = this.#asked;
    this.#waiting = null;
  }

  /**
   * @template T
   * @param {() => Promise<T>} request
   * @param {(answer: T) => void} show
   */
  ask(request, show) {
    const number = ++this.#asked;
    const send = async () => {
      this.#underWay += 1;
      try {
        const answer = await request();
        if (number > this.#shown) {
          this.#shown = number;
          show(answer);
        }
      } catch (error) {
        if (number > this.#shown) this.#report(error);
      } finally {
        this.#underWay -= 1;
        const next = this.#waiting;
        this.#waiting = null;
        if (next) void next();
      }
    };
    if (this.#underWay < MOST_UNDER_WAY) void send();
    else this.#waiting = send;
  }
}
