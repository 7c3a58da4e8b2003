/**
 * The receiver's clock as far as pings can tell: its Unix time less this page's, and the round trip. Pure; times are
 * milliseconds of this page's Unix time (`performance.timeOrigin + performance.now()`).
 */

const KEPT = 12;
const SLACK_MS = 3;

export class RemoteClock {
  constructor() {
    /** @type {{trip: number, offset: number}[]} */
    this._found = [];
    /** Round trip of the last ping in ms, null before. @type {number | null} */
    this.roundTrip = null;
  }

  get known() {
    return this._found.length > 0;
  }

  /** What to add to this page's time, ms; 0 until known. The quickest of the last pings knows it best. */
  get offset() {
    if (!this.known) return 0;
    return this._found.reduce((best, one) => (one.trip < best.trip ? one : best)).offset;
  }

  /**
   * @param {{pong?: unknown, clock?: unknown}} values of a Statistics message: the time that the ping carried and the
   *   receiver's Unix time when it answered, ms
   * @param {number} now @returns {boolean} whether it was a pong
   */
  pong({ pong, clock }, now) {
    if (typeof pong !== "number") return false;
    const trip = now - pong;
    if (typeof clock === "number" && Number.isFinite(clock) && trip >= 0 && trip < 10_000) {
      this.roundTrip = trip;
      const offset = clock - (pong + trip / 2);
      // A ping knows the offset to half its trip. What contradicts it is older than a step of either clock.
      this._found = this._found.filter((one) => Math.abs(one.offset - offset) <= (one.trip + trip) / 2 + SLACK_MS);
      this._found.push({ trip, offset });
      if (this._found.length > KEPT) this._found.shift();
    }
    return true;
  }
}

/** This page's Unix time in ms, from a clock that never jumps. */
export function pageTime() {
  return performance.timeOrigin + performance.now();
}
