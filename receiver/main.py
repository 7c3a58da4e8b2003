"""The `receiver` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from aiortc import RTCIceServer

from codec_models.engines.choice import BACKENDS, PRECISIONS
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.reconstruction import LOOKAHEAD, NAMES, reconstructor
from signaling.call import Place

from .display import Window
from .page import Page
from .recorder import open_recorder
from .report import check_writable
from .session import Session, SessionConfig
from .terminal import Terminal
from .trace import ReceiverTrace


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = CommandParser(prog="receiver", description="Receive a call: show it, record it, measure it.")
    p.add_argument("--signaling", required=True, metavar="URL", help="address of the signaling server")
    p.add_argument("--room", required=True, metavar="R", help="name of the room")
    p.add_argument("--direction", choices=("a", "b"), default="a", help="which way of a two-way call (default: a)")
    p.add_argument("--token", default=None, metavar="T", help="token of this place (default: $PINHOLE_TOKEN, or kept)")
    p.add_argument("--output", default=None, metavar="FILE.mp4", help="record the call")
    p.add_argument("--show", choices=("browser", "window", "none"), default="browser", help="default: browser")
    p.add_argument(
        "--reconstruction",
        choices=NAMES,
        default="auto",
        help="how the picture is drawn (default: the best here)",
    )
    p.add_argument(
        "--lookahead",
        type=int,
        choices=(0, 1),
        default=LOOKAHEAD,
        help=f"8x8 frames that a picture waits for at 5 a second: 1 is smoother, 200 ms later (default: {LOOKAHEAD})",
    )
    p.add_argument(
        "--backend", choices=BACKENDS, default="auto", help="runtime of the networks (default: the quickest)"
    )
    p.add_argument("--precision", choices=PRECISIONS, default=None, help="of the networks (default: the best here)")
    p.add_argument("--no-teeth", action="store_true", help="draw the mouth without restoring its teeth")
    p.add_argument("--report", default=None, metavar="FILE", help="write the measured figures as JSON")
    p.add_argument("--trace", default=None, metavar="FILE", help="write the times of every tick as JSON lines")
    p.add_argument("--seconds", type=positive, default=None, metavar="N", help="end N seconds after the first tick")
    p.add_argument(
        "--wait", type=positive, default=None, metavar="N", help="give up when nobody sends within N seconds"
    )
    p.add_argument("--stay", action="store_true", help="wait for the next sender when one leaves")
    p.add_argument("--ice", action="append", default=[], metavar="URL", help="STUN or TURN server, may be repeated")
    p.add_argument("--ice-user", default=None, metavar="U", help="user name for TURN")
    p.add_argument("--ice-password", default=None, metavar="P", help="password for TURN")
    p.add_argument("--page-port", type=int, default=0, metavar="P", help="port of the page (default: a free one)")
    p.add_argument("--page-host", default="127.0.0.1", metavar="H", help="address of the page (default: 127.0.0.1)")
    return p


def positive(text: str) -> float:
    """A finite number of seconds above 0."""
    value = float(text)
    if not 0 < value < 1e9:
        raise ValueError
    return value


def ice_servers(urls: Sequence[str], user: str | None, password: str | None) -> list[RTCIceServer]:
    """ICE servers of the command line. Raises UserError."""
    for url in urls:
        if not re.fullmatch(r"(stun|turn|turns):[^\s]{1,255}", url):
            raise UserError(f"{url!r} is no ICE server: write it like stun:HOST:PORT or turn:HOST:PORT")
    return [RTCIceServer(url, user, password) if url.startswith("turn") else RTCIceServer(url) for url in urls]


async def receive(args: argparse.Namespace) -> int:
    """One call from the command line to the exit status. Raises UserError."""
    terminal = Terminal()
    report = Path(args.report) if args.report else None
    if report is not None:
        check_writable(report)
    token = args.token or os.environ.get("PINHOLE_TOKEN") or None
    config = SessionConfig(
        place=Place(args.signaling, args.room, token, args.direction),
        ice_servers=ice_servers(args.ice, args.ice_user, args.ice_password),
        seconds=args.seconds,
        wait=args.wait,
        stay=args.stay,
        report=report,
        lookahead=args.lookahead,
        teeth=not args.no_teeth,
    )
    loop = asyncio.get_running_loop()

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(terminal.warn, text)

    trace = ReceiverTrace(Path(args.trace), warn) if args.trace else None
    drawing = reconstructor(
        args.reconstruction,
        terminal.say,
        lookahead=config.lookahead,
        teeth=config.teeth,
        backend=args.backend,
        precision=args.precision,
    )
    terminal.say(f"drawing with {drawing.backend} on {drawing.device}")
    recorder = open_recorder(args.output, warn)
    window = Window() if args.show == "window" else None
    page = Page(args.page_host, args.page_port) if args.show == "browser" else None
    session = Session(config, drawing, terminal, page, window, recorder, trace)
    if page is not None:
        terminal.say(f"page {page.address}")
    caught = _catch_signals(session)
    if page is not None:
        _open_browser(page.address)
    await session.run()
    made = [("recording", recorder.path)] if recorder is not None else []
    made += [("report", report)] if report is not None else []
    for name, path in made:
        if session.received and path.exists():
            terminal.say(f"{name} {path}")
    if caught and not (session.received and (report is not None or recorder is not None)):
        return 128 + caught[0]
    return 0


def _catch_signals(session: Session) -> list[int]:
    """The first Ctrl-C or SIGTERM ends the call in order, the second at once. The list gets the signal."""
    loop, caught = asyncio.get_running_loop(), list[int]()

    def on_signal(number: int) -> None:
        caught.append(number)
        session.interrupt()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends the loop instead.
            loop.add_signal_handler(number, on_signal, number)
    return caught


def _open_browser(address: str) -> None:
    """Open the page where there is a browser; its address is printed in any case."""
    with contextlib.suppress(Exception):
        if (
            os.environ.get("DISPLAY")
            or os.environ.get("WAYLAND_DISPLAY")
            or os.name == "nt"
            or os.uname()[0] == "Darwin"
        ):
            asyncio.get_running_loop().run_in_executor(None, webbrowser.open, address)


def main() -> int:
    """Parse the command line and receive one call."""
    return asyncio.run(receive(parser().parse_args()))


def command() -> None:
    """Entry point of the `receiver` command."""
    run_command(main)


if __name__ == "__main__":
    command()
