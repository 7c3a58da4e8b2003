"""A call through three processes on loopback, measured.

    python benchmarks/call.py CLIP [--seconds N] [--fps 25|5] [--audio-kbps K] [--packet-ms 40|80] [--no-hints]
        [--loss P] [--profile full|lean] [--lookahead 0|1] [--no-teeth] [--backend B] [--precision P]
        [--output F.mp4] [--json F]

CLIP is a media file, repeated until the time is over, or `demo`. At 5 fps, or with --output, the call is recorded and
`beat_5hz` of the shown pictures is told beside that of the clip itself (`smoothness.py`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.clips import DEMO, is_final, load_clip
from benchmarks.loopback import CallConfig, printed, row_of, run_call
from benchmarks.processes import prefixed, terminated_like_interrupted
from benchmarks.report import document, settings, table, write_json
from benchmarks.smoothness import beat_or_none, differences, recorded_motion
from codec_models.engines.choice import BACKENDS, PRECISIONS
from codec_models.errors import CommandParser, UserError, run_command


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(description="Measure a call through three processes on this machine.")
    parser.add_argument("clip", metavar="CLIP", help="media file, or demo for the built-in source")
    parser.add_argument("--seconds", type=_positive, default=20.0, help="length of the call (20)")
    parser.add_argument("--fps", type=int, choices=(25, 5), default=25, help="8x8 frames a second (25)")
    parser.add_argument("--audio-kbps", type=_positive, default=12.0, help="Opus rate (12)")
    parser.add_argument("--packet-ms", type=int, choices=(40, 80), default=40, help="voice in one packet (40)")
    parser.add_argument("--no-hints", action="store_true", help="send no hints")
    parser.add_argument("--loss", type=_share, default=0.0, help="share of packets to drop, such as 0.1")
    parser.add_argument("--profile", choices=("full", "lean"), help="of the 8x8 coder (the sender's default)")
    parser.add_argument("--lookahead", type=int, choices=(0, 1), help="frames at 5 fps (the receiver's default)")
    parser.add_argument("--no-teeth", action="store_true", help="draw the mouth without restoring its teeth")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="runtime of the networks (the quickest)")
    parser.add_argument("--precision", choices=PRECISIONS, help="of the networks (the best that is quick here)")
    parser.add_argument("--output", type=Path, help="record the call to this mp4")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark. Raises UserError."""
    options = parse(arguments)
    if options.clip != "demo" and not Path(options.clip).is_file():
        raise UserError(f"no file at {options.clip}: check the path, or use demo for the built-in source")
    config = CallConfig(
        source=options.clip,
        seconds=options.seconds,
        fps=options.fps,
        audio_kbps=options.audio_kbps,
        packet_ms=options.packet_ms,
        hints=not options.no_hints,
        loss=options.loss,
        profile=options.profile,
        output=options.output,
        lookahead=options.lookahead,
        teeth=not options.no_teeth,
        backend=options.backend,
        precision=options.precision,
        beat=options.fps == 5 or options.output is not None,
    )
    with terminated_like_interrupted():
        result = run_call(config, listener=show)
    if "beat_5hz" in result.report:
        result.report["beat_5hz"]["clip"] = beat_or_none(own_motion(options.clip))
    print(table(printed(result.report), {"figure": "figure", "value": "value", "meaning": ""}))
    if options.output is not None:
        print(f"recording: {options.output}")
    if options.json is not None:
        clip = options.clip if options.clip == "demo" else Path(options.clip).name
        rows = [row_of(result.report, config.codec, clip)]
        how = settings(
            processes=result.commands,
            fps=config.fps,
            audio_kbps=config.audio_kbps,
            packet_ms=config.packet_ms,
            hints=config.hints,
            loss=config.loss,
            profile=config.profile,
            lookahead=result.report.get("lookahead"),
            teeth=config.teeth,
        )
        sides = {"sender": result.sender, "receiver": result.receiver}
        write_json(options.json, document(rows, how, **result.report, sides=sides))
        print(f"figures: {options.json}")
    return 130 if result.interrupted else 0


def own_motion(source: str) -> NDArray[np.float64]:
    """Frame differences of what the sender sees of a clip, once through. Raises UserError."""
    if source != DEMO and is_final(source):
        return recorded_motion(Path(source))
    return differences(load_clip(source).frames)


def show(name: str, line: str) -> None:
    """A line of a child, with its name before it."""
    print(prefixed(name, line), file=sys.stderr, flush=True)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a share: 0 or more, below 1")
    return value


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
