/**
 * Starts the page. What a test may read and click:
 *
 * window.pinhole: `state` (no-link, ready, joining, waiting, connecting, connected, reconnecting), `error` and `notice`
 * (kind of the message that is shown, ""), `view` (loop, other, viewer or null), `pictures` (shown of what comes down),
 * `ticksSent`, `connectMs` and `firstPictureMs` (since Join, null before), `lastStatistics` (the receiver's), `crop`
 * (left, top, side and source's size in pixels), `hints` (whether landmarks are found), `report()`.
 *
 * Elements: #link, #link-form; #source-camera, #source-file with #file, #source-demo; #camera, #microphone; #square,
 * #follow; #join-button, #watch; #video (comes down), #low (8x8 of it), #original (the crop), #self (8x8 of one's own),
 * #pip, #pip-toggle, #fullscreen, #sound, #mute-other; #mute, #camera-off, #slow, #adjust, #leave; figures by the keys
 * of Statistics (#face_kbps, ...), #engine, #h264; #download; #state; #error and #notice with data-kind, their buttons
 * with data-action; #tab-call, #tab-compare.
 */
import { Page } from "./page.js";

const page = new Page();

Object.defineProperty(window, "pinhole", {
  value: Object.freeze({
    get state() { return page.state; },
    get error() { return page.error.kind; },
    get notice() { return page.notice.kind; },
    get view() { return page.watch.view; },
    get pictures() { return page.report.shown; },
    get ticksSent() { return page.report.ticks; },
    get connectMs() { return page.report.connectMs; },
    get firstPictureMs() { return page.report.firstPictureMs; },
    get lastStatistics() { return page.report.statistics; },
    get crop() { return { ...page.own.crop.box, following: page.own.crop.following }; },
    get hints() { return page.own.faces.hints; },
    report: () => page.report.summary(),
  }),
});
