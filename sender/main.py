"""The `sender` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiortc import RTCIceServer

from codec_models.bitstream.face import DEFAULT, FaceConfig
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.voice_encoder import MAX_KBPS, MIN_KBPS
from signaling.call import CallEvents, Place, SendingCall
from signaling.control import Hello

from .crop import FaceTracker
from .pipeline import Pipeline
from .report import check_report, write_report
from .session import SenderSession, SessionConfig
from .source import FileSource, Source, warn
from .trace import SenderTrace

_THIN_QUALITY = 13


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = CommandParser(prog="sender", description="Send a face as 8x8 pixels, and its voice.")
    p.add_argument("--signaling", required=True, metavar="URL", help="address of the signaling server")
    p.add_argument("--room", required=True, metavar="R", help="name of the room")
    p.add_argument("--source", required=True, metavar="camera[:N]|FILE|demo", help="what to send")
    p.add_argument("--fps", type=int, choices=(25, 5), default=25, help="8x8 frames a second (default: 25)")
    p.add_argument("--audio-kbps", type=kilobits, default=12.0, metavar="K", help="voice, 6 to 64 (default: 12)")
    p.add_argument("--packet-ms", type=int, choices=(40, 80), default=40, help="voice in a packet (default: 40)")
    hints_help = "leave out the openings of mouth and eyes, the gaze, and the pose of the head"
    p.add_argument("--no-hints", action="store_true", help=hints_help)
    p.add_argument(
        "--profile",
        choices=("full", "lean"),
        help="lean: coarser colour (default: full, which gives a better picture at the same rate)",
    )
    quality_help = (
        "quantiser step of the 8x8 frames, 0 (fine) to 15 (default: 10; 13 with --packet-ms 80, for thin links)"
    )
    p.add_argument("--quality", type=int, default=None, metavar="Q", help=quality_help)
    repeats = "faces of earlier ticks repeated in a packet, 0 to 3 (default: its own number of ticks, on a lossy link)"
    p.add_argument("--redundancy", type=int, choices=range(4), default=None, metavar="N", help=repeats)
    crops = "auto follows the face; full and centre take the middle square, centre without hints"
    p.add_argument("--crop", choices=("auto", "full", "centre"), default="auto", help=crops)
    p.add_argument("--loop", action="store_true", help="start a file again at its end")
    p.add_argument("--seconds", type=positive, default=None, metavar="N", help="end N seconds after the first tick")
    p.add_argument("--report", default=None, metavar="FILE", help="write the measured figures as JSON")
    p.add_argument("--trace", default=None, metavar="FILE", help="write the times of every tick as JSON lines")
    p.add_argument("--direction", choices=("a", "b"), default="a", help="which way of a two-way call (default: a)")
    p.add_argument("--token", default=None, metavar="T", help="token of this place (default: $PINHOLE_TOKEN, or kept)")
    p.add_argument("--ice", action="append", default=[], metavar="URL", help="STUN or TURN server, may be repeated")
    p.add_argument("--ice-user", default=None, metavar="U", help="user name for TURN")
    p.add_argument("--ice-password", default=None, metavar="P", help="password for TURN")
    return p


def positive(text: str) -> float:
    """A finite number of seconds above 0."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value


def kilobits(text: str) -> float:
    """A rate that the voice coder takes."""
    value = float(text)
    if not math.isfinite(value) or not MIN_KBPS <= value <= MAX_KBPS:
        raise argparse.ArgumentTypeError(f"choose {MIN_KBPS} to {MAX_KBPS} kb/s")
    return value


def open_source(name: str, loop: bool, seconds: float | None) -> Source:
    """The source that the command line names. Raises UserError."""
    camera = re.fullmatch(r"camera(?::(\d{1,3}))?", name)
    if camera:
        from .camera import CameraSource

        return CameraSource(int(camera[1] or 0))
    if name == "demo":
        try:
            from .demo_source import DemoSource

            return DemoSource(seconds)
        except ImportError as e:
            raise UserError(f"the demo needs scikit-image ({e}): pip install 'pinhole-call[sender]'") from e
    return FileSource(name, loop)


def ice_servers(urls: Sequence[str], user: str | None, password: str | None) -> list[RTCIceServer]:
    """ICE servers of the command line. Raises UserError."""
    for url in urls:
        if not re.fullmatch(r"(stun|turn|turns):[^\s]{1,255}", url):
            raise UserError(f"{url!r} is no ICE server: write it like stun:HOST:PORT or turn:HOST:PORT")
    return [RTCIceServer(url, user, password) if url.startswith("turn") else RTCIceServer(url) for url in urls]


class Console:
    """Lines on stdout; the live line stays in place on a terminal and comes every 5 s elsewhere."""

    _PLAIN_EVERY = 5.0

    def __init__(self) -> None:
        self._live = False
        self._last = -math.inf

    def say(self, text: str) -> None:
        """One line."""
        self._write(("\n" if self._live else "") + f"sender: {text}\n")
        self._live = False

    def live(self, text: str, time: float) -> None:
        """The live line at `time` seconds."""
        if sys.stdout.isatty():
            self._write(f"\r{text}\x1b[K")
            self._live = True
        elif time - self._last >= self._PLAIN_EVERY:
            self._last = time
            self._write(text + "\n")

    def _write(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever read us is gone; the call goes on
            sys.stdout.write(text)
            sys.stdout.flush()


async def send(args: argparse.Namespace) -> int:
    """One call from the command line to the exit status. Raises UserError."""
    report = Path(args.report) if args.report else None
    if report is not None:
        check_report(report)
    trace = SenderTrace(Path(args.trace), warn) if args.trace else None
    servers = ice_servers(args.ice, args.ice_user, args.ice_password)
    quality = args.quality
    if quality is None:
        quality = _THIN_QUALITY if args.packet_ms == 80 and args.profile is None else DEFAULT
    hints = not args.no_hints
    try:
        face = FaceConfig(profile=args.profile or "full", quality=quality, fps=args.fps, hints=hints)
    except ValueError as e:
        raise UserError(f"--quality {args.quality}: {e}") from e
    source = await asyncio.to_thread(open_source, args.source, args.loop, args.seconds)
    tracker = await asyncio.to_thread(FaceTracker, args.crop)
    pipeline = Pipeline(source, tracker, face, args.audio_kbps)
    name = "camera" if source.live else Path(args.source).name
    config = SessionConfig(
        hello=Hello(args.fps, face.profile, hints, args.packet_ms, _printable(name)),
        redundant=args.redundancy,
        seconds=args.seconds,
    )
    place = Place(args.signaling, args.room, args.token or os.environ.get("PINHOLE_TOKEN") or None, args.direction)

    def make_call(events: CallEvents) -> SendingCall:
        return SendingCall(place, events, servers)

    session = SenderSession(config, pipeline, source.live, make_call, Console(), trace)
    caught = _catch_signals(session)
    settings: dict[str, Any] = {
        "source": name, "fps": args.fps, "profile": face.profile, "quality": face.quality, "hints": hints,
        "audio_kbps": args.audio_kbps, "packet_ms": args.packet_ms, "crop": args.crop,
        "redundancy": "adaptive" if args.redundancy is None else args.redundancy,
    }  # fmt: skip
    try:
        await session.run()
    finally:
        if report is not None and session.report.ticks:
            write_report(report, session.report.summary(session.wire, settings, session.failure))
            print(f"sender: report {report}", flush=True)
    return 128 + caught[0] if caught and not session.report.ticks else 0


def _printable(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)[:40]


def _catch_signals(session: SenderSession) -> list[int]:
    """The first Ctrl-C or SIGTERM ends the call in order, the second at once. The list gets the signal."""
    loop, caught = asyncio.get_running_loop(), list[int]()

    def on_signal(number: int) -> None:
        caught.append(number)
        session.stop()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends the loop instead
            loop.add_signal_handler(number, on_signal, number)
    return caught


def main() -> int:
    """Parse the command line and send one call."""
    return asyncio.run(send(parser().parse_args()))


def command() -> None:
    """Entry point of the `sender` command."""
    run_command(main)


if __name__ == "__main__":
    command()
