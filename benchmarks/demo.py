"""What `make demo` runs: a call through three processes on this machine, on the built-in source, shown on the page.

    python -m benchmarks.demo [--seconds N] [--source demo|browser|FILE|camera] [--fps 25|5] [--lookahead 0|1]
        [--no-teeth] [--show browser|window|none] [--out FOLDER]

The receiver's live line goes to the terminal; the recorded call and its figures are left in the folder ./out. With
`--source browser` the page itself sends, from the browser's camera, a file or the demo face, and shows what becomes of
it. What `benchmarks.bpp --compare out/compare` has left there is on the page too.
"""

from __future__ import annotations

import argparse
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from benchmarks.loopback import BROWSER, CallConfig, printed, row_of, run_call
from benchmarks.processes import prefixed, terminated_like_interrupted
from benchmarks.report import document, settings, table, write_json
from codec_models.errors import CommandParser, UserError, run_command

_LIVE = re.compile(r"\bfps\b.*\bkb/s\b")
_HIDDEN = re.compile(r"--token|report /|connection lost|the receiver has left|a browser (sends|watches) at")
_ADDRESS = re.compile(r"\bpage (https?://\S+)")


class Terminal:
    """Shows what concerns the viewer: the receiver's live line, redrawn in place, and below it what else happens.

    The sender's own live line, the token for other machines and the reports in the temporary folder are left out.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._lock = threading.Lock()
        self._live = ""
        self.address = ""

    def __call__(self, name: str, line: str) -> None:
        """Called from the reader threads."""
        with self._lock:
            if name == "receiver" and (found := _ADDRESS.search(line)):
                self.address = found[1]
            live = bool(_LIVE.search(line))
            if (live and name != "receiver") or _HIDDEN.search(line):
                return
            text = prefixed(name, line)
            if not self._stream.isatty():
                self._stream.write(f"{text}\n")
            elif live:
                self._stream.write("\r" + text.ljust(len(self._live)))
                self._live = text
            else:
                self._stream.write("\r" + text.ljust(len(self._live)) + "\n" + self._live)
            self._stream.flush()

    def close(self) -> None:
        """Leave the live line behind and start a new one."""
        with self._lock:
            if self._live:
                self._stream.write("\n")
                self._live = ""
            self._stream.flush()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="A call through 8x8 on this machine, shown, recorded and measured.")
    parser.add_argument("--seconds", type=float, help="end after so long (default: until Ctrl-C)")
    parser.add_argument("--source", default="demo", help="demo, browser, camera, camera:N or a media file (demo)")
    parser.add_argument("--fps", type=int, choices=(25, 5), default=25, help="8x8 frames a second (25)")
    parser.add_argument("--lookahead", type=int, choices=(0, 1), help="frames at 5 fps (the receiver's default)")
    parser.add_argument("--no-teeth", action="store_true", help="draw the mouth without restoring its teeth")
    parser.add_argument("--show", choices=("browser", "window", "none"), default="browser", help="where to show it")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the recording and the figures")
    options = parser.parse_args(arguments)
    if options.seconds is not None and not 0 < options.seconds < 1e6:
        parser.error("--seconds must be above 0")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Raises UserError."""
    options = parse(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{options.out} cannot be made ({e.strerror}): choose another folder with --out") from e
    recording, figures = options.out / "demo.mp4", options.out / "demo.json"
    if options.source == BROWSER and options.show != "browser":
        raise UserError(f"a browser that sends shows the call too: leave --show {options.show} out")
    compare = options.out / "compare"
    config = CallConfig(
        options.source,
        options.seconds,
        options.fps,
        show="join" if options.source == BROWSER else options.show,
        compare=compare if (compare / "compare.json").is_file() else None,
        output=recording,
        lookahead=options.lookahead,
        teeth=not options.no_teeth,
    )
    terminal = Terminal()
    until = "Ctrl-C ends it" if options.seconds is None else f"{options.seconds:g} s, Ctrl-C ends it earlier"
    what = "open the page below and send from it" if options.source == BROWSER else f"calling from {options.source}"
    print(f"{what} ({until})", flush=True)
    try:
        with terminated_like_interrupted():
            result = run_call(config, terminal, terminal=sys.stdout.isatty())
    finally:
        terminal.close()
    rows = [row_of(result.report, config.codec, options.source)]
    sides = {"sender": result.sender, "receiver": result.receiver}
    write_json(figures, document(rows, settings(processes=result.commands), **result.report, sides=sides))
    print(table(printed(result.report), {"figure": "figure", "value": "value", "meaning": ""}))
    print(f"recording: {recording}\nfigures:   {figures}")
    if terminal.address:
        print(f"the page was at {terminal.address}")
    return 0


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
