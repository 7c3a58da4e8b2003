/**
 * What people meet, in plain words: what is wrong, what to do, and buttons for it.
 *
 * {} in a sentence is filled with the failure's detail. actions: names that the page has a handler for; of those it has
 * none for now, no button is shown.
 */

const REUSE = "or join with a video file or the demo face";

/** @type {Record<string, {text: string, way: string, actions?: string[]}>} */
export const ERRORS = {
  "no-camera": {
    text: "No camera was found.",
    way: `Connect one and try again, ${REUSE}.`,
    actions: ["camera", "file", "demo"],
  },
  "no-microphone": {
    text: "No microphone was found.",
    way: "Connect one and try again, or go on without your voice.",
    actions: ["camera", "silent"],
  },
  "permission-refused": {
    text: "This page may not use your camera and microphone.",
    way: `Allow both in the browser's settings for this page, beside its address, then try again, ${REUSE}.`,
    actions: ["camera", "file", "demo"],
  },
  "camera-busy": {
    text: "The camera or the microphone is in use by another program.",
    way: `Close the other program and try again, ${REUSE}.`,
    actions: ["camera", "file", "demo"],
  },
  "camera-lost": {
    text: "The camera was disconnected.",
    way: "The call goes on without your picture. Connect the camera again and turn it on.",
    actions: ["cameraOn"],
  },
  insecure: {
    text: "The browser gives this page no camera and no microphone, because it did not come over a secure connection.",
    way: `Open it with https, or on the machine itself as localhost, ${REUSE}.`,
    actions: ["file", "demo"],
  },
  "file-unplayable": {
    text: "This file cannot be played here.",
    way: "Choose another video: MP4 with H.264 and WebM play in most browsers.",
    actions: ["file", "demo"],
  },
  "demo-missing": {
    text: "This server does not have the demo face.",
    way: "Join with your camera or a video file.",
    actions: ["camera", "file"],
  },
  "canvas-blocked": {
    text: "This browser hides the pixels of pictures from pages.",
    way: "A protection against tracking changes what this page would send. Allow reading of canvases for this page, " +
      "or use another browser.",
  },
  "broken-link": {
    text: "This link is not whole.",
    way: "Copy all of it, from http to its last letter, and paste it below.",
  },
  "wrong-token": {
    text: "The server does not accept this link: its token is wrong.",
    way: "Ask for a new link, and copy all of it: a part may be missing.",
    actions: ["link"],
  },
  "no-room": {
    text: "There is no such room on this server.",
    way: "It was closed, or the server was started anew. Ask for a new link.",
    actions: ["link", "retry"],
  },
  "token-in-use": {
    text: "This link is in use already.",
    way: "It is for one person and one window. Close the other one, wait a few seconds and try again, or ask for a " +
      "link of your own.",
    actions: ["retry", "link"],
  },
  "too-many-tries": {
    text: "Too many wrong links were tried from your network.",
    way: "Wait a minute, then try again.",
    actions: ["retry"],
  },
  "server-full": {
    text: "The server is full.",
    way: "It holds as many calls as it can. Try again in a while.",
    actions: ["retry"],
  },
  "server-gone": {
    text: "The server does not answer.",
    way: "Check that you are online, and that whoever runs the server has it running. Then try again.",
    actions: ["retry"],
  },
  "server-mistake": {
    text: "The server could not do what this page asked of it.",
    way: "It said: {}. Try again; if that does not help, tell whoever runs the server.",
    actions: ["retry"],
  },
  "no-webrtc": {
    text: "This browser cannot make calls: it has no WebRTC, or it is turned off.",
    way: "Use a current Chromium, Firefox or Safari.",
  },
  "codec-missing": {
    text: "This browser lacks a codec that a call needs: {}.",
    way: "Use another browser, or one with all of its codecs.",
  },
  "connection-failed": {
    text: "No connection to the other side could be made.",
    way: "The server was reached, but a firewall on the way lets no media through. Try another network; whoever runs " +
      "the server can add a TURN server.",
    actions: ["retry"],
  },
  "page-incomplete": {
    text: "A part of this page did not load.",
    way: "Reload the page. If that does not help, the server's installation is incomplete.",
    actions: ["reload"],
  },
};

/** Waits and changes: nothing is wrong. @type {Record<string, {text: string, way: string, actions?: string[]}>} */
export const NOTICES = {
  waiting: {
    text: "Nobody answers yet.",
    way: "The call begins by itself as soon as the receiving side is there.",
  },
  "other-left": {
    text: "The other side has left.",
    way: "Stay to wait for it, or leave.",
  },
  "server-silent": {
    text: "The server does not answer any more.",
    way: "What is connected stays connected. This page keeps trying.",
  },
  reconnecting: {
    text: "The connection was lost.",
    way: "This page is making a new one.",
  },
  quiet: {
    text: "Nothing comes from the other side any more.",
    way: "The network may be pausing. This page makes a new connection if it does not come back.",
  },
  left: {
    text: "You have left the call.",
    way: "",
  },
};

const LABELS = {
  camera: "Try the camera again",
  cameraOn: "Turn the camera on",
  silent: "Go on without a microphone",
  file: "Use a video file",
  demo: "Use the demo face",
  link: "Use another link",
  retry: "Try again",
  reload: "Reload",
};

/** Shows one message at a time in a box. */
export class Message {
  /**
   * @param {HTMLElement} box with role alert or status
   * @param {Record<string, {text: string, way: string, actions?: string[]}>} table
   * @param {Record<string, () => void>} handlers by name of the action
   */
  constructor(box, table, handlers) {
    this._box = box;
    this._table = table;
    this._handlers = handlers;
    /** The kind that is shown, "" for none. */
    this.kind = "";
  }

  /**
   * @param {string} kind @param {string} [detail]
   * @param {boolean} [focus] on the message, where what the person did led to it
   */
  show(kind, detail = "", focus = false) {
    const { text, way, actions = [] } = this._table[kind] ?? this._table["page-incomplete"];
    if (this.kind === kind && !focus) return;
    this.kind = kind;
    const parts = [paragraph(text, detail)];
    if (way) parts.push(paragraph(way, detail));
    const offered = actions.filter((name) => this._handlers[name]);
    if (offered.length) {
      const row = document.createElement("div");
      row.className = "actions";
      row.append(...offered.map((name) => this._button(name)));
      parts.push(row);
    }
    this._box.replaceChildren(...parts);
    this._box.dataset.kind = kind;
    this._box.hidden = false;
    if (!focus) return;
    this._box.focus({ preventScroll: true });
    this._box.scrollIntoView?.({ block: "nearest" });
  }

  /** Takes the message away. @param {string} [kind] only if it is this one */
  clear(kind = this.kind) {
    if (this.kind !== kind || !this.kind) return;
    this.kind = "";
    this._box.hidden = true;
    this._box.replaceChildren();
    delete this._box.dataset.kind;
  }

  /** @param {string} name */
  _button(name) {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.action = name;
    button.textContent = LABELS[/** @type {keyof typeof LABELS} */ (name)];
    button.addEventListener("click", () => this._handlers[name]());
    return button;
  }
}

/** @param {string} text @param {string} detail */
function paragraph(text, detail) {
  const element = document.createElement("p");
  element.textContent = text.replace("{}", () => detail.replace(/[.]+$/, "") || "nothing more");
  return element;
}
