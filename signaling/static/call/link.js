/**
 * The link to a place in a room: `#room=ROOM&place=DIRECTION/ROLE&token=TOKEN`, percent-encoded like a query.
 *
 * It leaves the address bar as soon as it was read, so that it is in no history, screenshot or shared address. The
 * tab keeps it for a reload. Pure but for `takeLink`, `memberOf` and `forgetLink`, which are handed the window.
 *
 * @typedef {{room: string, direction: "a"|"b", role: "sender"|"viewer", token: string}} Link
 */

const ROOM = /^[A-Za-z0-9_-]{1,64}$/;
const PLACE = /^([ab])\/(sender|viewer)$/;
const TOKEN = /^[\x21-\x7e]{1,256}$/;
const LINK_KEY = "pinhole-link";
const MEMBER_KEY = "pinhole-member";
const MEMBER = /^[A-Za-z0-9_-]{16,64}$/;

/** @param {string} text a whole address, or its fragment @returns {Link | null} */
export function parseLink(text) {
  const at = text.indexOf("#");
  const fields = new URLSearchParams(text.slice(at + 1).trim());
  const place = PLACE.exec(fields.get("place") ?? "");
  const room = fields.get("room") ?? "";
  const token = fields.get("token") ?? "";
  if (!place || !ROOM.test(room) || !TOKEN.test(token)) return null;
  const [, direction, role] = /** @type {any} */ (place);
  return { room, direction, role, token };
}

/** Whether a fragment was meant to be a link. @param {string} fragment */
export function looksLikeLink(fragment) {
  return /(^|[#&])(room|place|token)=/.test(fragment);
}

/**
 * The http(s) address of another server that a pasted link belongs to, null where it is this one's.
 * @param {string} text @param {string} origin of this page
 */
export function foreignAddress(text, origin) {
  let url;
  try {
    url = new URL(text.trim());
  } catch {
    return null;
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return null;
  return url.origin === origin ? null : url.href;
}

/**
 * Takes the fragment out of the address bar.
 * @param {Window} window
 * @returns {{link: Link | null, broken: boolean, fragment: string}} broken: there was one, and it is not whole
 */
export function takeLink(window) {
  const fragment = window.location.hash;
  if (fragment) {
    window.history.replaceState(window.history.state, "", window.location.pathname + window.location.search);
  }
  const link = parseLink(fragment);
  if (link) {
    keepLink(window, link);
    return { link, broken: false, fragment: "" };
  }
  if (looksLikeLink(fragment)) return { link: null, broken: true, fragment: "" };
  return { link: keptLink(window), broken: false, fragment };
}

/** @param {Window} window @param {Link} link */
export function keepLink(window, link) {
  store(window, LINK_KEY, new URLSearchParams({ ...link, place: `${link.direction}/${link.role}` }).toString());
}

/** @param {Window} window */
function keptLink(window) {
  return parseLink(stored(window, LINK_KEY) ?? "");
}

/** @param {Window} window */
export function forgetLink(window) {
  try {
    window.sessionStorage.removeItem(LINK_KEY);
  } catch {
    // A browser that stores nothing has nothing to forget.
  }
}

/**
 * The random text by which the server knows this tab again. A tab that was duplicated got the storage of the other and
 * takes a text of its own: a lock tells which of them lives.
 * @param {Window} window @returns {Promise<string>}
 */
export async function memberOf(window) {
  const kept = stored(window, MEMBER_KEY) ?? "";
  if (MEMBER.test(kept) && (await lock(window, kept))) return kept;
  const made = randomText(window.crypto);
  store(window, MEMBER_KEY, made);
  await lock(window, made);
  return made;
}

/** @type {Set<string>} Texts that this page has locked. */
const held = new Set();

/** @param {Window} window @param {string} name @returns {Promise<boolean>} false when another tab holds it */
function lock(window, name) {
  const locks = window.navigator.locks;
  if (!locks || held.has(name)) return Promise.resolve(true);
  return new Promise((resolve) => {
    const request = locks.request(`pinhole-${name}`, { ifAvailable: true }, (got) => {
      resolve(got !== null);
      if (got === null) return undefined;
      held.add(name);
      return new Promise(() => {}); // until the page is gone
    });
    request.catch(() => resolve(true)); // storage is off: no locks either
  });
}

/** 24 characters of [A-Za-z0-9_-], 144 random bits. @param {Crypto} crypto */
function randomText(crypto) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return Array.from(crypto.getRandomValues(new Uint8Array(24)), (byte) => alphabet[byte & 63]).join("");
}

/** @param {Window} window @param {string} key */
function stored(window, key) {
  try {
    return window.sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

/** @param {Window} window @param {string} key @param {string} value */
function store(window, key, value) {
  try {
    window.sessionStorage.setItem(key, value);
  } catch {
    // Blocked storage: a reload then needs the link again.
  }
}
