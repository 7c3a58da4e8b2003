"""The receiving side of the H.264 call: a process of its own.

    python -m benchmarks.h264.receiver --listen HOST:PORT [--buffer stock|nowait] [--seconds N]
        [--trace F] [--pictures F] [--report F]

It ends N seconds after the first picture. A picture counts as shown when aiortc's track gives it; of several that wait
only the newest does. Turning it into RGB for a display is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcconfiguration import RTCBundlePolicy

from codec_models.errors import CommandParser, UserError, run_command
from signaling import aiortc_hook
from signaling.client import is_loopback
from signaling.wire import WireCounter

from .exchange import Exchange, listen, stop_on_signals
from .hooks import Buffering, ReceiverTap, check_h264, install_sockets
from .sender import address
from .timeline import Timeline, sampled, write_lines, write_pictures, write_text

FIRST_S = 20.0
"""So long the first picture may take."""
_KEPT = 500


class Receiving:
    """One call, from its first picture on."""

    def __init__(self, seconds: float) -> None:
        self.timeline = Timeline()
        self.tap = ReceiverTap(self.timeline)
        self.kept: dict[int, Any] = {}
        self.wire = WireCounter()
        self.shown = self.dropped = 0
        self.first: float | None = None
        self.rate_kbps = 0.0
        self._seconds = seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._over = asyncio.Event()
        self._wire_at_first = 0

    def track(self, track: MediaStreamTrack) -> None:
        """A track of the other side."""
        watch = self._show(track) if track.kind == "video" else self._hear(track)
        self._tasks.append(asyncio.create_task(watch))

    async def until_over(self) -> None:
        """Raises UserError where no picture comes."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), FIRST_S)
        if self.first is None:
            raise UserError(f"no picture has come within {FIRST_S:.0f} s of the H.264 call")
        await self._over.wait()

    def end(self) -> None:
        """Count what came and stop."""
        for task in self._tasks:
            task.cancel()
        if self.first is not None:
            span = time.monotonic() - self.first
            self.rate_kbps = (self.wire.received_bytes - self._wire_at_first) * 8 / 1000 / max(span, 0.001)

    async def _show(self, track: MediaStreamTrack) -> None:
        queue: Any = track._queue  # type: ignore[attr-defined]  # it has no bound and no way to look into it
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: Any = await track.recv()
                while queue.qsize():
                    frame = await track.recv()
                    self.dropped += 1
                now = time.monotonic()
                self.tap.mark(frame.pts, shown=now)
                self.shown += 1
                if self.first is None:
                    self.first, self._wire_at_first = now, self.wire.received_bytes
                    asyncio.get_running_loop().call_later(self._seconds, self._over.set)
                timestamp = self.tap.timestamp(frame.pts)
                if sampled(timestamp) and len(self.kept) < _KEPT:
                    self.kept[timestamp] = frame
        self._over.set()

    async def _hear(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                await track.recv()


async def receive(options: argparse.Namespace) -> int:
    """One call. Raises UserError."""
    check_h264()
    install_sockets()
    host, port = options.listen
    receiving = Receiving(options.seconds)
    receiving.tap.install()
    exchange = await listen(host, port)
    pc = RTCPeerConnection(RTCConfiguration([], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    pc.on("track", receiving.track)
    try:
        await pc.setRemoteDescription(await exchange.receive("offer"))
        for transceiver in pc.getTransceivers():
            if transceiver.kind == "video":
                receiving.tap.watch(transceiver.receiver, options.buffer)
        with aiortc_hook.gathering(receiving.wire, is_loopback(f"http://{host}:{port}")):
            await pc.setLocalDescription(await pc.createAnswer())
        await exchange.send(pc.localDescription)
        await _until_ended(receiving, exchange)
    finally:
        receiving.end()
        exchange.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pc.close(), 2.0)
    if options.trace is not None:
        write_lines(options.trace, receiving.timeline.lines)
    if options.pictures is not None:
        pictures = {t: frame.to_ndarray(format="rgb24") for t, frame in receiving.kept.items()}
        write_pictures(options.pictures, pictures)
    if options.report is not None:
        report = {"shown": receiving.shown, "dropped": receiving.dropped, "wire_kbps": receiving.rate_kbps}
        write_text(options.report, json.dumps(report) + "\n")
    return 0


async def _until_ended(receiving: Receiving, exchange: Exchange) -> None:
    stop = stop_on_signals()
    tasks = [asyncio.ensure_future(f) for f in (receiving.until_over(), stop.wait(), exchange.ended())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()
    if tasks[2] in done and tasks[0] not in done:
        raise UserError("the sender has left before the call was over")


def main(arguments: Sequence[str] | None = None) -> int:
    """Receive one call."""
    parser = CommandParser(description="Receive one H.264 call over aiortc.")
    parser.add_argument("--listen", required=True, type=address, metavar="HOST:PORT", help="where to listen")
    parser.add_argument("--buffer", type=Buffering, choices=list(Buffering), default=Buffering.STOCK, help="jitter")
    parser.add_argument("--seconds", type=float, default=10.0, help="from the first picture (10)")
    parser.add_argument("--trace", type=Path, help="write the times of each picture to this file")
    parser.add_argument("--pictures", type=Path, help="write some of the pictures to this .npz file")
    parser.add_argument("--report", type=Path, help="write counts as JSON")
    return asyncio.run(receive(parser.parse_args(arguments)))


if __name__ == "__main__":
    run_command(main)
