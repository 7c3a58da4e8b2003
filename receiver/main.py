"""The `receiver` command."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aiortc import RTCIceServer

from codec_models.engines.shared_device import BACKENDS
from codec_models.errors import CommandParser, UserError, run_command
from codec_models.reconstruction import LOOKAHEAD, NAMES, Reconstructor
from signaling.call import Place
from signaling.rooms import ROOM_NAME

from .display import Window
from .drawings import PRECISIONS, Drawings
from .recorder import open_recorder
from .report import check_writable
from .session import Session, SessionConfig
from .terminal import Terminal
from .trace import ReceiverTrace


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = CommandParser(prog="receiver", description="Receive calls: show them, record them, measure them.")
    p.add_argument("--signaling", required=True, metavar="URL", help="address of the signaling server")
    p.add_argument(
        "--room",
        required=True,
        action="append",
        metavar="R",
        help="name of the room; repeated, several calls share one device, and {room} stands for its name in file names",
    )
    p.add_argument("--direction", choices=("a", "b"), default="a", help="which way of a two-way call (default: a)")
    p.add_argument(
        "--token",
        action="append",
        default=[],
        metavar="T",
        help="token of this place, one for each room in their order, with --two-way two for a and b (default: "
        "$PINHOLE_TOKEN, or those kept)",
    )
    p.add_argument("--output", default=None, metavar="FILE.mp4", help="record the call")
    p.add_argument(
        "--show",
        choices=("browser", "join", "window", "none"),
        default=None,
        help="browser: open the signaling server's page to watch; join: open it to send from here (default: browser)",
    )
    p.add_argument(
        "--two-way",
        action="store_true",
        help="draw both directions: two browsers join, each is shown the other; {direction} stands for a and b in file "
        "names",
    )
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


@dataclass(frozen=True, slots=True)
class _Call:
    """One call of the command. made: what it leaves behind, by name."""

    session: Session
    terminal: Terminal
    made: dict[str, Path]

    @property
    def left(self) -> bool:
        """Whether something of it was received and written."""
        return self.session.received and bool(self.made)


async def receive(args: argparse.Namespace) -> int:
    """All calls of a command line to the exit status. Raises UserError, where no call could be made."""
    rooms: list[str] = args.room
    _check(args, rooms)
    seats = [(room, way) for room in rooms for way in (("a", "b") if args.two_way else (args.direction,))]
    terminals = [
        Terminal(name=_name(room, way, len(rooms) > 1, args.two_way), redraws=len(seats) == 1) for room, way in seats
    ]
    for seat in seats:
        if args.report:
            check_writable(_path(args.report, *seat))
    drawings = Drawings(args, len(seats), terminals[0].say)
    try:
        calls = [_call(args, k, seats[k], drawings.next(), terminals[k]) for k in range(len(seats))]
        if args.two_way:
            for there, back in zip(calls[::2], calls[1::2], strict=True):
                there.session.pair_with(back.session)
        caught = _catch_signals([call.session for call in calls])
        ended = await asyncio.gather(*(call.session.run() for call in calls), return_exceptions=True)
    finally:
        drawings.close()
    for call in calls:
        for name, path in call.made.items():
            if call.session.received and path.exists():
                call.terminal.say(f"{name} {path}")
    failures = [(call, e) for call, e in zip(calls, ended, strict=True) if isinstance(e, BaseException)]
    if failures and (len(failures) == len(calls) or not all(isinstance(e, UserError) for _, e in failures)):
        raise failures[0][1]
    for call, e in failures:
        # the others went on
        call.terminal.warn(str(e))
    if caught and not any(call.left for call in calls):
        return 128 + caught[0]
    return 1 if failures else 0


def _check(args: argparse.Namespace, rooms: Sequence[str]) -> None:
    """Raises UserError on options that do not fit the number of rooms."""
    if len(set(rooms)) < len(rooms):
        raise UserError(f"room {max(rooms, key=rooms.count)} is named twice: one call is received in a room")
    needed = len(rooms) * (2 if args.two_way else 1)
    if args.token and len(args.token) != needed:
        asked = "give one for each, in their order, or none"
        if args.two_way:
            asked = "give two for each, those of a/receiver and b/receiver, or none"
        raise UserError(f"{len(args.token)} tokens for {len(rooms)} rooms: {asked}")
    for option in ("output", "report", "trace"):
        text = getattr(args, option)
        if text and len(rooms) > 1 and "{room}" not in text:
            raise UserError(f"several rooms cannot share --{option} {text}: put {{room}} into the name")
        if text and args.two_way and "{direction}" not in text:
            raise UserError(f"two directions cannot share --{option} {text}: put {{direction}} into the name")
    if args.show == "window" and needed > 1:
        raise UserError("a window shows one call: take --show browser or none for several")
    if args.two_way and args.direction != "a":
        raise UserError("--two-way draws both directions: leave --direction out")


def _name(room: str, way: str, several: bool, two_way: bool) -> str:
    return " ".join(["receiver", *([room] if several else []), *([way] if two_way else [])])


def _path(text: str, room: str, way: str) -> Path:
    """A file name of the command line for a call. Raises UserError on a room that is no part of a file name."""
    if "{room}" in text and not ROOM_NAME.fullmatch(room):
        raise UserError(f"room {room!r} is no part of a file name: name the file without {{room}}")
    return Path(text.replace("{room}", room).replace("{direction}", way))


def _page(args: argparse.Namespace, way: str) -> str | None:
    """The role for which a browser is opened here."""
    show = args.show or ("join" if args.two_way else "browser")
    if args.two_way:
        return "sender" if show in ("join", "browser") and way == "a" else None
    return {"browser": "viewer", "join": "sender"}.get(show)


def _call(
    args: argparse.Namespace, number: int, seat: tuple[str, str], drawing: Reconstructor, terminal: Terminal
) -> _Call:
    room, way = seat
    token = args.token[number] if args.token else None
    if token is None and len(args.room) == 1 and not args.two_way:
        token = os.environ.get("PINHOLE_TOKEN") or None
    made: dict[str, Path] = {}
    if args.output:
        made["recording"] = _path(args.output, *seat)
    if args.report:
        made["report"] = _path(args.report, *seat)
    config = SessionConfig(
        place=Place(args.signaling, room, token, way),
        ice_servers=ice_servers(args.ice, args.ice_user, args.ice_password),
        seconds=args.seconds,
        wait=args.wait,
        # who sends from a browser may reload the page, and of two one comes first
        stay=args.stay or args.two_way or args.show == "join",
        report=made.get("report"),
        lookahead=args.lookahead,
        teeth=not args.no_teeth,
        page=_page(args, way),
    )
    loop = asyncio.get_running_loop()

    def warn(text: str) -> None:
        loop.call_soon_threadsafe(terminal.warn, text)

    trace = ReceiverTrace(_path(args.trace, *seat), warn) if args.trace else None
    recorder = open_recorder(str(made["recording"]) if args.output else None, warn)
    window = Window() if args.show == "window" else None
    return _Call(Session(config, drawing, terminal, window, recorder, trace), terminal, made)


def _catch_signals(sessions: Sequence[Session]) -> list[int]:
    """The first Ctrl-C or SIGTERM ends the calls in order, the second at once. The list gets the signal."""
    loop, caught = asyncio.get_running_loop(), list[int]()

    def on_signal(number: int) -> None:
        caught.append(number)
        for session in sessions:
            session.interrupt()
        loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends the loop instead.
            loop.add_signal_handler(number, on_signal, number)
    return caught


def main() -> int:
    """Parse the command line and receive its calls."""
    return asyncio.run(receive(parser().parse_args()))


def command() -> None:
    """Entry point of the `receiver` command."""
    run_command(main)


if __name__ == "__main__":
    command()
