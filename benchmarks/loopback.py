"""One call through three processes on this machine, and its two reports merged to one.

It goes over loopback, or over a `Link` with delay; then the signaling server is on the receiver's side.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from codec_models.errors import UserError

from .link import Link
from .processes import Listener, Processes, free_port
from .report import Row
from .smoothness import beat_or_none, recorded_motion

ROOM = "loopback"
BROWSER = "browser"
_OF_ONE_SIDE = ("role", "settings", "failure")
LINK_PORT = 8080
START_S = 60.0
"""Longer than this on top of the call's own seconds means that something hangs."""


@dataclass(frozen=True, slots=True)
class CallConfig:
    """source: a file, "demo", or "browser" where the page sends and there is no sender of ours. seconds: of the call as
    shown, None until Ctrl-C. loss: share of packets dropped.

    lookahead: 0 or 1 frames at 5 fps, None for the receiver's default. teeth: whether the receiver restores them.
    backend, precision: of its networks. beat: measure from a recording (a temporary one without `output`) whether the
    shown pictures beat at 5 Hz. compare: folder of `bpp --compare` for the page.
    """

    source: str
    seconds: float | None = 20.0
    fps: int = 25
    audio_kbps: float = 12.0
    packet_ms: int = 40
    hints: bool = True
    loss: float = 0.0
    profile: str | None = None
    show: str = "none"
    output: Path | None = None
    lookahead: int | None = None
    teeth: bool = True
    backend: str = "auto"
    precision: str | None = None
    beat: bool = False
    compare: Path | None = None
    sender_arguments: tuple[str, ...] = ()
    receiver_arguments: tuple[str, ...] = ()

    @property
    def codec(self) -> str:
        """Our codec name for the tables."""
        return f"ours-{self.fps}{'' if self.hints else '-nohints'}"


@dataclass(slots=True)
class CallResult:
    """report: both sides merged; sender and receiver: as they were written; interrupted: ended by Ctrl-C."""

    report: dict[str, Any]
    sender: dict[str, Any]
    receiver: dict[str, Any]
    interrupted: bool = False
    commands: list[str] = field(default_factory=list)


def run_call(
    config: CallConfig, listener: Listener | None = None, terminal: bool = False, link: Link | None = None
) -> CallResult:
    """Run the call to its end. Raises UserError with the failing process's own line.

    terminal: the receiver thinks that it writes to a terminal and redraws its live line at its full rate.
    link: what the call goes over, None for loopback.
    Ctrl-C (KeyboardInterrupt) ends the call early; what was measured until then is returned all the same, and
    KeyboardInterrupt is raised again only where nothing was.
    """
    with tempfile.TemporaryDirectory(prefix="pinhole-call-") as folder, contextlib.ExitStack() as stack:
        work = Path(folder)
        reports = {"sender": work / "sender.json", "receiver": work / "receiver.json"}
        port = LINK_PORT if link else free_port()
        host = link.address("receiver") if link else "127.0.0.1"
        if config.beat and config.output is None:
            config = replace(config, output=work / "call.mp4")
        commands = command_lines(config, f"http://{host}:{port}", port, reports)
        prefixes = {
            name: link.prefix("sender" if name == "sender" else "receiver") if link else [] for name in commands
        }
        environment = {"XDG_STATE_HOME": folder, "PINHOLE_SIMULATED_LOSS": f"{config.loss:g}" if config.loss else ""}
        if link:
            environment["NO_PROXY"] = host  # no proxy of this machine's leads there
        processes = stack.enter_context(Processes(listener, environment))
        interrupted = False
        try:
            processes.start("signaling", commands["signaling"], prefix=prefixes["signaling"])
            processes.wait_for_port(port, connect=link.probe("receiver") if link else None)
            processes.start("receiver", commands["receiver"], terminal, prefixes["receiver"])
            if "sender" in commands:
                processes.start("sender", commands["sender"], prefix=prefixes["sender"])
            # who sends from a browser may take a while to begin
            limited = config.seconds is not None and "sender" in commands
            processes.wait("receiver", (config.seconds or 0) + START_S if limited else None)
            if "sender" in commands:
                processes.end("sender")
        except KeyboardInterrupt:
            interrupted = True
        processes.stop()
        sides = {name: _read(path) for name, path in reports.items() if name in commands}
        if interrupted and not sides["receiver"]:
            raise KeyboardInterrupt
        for name, side in sides.items():
            if not side:
                last = " ".join(list(processes.children[name].lines)[-1:])
                raise UserError(f"{name} has left no report; its last line: {last}")
        report = merge(sides.get("sender", {}), sides["receiver"])
        if config.beat and config.output is not None and config.output.is_file():
            report["beat_5hz"] = {"shown": beat_or_none(recorded_motion(config.output))}
        shown = [shlex.join(["python", *line]).replace(folder, "TMP") for line in commands.values()]
        return CallResult(report, sides.get("sender", {}), sides["receiver"], interrupted, shown)


def command_lines(config: CallConfig, url: str, port: int, reports: Mapping[str, Path]) -> dict[str, list[str]]:
    """Arguments of the three interpreters, or of two where a browser sends."""
    place = ["--signaling", url, "--room", ROOM]
    receiver = ["-m", "receiver.main", *place, "--show", config.show, "--report", str(reports["receiver"])]
    if config.output is not None:
        receiver += ["--output", str(config.output)]
    if config.lookahead is not None:
        receiver += ["--lookahead", str(config.lookahead)]
    if not config.teeth:
        receiver.append("--no-teeth")
    if config.backend != "auto":
        receiver += ["--backend", config.backend]
    if config.precision is not None:
        receiver += ["--precision", config.precision]
    if config.seconds is not None:
        receiver += ["--seconds", f"{config.seconds:g}"]
    sender = ["-m", "sender.main", *place, "--source", config.source, "--report", str(reports["sender"])]
    sender += ["--fps", str(config.fps), "--audio-kbps", f"{config.audio_kbps:g}"]
    sender += ["--packet-ms", str(config.packet_ms)]
    if config.source != "demo" and not config.source.startswith("camera"):
        sender.append("--loop")
    if not config.hints:
        sender.append("--no-hints")
    if config.profile is not None:
        sender += ["--profile", config.profile]
    signaling = ["-m", "signaling.main", "--host", urlsplit(url).hostname or url, "--port", str(port)]
    if config.compare is not None:
        signaling += ["--compare", str(config.compare)]
    commands = {"signaling": signaling, "receiver": [*receiver, *config.receiver_arguments]}
    if config.source != BROWSER:
        commands["sender"] = [*sender, *config.sender_arguments]
    return commands


def merge(sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> dict[str, Any]:
    """One report of both. Where both know a figure the receiver's counts, for it saw what really arrived.

    wire_kbps is the receiver's: "received" is the direction of the media, "sent" what it needs the other way. What
    concerns one side alone (its settings, its own failure) stays in that side's report.
    """
    merged = {**sender, **{key: value for key, value in receiver.items() if value is not None}}
    return {key: value for key, value in merged.items() if key not in _OF_ONE_SIDE}


def row_of(report: Mapping[str, Any], codec: str, clip: str) -> Row:
    """A flat row: nested figures become `latency_ms_p95`, `wire_kbps_received` and so on.

    The face's rate stands there under the call's name and under the name that all benchmarks share.
    """
    row: Row = {"codec": codec, "clip": clip}
    names = {"face_kbps": "kbps", "face_bpp": "bpp"}
    for key, value in report.items():
        if isinstance(value, Mapping):
            row.update({f"{key}_{name}": v for name, v in value.items()})
        elif not isinstance(value, list):
            row[key] = row[names.get(key, key)] = value
    return row


FIGURES = {
    "seconds": "s",
    "ticks_sent": "ticks sent by the sender",
    "ticks_received": "ticks received",
    "ticks_lost": "ticks lost",
    "ticks_concealed": "ticks concealed",
    "frames_shown": "pictures shown",
    "fps_shown": "pictures a second",
    "face_bits_per_frame": "bits a face frame, with its hints",
    "face_kbps": "kb/s face and hints",
    "face_bpp": "bits a pixel",
    "hint_kbps": "kb/s of that hints",
    "identity_bytes": "bytes of stills",
    "audio_kbps": "kb/s Opus",
    "wire_kbps": "kb/s on the wire, as the receiver counts",
    "wire_parts_kbps": "kb/s of what it received: RTP, data channels, RTCP, ICE",
    "latency_ms": "ms from capture to display",
    "av_offset_ms": "ms between picture and voice",
    "stalls_over_120ms": "gaps over 120 ms",
    "beat_5hz": "dB, rhythm of 5 Hz in the motion (benchmarks/smoothness.py)",
    "lookahead": "received frames that a picture waits for at 5 fps",
    "lookahead_ms": "ms that it waited for them",
    "teeth": "whether they are restored",
    "backend": "reconstruction",
    "device": "",
}
"""The report's fields and what they mean, in the order of the printed table."""


def printed(report: Mapping[str, Any]) -> list[Row]:
    """Rows `figure, value, meaning` for `report.table`."""
    rows: list[Row] = []
    for key, meaning in FIGURES.items():
        value = report.get(key)
        if isinstance(value, Mapping):
            text = ", ".join(f"{name} {_short(v)}" for name, v in value.items())
        else:
            text = _short(value)
        rows.append({"figure": key, "value": text, "meaning": meaning})
    return rows


def _short(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
