/**
 * The picture that comes down, its sound, and what was sent for it.
 *
 * Sound: a loop plays one's own voice, so it is off until it is asked for; anyone else's is on, unless the browser
 * wants a click first. Then a button says so.
 */
import { Pixels } from "./pixels.js";

/** @typedef {"loop"|"other"|"viewer"} View */

const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const QUALITY_MS = 500;
const MEANING = {
  loop: "This video was never sent: the other end draws it from a still picture of you and your 8×8 stream, so " +
    "details may be wrong. Its sound is off because it is your own voice.",
  other: "This video was never sent: it is drawn from a still picture of the speaker and the 8×8 stream, so details " +
    "may be wrong.",
};

export class WatchView {
  /** @param {(pictures: number) => void} onPictures so many more were shown */
  constructor(onPictures) {
    this._onPictures = onPictures;
    /** @type {HTMLVideoElement} */
    this._video = byId("video");
    this._low = new Pixels(byId("low"));
    this._pip = new Pixels(byId("pip"));
    this._self = new Pixels(byId("self"));
    /** @type {View | null} */
    this._view = null;
    /** @type {boolean | null} what the person asked for; null: nothing yet */
    this._wish = null;
    this._lowAt = -Infinity;
    this._presented = 0;
    this._stream = /** @type {MediaStream | null} */ (null);
    byId("sound").addEventListener("click", () => this._setWish(true));
    byId("mute-other").addEventListener("click", () => this._setWish(this._video.muted));
    byId("pip-toggle").addEventListener("click", () => this._togglePip());
    byId("fullscreen").addEventListener("click", () => this._fullscreen());
    const screen = byId("screen");
    byId("fullscreen").hidden = !screen.requestFullscreen && !(/** @type {any} */ (this._video).webkitEnterFullscreen);
    this._count();
  }

  get view() {
    return this._view;
  }

  /** A call begins. @param {boolean} sends whether this page sends a picture */
  start(sends) {
    this._view = null;
    this._wish = null;
    this._video.muted = true;
    this._showSound();
    byId("own").hidden = byId("mute").hidden = byId("camera-off").hidden = !sends;
    byId("slow").hidden = byId("adjust").hidden = !sends;
    byId("original-figure").hidden = !sends;
    byId("self-figure").hidden = true;
    if (!sends) this.setView("viewer");
  }

  /** What the picture shows, as the receiver says. @param {View} view */
  setView(view) {
    if (view === this._view) return;
    this._view = view;
    byId("original-figure").hidden = view !== "loop";
    byId("self-figure").hidden = view !== "other";
    byId("meaning").textContent = view === "loop" ? MEANING.loop : MEANING.other;
    if (this._wish === null && view !== "loop") this._sound(true);
    else this._showSound();
  }

  /** @param {MediaStream} stream */
  setStream(stream) {
    if (this._stream !== stream) {
      this._stream = stream;
      this._presented = 0;
      this._video.srcObject = stream;
    }
    this._sound(!this._video.muted);
  }

  /** The 8x8 that the shown picture was drawn from. @param {Uint8Array} rgb */
  low(rgb) {
    this._lowAt = performance.now();
    this._low.draw(rgb);
    this._pip.draw(rgb);
  }

  /** What this page sends. @param {Uint8Array} rgb */
  own(rgb) {
    if (this._view === "other") this._self.draw(rgb);
    // In a loop the receiver need not tell what this page knows.
    else if (this._view === "loop" && performance.now() - this._lowAt > 1000) {
      this._low.draw(rgb);
      this._pip.draw(rgb);
    }
  }

  /** @param {boolean} on */
  setCamera(on) {
    byId("self-off").hidden = byId("original-off").hidden = on;
    if (!on) this._self.clear();
  }

  /** The connection is gone; another may come. */
  lose() {
    this._stream = null;
    this._video.srcObject = null;
    this._presented = 0;
    this._low.clear();
    this._pip.clear();
    byId("empty").hidden = false;
    byId("badge").hidden = true;
  }

  /** The call is over. */
  stop() {
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    this.lose();
    this._self.clear();
    this._view = null;
    byId("sound").hidden = true;
  }

  /** @param {boolean} on */
  _setWish(on) {
    this._wish = on;
    this._sound(on);
  }

  /** Play with sound or without. @param {boolean} on */
  async _sound(on) {
    const video = this._video;
    video.muted = !on;
    this._showSound();
    if (!video.srcObject) return;
    try {
      await video.play();
    } catch (error) {
      if (/** @type {any} */ (error)?.name !== "NotAllowedError" || video.muted) return;
      video.muted = true; // the browser wants a click for sound, not for a picture
      video.play().catch(() => {});
    }
    this._showSound();
  }

  _showSound() {
    const { muted } = this._video;
    byId("mute-other").setAttribute("aria-pressed", String(muted));
    byId("sound").hidden = !muted || this._wish === false || this._view === null;
  }

  _togglePip() {
    const pip = byId("pip");
    pip.hidden = !pip.hidden;
    byId("pip-toggle").setAttribute("aria-pressed", String(!pip.hidden));
  }

  _fullscreen() {
    const screen = byId("screen");
    if (document.fullscreenElement) document.exitFullscreen().catch(() => {});
    else if (screen.requestFullscreen) screen.requestFullscreen().catch(() => {});
    else /** @type {any} */ (this._video).webkitEnterFullscreen?.();
  }

  /** Counts the pictures that are shown. */
  _count() {
    const video = /** @type {any} */ (this._video);
    if (video.requestVideoFrameCallback) {
      const next = (/** @type {number} */ _, /** @type {{presentedFrames: number}} */ { presentedFrames }) => {
        this._shown(presentedFrames);
        video.requestVideoFrameCallback(next);
      };
      video.requestVideoFrameCallback(next);
    } else {
      setInterval(() => this._shown(video.getVideoPlaybackQuality?.().totalVideoFrames ?? 0), QUALITY_MS);
    }
  }

  /** @param {number} presented pictures of this stream so far */
  _shown(presented) {
    if (!this._stream) return;
    // Where the count went back a new stream has begun.
    const more = presented >= this._presented ? presented - this._presented : presented;
    this._presented = presented;
    if (more <= 0) return;
    byId("empty").hidden = true;
    byId("badge").hidden = false;
    this._onPictures(more);
  }
}
