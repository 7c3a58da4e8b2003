/**
 * Requests to the signaling server, which is the one that served the page (`signaling/server.py` has the protocol).
 *
 * Raises Failure with a kind of `view/errors.js`, or an AbortError when the caller's signal said so. The token travels
 * in the Authorization header alone.
 */
import { Failure } from "./failure.js";

/** @typedef {import("./link.js").Link} Link */

const ANSWER_SECONDS = 45; // The server holds a request for 20 s at most.
const KINDS = new Map([
  [401, "wrong-token"],
  [403, "wrong-token"],
  [404, "no-room"],
  [409, "token-in-use"],
  [410, "ended"],
  [429, "too-many-tries"],
  [503, "server-full"],
]);

export class Signaling {
  /** @param {Link} link @param {string} member */
  constructor(link, member) {
    this._place = `/rooms/${link.room}/${link.direction}/${link.role}`;
    this._headers = { Authorization: `Bearer ${link.token}`, "Pinhole-Member": member };
  }

  /** Take the place. @param {AbortSignal} signal @returns {Promise<RTCIceServer[]>} */
  async enter(signal) {
    const response = await this._request("PUT", this._place, { signal });
    const found = await json(response);
    const servers = Array.isArray(found?.ice_servers) ? found.ice_servers : [];
    return servers
      .filter((/** @type {any} */ s) => typeof s?.urls === "string")
      .map((/** @type {any} */ s) =>
        s.username ? { urls: s.urls, username: s.username, credential: s.credential ?? "" } : { urls: s.urls });
  }

  /**
   * Offer, and wait for the answer of the other side.
   * @param {string} sdp @param {AbortSignal} signal
   * @returns {Promise<{location: string, answer: string} | null>} null: nobody there yet, send the same offer again
   */
  async offer(sdp, signal) {
    const type = { "Content-Type": "application/sdp" };
    const response = await this._request("POST", this._place, { signal, headers: type, body: sdp, also: [504] });
    if (response.status === 504) return null;
    const location = new URL(response.headers.get("Location") ?? "", window.location.href);
    if (location.origin !== window.location.origin || !location.pathname.startsWith(`${this._place}/`)) {
      throw new Failure("server-mistake", "the server named no session");
    }
    return { location: location.pathname, answer: await response.text() };
  }

  /** Wait for the session's end. @param {string} location @param {AbortSignal} signal @returns {Promise<boolean>} */
  async ended(location, signal) {
    const response = await this._request("GET", location, { signal, also: [410] });
    return response.status === 410;
  }

  /** @param {string} location @param {string} fragment RFC 8840 @param {AbortSignal} signal */
  async trickle(location, fragment, signal) {
    const type = { "Content-Type": "application/trickle-ice-sdpfrag" };
    await this._request("PATCH", location, { signal, headers: type, body: fragment });
  }

  /** Leave the place; works while the page goes away, and tells nobody whether it did. */
  async leave() {
    try {
      await this._request("DELETE", this._place, { keepalive: true });
    } catch {
      // The server frees the place of one that is silent.
    }
  }

  /**
   * @param {string} method @param {string} path
   * @param {{signal?: AbortSignal, headers?: Record<string, string>, body?: string, keepalive?: boolean,
   *   also?: number[]}} options also: statuses beside 2xx that are answers
   */
  async _request(method, path, { signal, headers = {}, body, keepalive = false, also = [] }) {
    const patience = new AbortController();
    const give = () => patience.abort();
    const timer = setTimeout(give, ANSWER_SECONDS * 1000);
    signal?.addEventListener("abort", give);
    if (signal?.aborted) give();
    let response;
    try {
      response = await fetch(path, {
        method,
        headers: { ...this._headers, ...headers },
        body,
        keepalive,
        signal: patience.signal,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
    } catch {
      if (signal?.aborted) throw new DOMException("left", "AbortError");
      throw new Failure("server-gone");
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", give);
    }
    if (response.ok || also.includes(response.status)) return response;
    const said = await json(response);
    const kind = KINDS.get(response.status) ?? "server-mistake";
    throw new Failure(kind, typeof said?.error === "string" ? said.error : `status ${response.status}`);
  }
}

/** @param {Response} response @returns {Promise<any>} null where it is none */
async function json(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}
