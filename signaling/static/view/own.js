/**
 * One's own picture: the source with its crop square, what is cut out of it tick by tick, and the face that it follows.
 */
import { Capture } from "../call/capture.js";
import { Crop } from "../source/crop.js";
import { FaceFinder } from "../source/faces.js";
import { Source } from "../source/source.js";
import { Square } from "../source/square.js";
import { Pixels } from "./pixels.js";

const PATIENCE_MS = 2000;
const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

export class OwnPicture {
  /**
   * @param {object} events
   * @param {(frame: import("../call/capture.js").Frame) => void} events.onFrame
   * @param {(ticks: number) => void} events.onSkipped
   * @param {() => void} events.onLost the camera is gone
   */
  constructor({ onFrame, onSkipped, onLost }) {
    this.crop = new Crop();
    this.faces = new FaceFinder();
    this.source = new Source(byId("source"), onLost);
    /** The crop, 256x256. @type {HTMLCanvasElement} */
    this.canvas = byId("original");
    this._preview = new Pixels(byId("preview8"));
    this._square = new Square(byId("square"), this.source, this.crop, () => this.showFollow());
    const each = (/** @type {import("../call/capture.js").Frame} */ frame) => {
      this._square.draw();
      onFrame(frame);
    };
    this.capture = new Capture(this.source, this.canvas, this.crop, this.faces, each, onSkipped);
    /** @type {Promise<void> | null} */
    this._loading = null;
    byId("follow").addEventListener("change", () => this._follow(byId("follow").checked));
    byId("adjust").addEventListener("click", () => this.open(byId("adjust").getAttribute("aria-expanded") !== "true"));
  }

  /** Fetch what finds faces, once. Resolves when it is there, or when that takes too long for a call to wait. */
  load() {
    this._loading ??= this.faces.load().then(() => {
      if (this.source.ready) this._follow(true);
      else this.showFollow();
    });
    return Promise.race([this._loading, new Promise((resolve) => setTimeout(resolve, PATIENCE_MS))]);
  }

  /** A source was chosen. */
  start() {
    this.crop.reset();
    this.faces.reset();
    this._follow(true);
    this.capture.on = true;
    this.capture.start();
  }

  stop() {
    this.capture.stop();
  }

  /** @param {boolean} on whether there are pictures */
  setCamera(on) {
    this.capture.on = on;
    byId("stage-empty").hidden = on;
    byId("stage-empty").textContent = "Camera off";
  }

  /** What would be sent, before a call. @param {Uint8Array} small */
  preview(small) {
    this._preview.draw(small);
  }

  /** In a call the stage is out of the way until it is asked for. @param {boolean} away */
  setAway(away) {
    byId("own").classList.toggle("away", away);
    byId("own").inert = away;
    byId("adjust").setAttribute("aria-expanded", String(!away));
  }

  /** @param {boolean} open */
  open(open) {
    this.setAway(!open);
    if (!open) return;
    this._square.draw(); // it is hidden where there is no room for it
    byId("own").scrollIntoView?.({ block: "nearest" });
    byId("square").focus({ preventScroll: true });
  }

  showFollow() {
    const able = this.faces.any;
    byId("follow").disabled = !able;
    byId("follow").checked = able && this.crop.following;
    byId("follow-text").textContent = able ? "Follow my face" : "No face detection here: place the square by hand";
  }

  /** @param {boolean} on */
  _follow(on) {
    this.crop.following = on && this.faces.any;
    this.showFollow();
  }
}
