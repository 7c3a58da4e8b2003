"""Capture to shown, stage by stage: our call beside an H.264 call over the same aiortc stack.

    python -m benchmarks.latency [CLIP] [--codecs C,C,...] [--ticks N] [--rounds R] [--link none|delay]
        [--json F] [--plot F.png]

CLIP is a media file, or `demo`. Each call is separate processes, as a real one is: ours with the commands `sender`,
`receiver` and `signaling` at 25 and 5 fps, H.264's with aiortc's own connection, jitter buffer, codec and Opus
(`benchmarks/h264`). Both take the same pictures at the same pace, find the face with the same tracker, and send
256x256. The codecs take turns in short calls, so that a drift of the machine hits all alike; the first second of each
call is left out. A picture is shown when it is handed to the display. Video kb/s are those of the coded pictures (ours:
8x8 frames and hints, without the stills), wire kb/s of every datagram with the voice.

- `ours-25`, `ours-5`: as a call is by default. At 5 fps every tick counts, for the hints of each are captured, sent and
  shown; `p50_ms_pictures` and `p95_ms_pictures` are of the ticks alone that carry an 8x8 frame.
- `h264-default`: as aiortc does by itself, 1 Mb/s adapted by its own rate control.
- `h264-lowest`: its encoder (x264, zerolatency, Baseline) at CRF 51 in place of a bit rate, the least that x264 gives.
- `h264-default-nowait`: aiortc's jitter buffer lets a picture go only when a packet of the next one has come, which
  costs a frame; here a buffer lets it go with its own last packet. aiortc does not do that; it is shown for fairness.

`--link delay`: 50 ms +- 20 ms each way between two network namespaces (`link.py`; Linux, root).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.clips import DEMO
from benchmarks.h264.call import H264Config, read_lines, run_h264
from benchmarks.h264.hooks import LOWEST_CRF, Buffering, Rate, check_h264
from benchmarks.latency_plot import draw
from benchmarks.link import Link, LinkConfig, Unavailable, open_link
from benchmarks.loopback import CallConfig, run_call
from benchmarks.processes import terminated_like_interrupted
from benchmarks.progress import Progress
from benchmarks.report import Row, document, settings, table, write_json
from benchmarks.ticktimes import STAGES, Joined, TickTimes, of_h264, of_ours, percentiles, summary
from codec_models.bitstream.timing import TICK_MS
from codec_models.errors import CommandParser, UserError, run_command

OURS = {"ours-25": 25, "ours-5": 5}
H264 = {
    "h264-default": (Rate.DEFAULT, Buffering.STOCK),
    "h264-lowest": (Rate.LOWEST, Buffering.STOCK),
    "h264-default-nowait": (Rate.DEFAULT, Buffering.NOWAIT),
}
CODECS = (*OURS, *H264)
SETTLE_S = 1.0
"""Left out of each call, from its first picture on."""
_TAIL_S = 0.5
_STILL_S = 1.0
"""Our call counts its seconds from the first tick; the identity still comes a little later."""
MORE_ROUNDS = 2
LEAST_TICKS, MOST_TICKS, MOST_ROUNDS, MOST_CALL_TICKS = 20, 100_000, 50, 10_000
INTERRUPTED = "interrupted"
COLUMNS = {
    "codec": "codec",
    "ticks": "ticks|.0f",
    "missing": "not shown|.0f",
    "p50_ms": "p50, ms|.1f",
    "p95_ms": "p95|.1f",
    "p99_ms": "p99|.1f",
    "mean_ms": "mean|.1f",
    "kbps": "video kb/s|.1f",
    "wire_kbps": "wire kb/s|.0f",
    "psnr": "PSNR, dB|.1f",
}


@dataclass(slots=True)
class Measured:
    """What the calls of one codec gave. failed: why calls failed; failure: why it was not measured (any more)."""

    codec: str
    ticks: list[TickTimes] = field(default_factory=list)
    missing: int = 0
    rounds: list[float] = field(default_factory=list)
    kbps: list[float] = field(default_factory=list)
    wire: list[float] = field(default_factory=list)
    psnr: list[float] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    failure: str | None = None

    def add(self, joined: Joined) -> None:
        """The ticks of a call. Raises UserError where there are none."""
        joined = joined.after(SETTLE_S)
        ticks = [t for t in joined.ticks if t.pictured or self.codec == "ours-5"]
        if not ticks:
            raise UserError("no tick was written down by both sides: run longer calls (--ticks, --rounds)")
        self.ticks += ticks
        self.missing += len(joined.missing)
        self.rounds.append(percentiles([t.latency for t in ticks])["p50"])

    def row(self, clip: str, link: str) -> Row:
        """Figures for the JSON; `not_measured` says why there are none, `failure` why there are no more."""
        row: Row = {"codec": self.codec, "clip": clip, "link": link}
        if not self.ticks:
            return {**row, "not_measured": self.failure or "no call was made"}
        own = percentiles([t.latency for t in self.ticks if t.pictured])
        row |= {"ticks": len(self.ticks), "missing": self.missing, **summary(self.ticks)}
        row |= {"pictures": sum(t.pictured for t in self.ticks), "rounds_p50_ms": self.rounds}
        row |= {f"{name}_ms_pictures": own[name] for name in ("p50", "p95", "p99") if name in own}
        for name, values in (("kbps", self.kbps), ("wire_kbps", self.wire), ("psnr", self.psnr)):
            if values:
                row[name] = sum(values) / len(values)
        row |= {"failed_calls": self.failed} if self.failed else {}
        return row | ({"failure": self.failure} if self.failure else {})


def measure_ours(into: Measured, clip: str, seconds: float, link: Link | None) -> None:
    """One of our calls. Raises UserError."""
    with tempfile.TemporaryDirectory(prefix="pinhole-latency-") as folder:
        traces = {side: Path(folder) / f"{side}.jsonl" for side in ("sender", "receiver")}
        config = CallConfig(
            source=clip,
            seconds=seconds + _STILL_S,
            fps=OURS[into.codec],
            sender_arguments=("--trace", str(traces["sender"])),
            receiver_arguments=("--trace", str(traces["receiver"])),
        )
        result = run_call(config, link=link)
        into.commands = into.commands or [line.replace(folder, "TMP") for line in result.commands]
        if result.interrupted:
            raise KeyboardInterrupt
        into.add(of_ours(read_lines(traces["sender"]), read_lines(traces["receiver"])))
    into.kbps.append(float(result.report["face_kbps"]))
    into.wire.append(float(result.report["wire_kbps"]["received"]))


def measure_h264(into: Measured, clip: str, seconds: float, link: Link | None) -> None:
    """One H.264 call. Raises UserError."""
    rate, buffering = H264[into.codec]
    call = run_h264(H264Config(clip, seconds, rate, buffering), link)
    into.commands = into.commands or call.commands
    before = len(into.ticks)
    into.add(of_h264(call.sent, call.received))
    sizes = [t.bytes for t in into.ticks[before:] if t.bytes is not None]
    if sizes:
        into.kbps.append(sum(sizes) * 8 / (len(sizes) * TICK_MS))
    into.wire.append(float(call.report["wire_kbps"]))
    into.psnr += call.psnr


def measure(codecs: Sequence[str], clip: str, ticks: int, rounds: int, link: Link | None) -> list[Measured]:
    """All codecs in turn, `rounds` times, each round beginning with another one; then again those that lack ticks
    because too many were not shown.
    """
    measured = {codec: Measured(codec) for codec in codecs}
    for codec in measured:
        if codec in H264:
            with _failing(measured[codec]):
                check_h264()
    seconds = SETTLE_S + -(-ticks // rounds) * TICK_MS / 1000 + _TAIL_S
    try:
        with Progress(rounds * len(codecs), "calls") as bar:
            for number in range(rounds + MORE_ROUNDS):
                turn = number % len(codecs)
                for codec in (*codecs[turn:], *codecs[:turn]):
                    into = measured[codec]
                    if number >= rounds and len(into.ticks) >= ticks:
                        continue
                    bar.now(codec)
                    if into.failure is None:
                        with _failing(into):
                            _call(into, clip, seconds, link)
                    bar.step(codec)
    except KeyboardInterrupt:
        if not any(m.ticks for m in measured.values()):
            raise
        for m in measured.values():
            m.failure = m.failure or INTERRUPTED
    return list(measured.values())


def _call(into: Measured, clip: str, seconds: float, link: Link | None) -> None:
    """One call. A first failure is written down and the call made again; the second one is raised as UserError."""
    measure_one = measure_ours if into.codec in OURS else measure_h264
    try:
        measure_one(into, clip, seconds, link)
    except UserError as e:
        into.failed.append(str(e))
        measure_one(into, clip, seconds, link)


@contextlib.contextmanager
def _failing(into: Measured) -> Iterator[None]:
    """A codec that fails is told of in its row; the others go on."""
    try:
        yield
    except UserError as e:
        into.failure = str(e)


def stage_rows(rows: Sequence[Row]) -> list[Row]:
    """A row a stage, a column a codec: p50 / p95 / p99 in ms."""
    found: list[Row] = []
    for key, name in STAGES.items():
        line: Row = {"stage": name}
        for row in rows:
            figures = row.get("stages", {}).get(key)
            if figures:
                line[str(row["codec"])] = " / ".join(f"{figures[p]:.1f}" for p in ("p50", "p95", "p99"))
        if len(line) > 1:
            found.append(line)
    return found


def comparisons(rows: Sequence[Row]) -> list[str]:
    """How ours at 25 fps stands beside each H.264 of the same run, in words."""
    by = {str(row["codec"]): row for row in rows if "p50_ms" in row}
    ours = by.get("ours-25")
    lines = []
    for codec in H264:
        if ours is None or codec not in by:
            continue
        told = ", ".join(
            f"{p} {ours[f'{p}_ms']:.1f} to {by[codec][f'{p}_ms']:.1f} ms"
            f" ({'at or below' if ours[f'{p}_ms'] <= by[codec][f'{p}_ms'] else 'above'})"
            for p in ("p50", "p95", "p99")
        )
        lines.append(f"ours-25 beside {codec}: {told}")
    return lines


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure the delay from capture to shown, ours beside H.264's.")
    parser.add_argument("clip", nargs="?", default=DEMO, metavar="CLIP", help="media file (the built-in source)")
    parser.add_argument("--codecs", type=_codecs, default=CODECS, help=f"some of {','.join(CODECS)} (all)")
    parser.add_argument("--ticks", type=int, default=500, help="ticks to measure of each codec, at least (500)")
    parser.add_argument("--rounds", type=int, default=4, help="calls of each codec (4)")
    parser.add_argument("--link", choices=("none", "delay"), default="none", help="delay: 50 ms +- 20 ms one way")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw the stages to this .png file")
    return parser.parse_args(arguments)


def _codecs(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(text.split(",")))
    wrong = [name for name in names if name not in CODECS]
    if wrong:
        raise argparse.ArgumentTypeError(f"there is no codec {wrong[0]!r}: choose of {', '.join(CODECS)}")
    return names


def check(options: argparse.Namespace) -> None:
    """Raises UserError before anything is started."""
    if options.clip != DEMO and not Path(options.clip).is_file():
        raise UserError(f"no file at {options.clip}: check the path, or use demo for the built-in source")
    if not LEAST_TICKS <= options.ticks <= MOST_TICKS:
        raise UserError(f"--ticks {options.ticks}: choose {LEAST_TICKS} to {MOST_TICKS}")
    if not 1 <= options.rounds <= MOST_ROUNDS or options.ticks < options.rounds:
        raise UserError(f"--rounds {options.rounds}: choose 1 to {MOST_ROUNDS}, and no more than there are ticks")
    if options.ticks > MOST_CALL_TICKS * options.rounds:
        raise UserError(f"a call has {MOST_CALL_TICKS} ticks at most: choose more --rounds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; status 1 where a codec could not be measured. Raises UserError."""
    options = parse(arguments)
    check(options)
    name = DEMO if options.clip == DEMO else Path(options.clip).name
    link_settings: dict[str, Any] | None = None
    codecs: tuple[str, ...] = options.codecs
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    with terminated_like_interrupted():
        if options.link == "none":
            measured = measure(codecs, options.clip, options.ticks, options.rounds, None)
        else:
            try:
                with open_link(LinkConfig()) as link:
                    link_settings = link.settings
                    measured = measure(codecs, options.clip, options.ticks, options.rounds, link)
            except Unavailable as e:
                measured = [Measured(codec, failure=f"no link with delay: {e}") for codec in codecs]
    rows = [m.row(name, options.link) for m in measured]
    show(rows, measured)
    if options.json is not None:
        how = settings(
            clip=name, codecs=list(codecs), ticks=options.ticks, rounds=options.rounds, settle_s=SETTLE_S,
            link=link_settings or options.link, shown="handed to the display", picture="256x256, 25 a second",
            h264={"aiortc": "stock", "lowest": f"libx264 zerolatency Baseline CRF {LOWEST_CRF}, one slice"},
            load_average_before=load, processes={m.codec: m.commands for m in measured},
        )  # fmt: skip
        write_json(options.json, document(rows, how))
    if options.plot is not None:
        title = f"Capture to shown, {'loopback' if options.link == 'none' else LinkConfig().text()}"
        draw(options.plot, rows, title)
    return 130 if any(m.failure == INTERRUPTED for m in measured) else int(any(m.failure for m in measured))


def show(rows: Sequence[Row], measured: Sequence[Measured]) -> None:
    """Print the tables, how ours stands beside H.264, and what was not measured."""
    told = [row for row in rows if "p50_ms" in row]
    if told:
        print(table(told, COLUMNS))
        columns = {"stage": "stage, p50 / p95 / p99 ms"} | {str(row["codec"]): str(row["codec"]) for row in told}
        print("\n" + table(stage_rows(told), columns) + "\n")
    for row in told:
        if row["pictures"] != row["ticks"]:
            figures = " / ".join(f"{row[f'{p}_ms_pictures']:.1f}" for p in ("p50", "p95", "p99"))
            print(f"{row['codec']}: {row['pictures']} of the ticks carry an 8x8 frame, of those {figures} ms")
    for line in comparisons(rows):
        print(line)
    for m in measured:
        for line in m.failed:
            print(f"{m.codec}: a call failed and was made again: {line}")
        if m.failure is not None:
            print(f"{m.codec}: {'cut short' if m.ticks else 'not measured'}: {m.failure}")


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
