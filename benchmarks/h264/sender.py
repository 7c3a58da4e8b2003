"""The sending side of the H.264 call: a process of its own.

    python -m benchmarks.h264.sender --source FILE|demo --receiver HOST:PORT [--rate default|lowest]
        [--trace F] [--pictures F]

Pictures and voice come from the sender's own sources and are paced as there: each picture is cropped from its capture
time on, reading and decoding the file runs ahead. The tracks are aiortc's: H.264 by `setCodecPreferences`, and Opus
in 20 ms frames.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fractions
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from aiortc.rtcconfiguration import RTCBundlePolicy
from numpy.typing import NDArray

from codec_models.bitstream.timing import SAMPLE_RATE, TICK_MS
from codec_models.errors import CommandParser, UserError, run_command
from sender.crop import FaceTracker
from sender.main import open_source
from sender.source import SourceTick
from signaling import aiortc_hook
from signaling.client import is_loopback
from signaling.wire import WireCounter

from .exchange import Exchange, connect, stop_on_signals
from .hooks import MIME_TYPE, Rate, SenderTap, check_h264, install_sockets, prefer
from .timeline import CLOCK_RATE, STEP, Timeline, rtp_timestamp, sampled, write_lines, write_pictures

_TICK = TICK_MS / 1000
_VOICE = SAMPLE_RATE // 50
"""Samples of an Opus frame of 20 ms, which aiortc's encoder takes."""
_QUEUED = 4
"""Pictures that wait for the encoder; with more the oldest is dropped."""
_LATE_TICKS = 5
"""So many ticks behind the wall clock some are skipped."""
_KEPT = 500
"""Pictures for the comparison."""


class Queue(MediaStreamTrack):
    """A track of ready frames, stamped by whoever puts them in. `put` never blocks."""

    def __init__(self, kind: str, length: int) -> None:
        super().__init__()
        self.kind = kind
        self._frames: deque[Any] = deque(maxlen=length)
        self._ready = asyncio.Event()

    def put(self, frame: Any) -> None:
        self._frames.append(frame)
        self._ready.set()

    async def recv(self) -> Any:
        while not self._frames:
            if self.readyState != "live":
                raise MediaStreamError
            self._ready.clear()
            await self._ready.wait()
        return self._frames.popleft()

    def stop(self) -> None:
        super().stop()
        self._ready.set()


@dataclass(frozen=True, slots=True)
class Cropped:
    """picture: (256, 256, 3) uint8 RGB; began, ended: when it was cropped, in `time.monotonic` seconds."""

    picture: NDArray[np.uint8]
    began: float
    ended: float


class Source:
    """Ticks of a file or the built-in source, cropped; both steps block and belong on a thread."""

    def __init__(self, name: str) -> None:
        self._ticks: Iterator[SourceTick] = iter(open_source(name, True, None))
        self._tracker = FaceTracker()

    def read(self) -> SourceTick:
        """The next tick. Raises UserError where the source does, and at its end."""
        tick = next(self._ticks, None)
        if tick is None:
            raise UserError("the source has ended before the call: choose a longer one")
        return tick

    def crop(self, picture: NDArray[np.uint8], captured: float = 0.0) -> Cropped:
        """The face of any picture, from the time `captured` on."""
        time.sleep(max(0.0, captured - time.monotonic()))  # more exact than the event loop's, as in our own sender
        began = time.monotonic()
        return Cropped(self._tracker.update(picture).picture, began, time.monotonic())


class Sending:
    """One call from the first picture to the last."""

    def __init__(self, source: Source) -> None:
        self.pictures, self.voice = Queue("video", _QUEUED), Queue("audio", 2 * _QUEUED)
        self.timeline = Timeline()
        self.tap = SenderTap(self.timeline)
        self._kept: deque[tuple[int, NDArray[np.uint8]]] = deque(maxlen=_KEPT)
        self._source = source
        self._worker = ThreadPoolExecutor(1, "sender")

    async def run(self) -> None:
        """Pace the source until cancelled."""
        loop = asyncio.get_running_loop()
        tick = await loop.run_in_executor(self._worker, self._source.read)
        if tick.picture is not None:  # the first face takes longer: it is looked for in the whole picture
            await loop.run_in_executor(self._worker, self._source.crop, tick.picture)
        start, index = time.monotonic(), 0
        spoken: tuple[int, NDArray[np.int16]] | None = None
        while True:
            captured = start + index * _TICK
            if tick.picture is not None:
                cropped = await loop.run_in_executor(self._worker, self._source.crop, tick.picture, captured)
                self._put(index, cropped, captured)
                # reading ahead must not hold the encoder up
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.tap.gone.wait(), _TICK / 2)
            else:
                await asyncio.sleep(captured - time.monotonic())
            if spoken is not None:  # the voice of a tick is complete only at its end
                self._speak(*spoken)
            spoken = index, tick.voice
            tick = await loop.run_in_executor(self._worker, self._source.read)
            index += 1
            late = int((time.monotonic() - start) / _TICK) - index
            if late >= _LATE_TICKS:  # as in our own sender
                for _ in range(late):
                    tick = await loop.run_in_executor(self._worker, self._source.read)
                index += late

    def close(self) -> None:
        self._worker.shutdown(wait=False, cancel_futures=True)

    def pictures_kept(self) -> dict[int, NDArray[np.uint8]]:
        """RTP timestamp -> the pictures that both sides keep."""
        origin = self.tap.origin
        if origin is None:
            return {}
        found = ((rtp_timestamp(origin, tick), picture) for tick, picture in self._kept)
        return {t: picture for t, picture in found if sampled(t)}

    def _put(self, index: int, cropped: Cropped, captured: float) -> None:
        self.tap.source(index, captured=captured, began=cropped.began, cropped=cropped.ended)
        origin = self.tap.origin
        if origin is None or sampled(rtp_timestamp(origin, index)):
            self._kept.append((index, cropped.picture))
        frame = av.VideoFrame.from_ndarray(cropped.picture, format="rgb24")
        frame.pts, frame.time_base = index * STEP, fractions.Fraction(1, CLOCK_RATE)
        self.pictures.put(frame)

    def _speak(self, index: int, voice: NDArray[np.int16]) -> None:
        for part in range(0, voice.size, _VOICE):
            frame = av.AudioFrame.from_ndarray(voice[None, part : part + _VOICE], format="s16", layout="mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts, frame.time_base = index * voice.size + part, fractions.Fraction(1, SAMPLE_RATE)
            self.voice.put(frame)


async def send(options: argparse.Namespace) -> int:
    """One call. Raises UserError."""
    check_h264()
    install_sockets()
    source = await asyncio.to_thread(Source, options.source)
    host, port = options.receiver
    sending = Sending(source)
    sending.tap.install(options.rate)
    wire = WireCounter()
    stop = stop_on_signals()
    exchange = await connect(host, port)
    pc = RTCPeerConnection(RTCConfiguration([], bundlePolicy=RTCBundlePolicy.MAX_BUNDLE))
    try:
        video = pc.addTransceiver(sending.pictures, direction="sendonly")
        prefer(video, MIME_TYPE, "video/rtx")
        voice = pc.addTransceiver(sending.voice, direction="sendonly")
        prefer(voice, "audio/opus")
        sending.tap.watch(video.sender)
        with aiortc_hook.gathering(wire, is_loopback(f"http://{host}:{port}")):
            await pc.setLocalDescription(await pc.createOffer())
        await exchange.send(pc.localDescription)
        await pc.setRemoteDescription(await exchange.receive("answer"))
        await _until_connected(pc, stop, exchange)
        print("sender: connected", flush=True)
        await _until_ended(sending, stop, exchange)
    finally:
        sending.close()
        exchange.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(pc.close(), 2.0)
    if options.trace is not None:
        write_lines(options.trace, sending.timeline.lines)
    if options.pictures is not None:
        write_pictures(options.pictures, sending.pictures_kept())
    return 0


async def _until_connected(pc: RTCPeerConnection, stop: asyncio.Event, exchange: Exchange) -> None:
    end = time.monotonic() + 20
    while pc.connectionState != "connected" and not stop.is_set():
        if pc.connectionState in ("failed", "closed") or time.monotonic() > end:
            raise UserError("the H.264 call has not connected: run it again")
        await asyncio.sleep(0.01)


async def _until_ended(sending: Sending, stop: asyncio.Event, exchange: Exchange) -> None:
    """Send until the receiver leaves, or a signal comes. Raises UserError where the source does."""
    tasks = [asyncio.ensure_future(f) for f in (sending.run(), stop.wait(), exchange.ended())]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for task in done:
        task.result()


def address(text: str) -> tuple[str, int]:
    """HOST:PORT"""
    host, _, port = text.rpartition(":")
    if not host or not 0 < int(port) < 65536:
        raise ValueError
    return host, int(port)


def main(arguments: Sequence[str] | None = None) -> int:
    """Send one call."""
    parser = CommandParser(description="Send one H.264 call over aiortc.")
    parser.add_argument("--source", required=True, metavar="FILE|demo", help="what to send; a file is repeated")
    parser.add_argument("--receiver", required=True, type=address, metavar="HOST:PORT", help="where it listens")
    parser.add_argument("--rate", type=Rate, choices=list(Rate), default=Rate.DEFAULT, help="of the pictures")
    parser.add_argument("--trace", type=Path, help="write the times of each picture to this file")
    parser.add_argument("--pictures", type=Path, help="write some of the pictures to this .npz file")
    return asyncio.run(send(parser.parse_args(arguments)))


if __name__ == "__main__":
    run_command(main)
