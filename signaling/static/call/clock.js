// A worker that counts ticks: browsers slow the timers of a page that is in the background, but not a worker's.
//
// Takes {every: ms} and starts to count; each message it sends is the number of the tick that has just ended, from 0.
// Numbers follow the clock: what the machine slept through is left out. {shift: ms} puts the ticks to come later.

/* eslint-env worker */
let timer = 0;
let start = 0;
let again = () => {};

onmessage = ({ data }) => {
  clearTimeout(timer);
  if (data.shift !== undefined) {
    start += data.shift;
    again();
    return;
  }
  start = performance.now();
  let next = 0;
  const wait = () => {
    timer = setTimeout(tick, Math.max(0, start + (next + 1) * data.every - performance.now()));
  };
  const tick = () => {
    const ended = Math.floor((performance.now() - start) / data.every + 0.05) - 1;
    if (ended >= next) {
      postMessage(ended);
      next = ended + 1;
    }
    wait();
  };
  again = wait;
  wait();
};
