"""One H.264 call through two processes, and what both sides wrote down."""

from __future__ import annotations

import json
import shlex
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codec_models.errors import UserError

from ..link import Link
from ..metrics import psnr
from ..processes import Listener, Processes, free_port
from .hooks import Buffering, Rate, check_h264
from .timeline import Line, read_pictures

LINK_PORT = 5004
START_S = 60.0
"""Longer than this on top of the call's own seconds means that something hangs."""
WORST_DB = 16.0
"""Received pictures that are further from those sent are garbage: H.264 at CRF 51 has 22 dB and more."""
_END_S = 10.0


@dataclass(frozen=True, slots=True)
class H264Config:
    """source: a file, or "demo". seconds: from the first picture on."""

    source: str
    seconds: float
    rate: Rate = Rate.DEFAULT
    buffering: Buffering = Buffering.STOCK


@dataclass(slots=True)
class H264Call:
    """sent, received: the lines of `timeline`. psnr: dB of the pictures that both sides kept, in their order. report:
    pictures shown and dropped, kb/s on the wire.
    """

    sent: list[Line]
    received: list[Line]
    psnr: list[float]
    report: dict[str, Any]
    commands: list[str] = field(default_factory=list)


def run_h264(config: H264Config, link: Link | None = None, listener: Listener | None = None) -> H264Call:
    """Run the call to its end; over `link` where there is one, else on loopback. Raises UserError."""
    check_h264()
    with tempfile.TemporaryDirectory(prefix="pinhole-h264-") as folder:
        work = Path(folder)
        address = f"{link.address('receiver')}:{LINK_PORT}" if link else f"127.0.0.1:{free_port()}"
        commands = command_lines(config, address, work)
        with Processes(listener) as processes:
            for name, command in commands.items():
                processes.start(name, command, prefix=link.prefix(name) if link else ())
            processes.wait("receiver", config.seconds + START_S)
            processes.wait("sender", _END_S)
        call = H264Call(
            read_lines(work / "sender.jsonl"),
            read_lines(work / "receiver.jsonl"),
            _psnr(work / "sender.npz", work / "receiver.npz"),
            json.loads((work / "receiver.json").read_text(encoding="utf-8")),
            [shlex.join(["python", *line]).replace(folder, "TMP") for line in commands.values()],
        )
        check_pictures(call.psnr)
        return call


def command_lines(config: H264Config, address: str, work: Path) -> dict[str, list[str]]:
    """Arguments of the two interpreters."""

    def files(name: str) -> list[str]:
        return ["--trace", str(work / f"{name}.jsonl"), "--pictures", str(work / f"{name}.npz")]

    receiver = ["-m", "benchmarks.h264.receiver", "--listen", address, "--buffer", config.buffering.value]
    receiver += ["--seconds", f"{config.seconds:g}", "--report", str(work / "receiver.json"), *files("receiver")]
    sender = ["-m", "benchmarks.h264.sender", "--receiver", address, "--rate", config.rate.value]
    sender += ["--source", config.source, *files("sender")]
    return {"receiver": receiver, "sender": sender}


def check_pictures(psnrs: list[float]) -> None:
    """Raises UserError where what was received is not what was sent."""
    if not psnrs:
        raise UserError("no picture of the H.264 call can be compared with the one that was sent: run longer calls")
    if min(psnrs) < WORST_DB:
        raise UserError(f"the H.264 call shows garbage: {min(psnrs):.1f} dB to the pictures that were sent")


def read_lines(path: Path) -> list[Line]:
    """JSON lines; empty where there is no such file. A last line that was cut off is left out."""
    lines: list[Line] = []
    try:
        with path.open(encoding="utf-8") as file:
            for text in file:
                try:
                    content = json.loads(text)
                except ValueError:
                    continue
                if isinstance(content, dict):
                    lines.append(content)
    except OSError:
        return []
    return lines


def _psnr(sent: Path, received: Path) -> list[float]:
    ours, theirs = read_pictures(sent), read_pictures(received)
    return [psnr(ours[t], theirs[t]) for t in theirs if t in ours]
