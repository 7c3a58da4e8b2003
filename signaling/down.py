"""What a browser is shown of a call: the drawn video and the voice as ordinary WebRTC tracks, and the 8x8 pictures.

The video's timestamps count the ticks, so that it plays evenly; the voice is Opus of 20 ms. Both tracks are one stream,
which the browser keeps in step.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from aiortc.mediastreams import MediaStreamError, MediaStreamTrack
from numpy.typing import NDArray

from codec_models.bitstream.timing import SAMPLE_RATE, TICKS_PER_SECOND
from codec_models.voice_encoder import VoiceEncoder

VOICE_KBPS, VOICE_FRAME_MS = 24, 20
_VIDEO_CLOCK = 90_000
_PER_TICK = _VIDEO_CLOCK // TICKS_PER_SECOND
_LOW_EVERY = 2
_ASTRAY = _VIDEO_CLOCK // 4
"""Further from the wall clock than this the video's timestamps start anew."""


class _Track(MediaStreamTrack):
    """Gives out what was pushed, oldest first; with more than `limit` waiting the oldest is dropped."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self._queue: deque[Any] = deque(maxlen=limit)
        self._ready = asyncio.Event()

    def push(self, item: Any) -> None:
        if self.readyState == "live":
            self._queue.append(item)
            self._ready.set()

    async def recv(self) -> Any:
        while not self._queue:
            if self.readyState != "live":
                raise MediaStreamError
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()

    def stop(self) -> None:
        super().stop()
        self._queue.clear()
        self._ready.set()


class VideoTrack(_Track):
    kind = "video"

    def __init__(self) -> None:
        super().__init__(1)  # the newest picture is the only one worth sending


class VoiceTrack(_Track):
    kind = "audio"

    def __init__(self) -> None:
        super().__init__(25)


class Down:
    """One browser's share of a `Screen`. All methods on the event loop.

    send_low: takes a message of the data channel "ticks"; set by the connection. lows: whether 8x8 pictures go along; a
    browser that sees itself has its own, and each two cost it 100 bytes up for SCTP's acknowledgement.
    """

    def __init__(self) -> None:
        self.video = VideoTrack()
        self.voice = VoiceTrack()
        self.send_low: Callable[[bytes], None] = lambda message: None
        self.lows = True
        self.pictures = 0
        self._encoder: VoiceEncoder | None = None
        self._samples: NDArray[np.int16] = np.zeros(0, np.int16)
        self._voice_pts = 0
        self._offset, self._last_pts = 0, -1
        self._started = time.monotonic()

    def picture(self, tick: int, picture: NDArray[np.uint8], low: NDArray[np.uint8] | None) -> None:
        """Show the picture (256, 256, 3) uint8 RGB of a tick, and the newest 8x8 picture (8, 8, 3)."""
        now = round((time.monotonic() - self._started) * _VIDEO_CLOCK)
        pts = tick * _PER_TICK + self._offset
        if not self._last_pts < pts or abs(pts - now) > _ASTRAY:
            pts = max(now, self._last_pts + _PER_TICK // 4)  # a browser drops what goes back in time
            self._offset = pts - tick * _PER_TICK
        self._last_pts = pts
        planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)  # what the encoder takes
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = pts, Fraction(1, _VIDEO_CLOCK)
        self.video.push(frame)
        self.pictures += 1
        if low is not None and self.lows and self.pictures % _LOW_EVERY == 0:
            self.send_low(struct.pack(">I", tick & 0xFFFFFFFF) + low.tobytes())

    def speak(self, samples: NDArray[np.int16]) -> None:
        """The voice goes on with these samples, (n,) int16 at 48 kHz."""
        if self._encoder is None:
            self._encoder = VoiceEncoder(VOICE_KBPS, VOICE_FRAME_MS)
        size = self._encoder.frame
        self._samples = np.concatenate([self._samples, samples])[-SAMPLE_RATE:]
        while len(self._samples) >= size:
            packet = av.Packet(self._encoder.encode(np.ascontiguousarray(self._samples[:size])))
            packet.pts, packet.time_base = self._voice_pts, Fraction(1, SAMPLE_RATE)
            self._voice_pts += size
            self._samples = self._samples[size:]
            self.voice.push(packet)

    def close(self) -> None:
        """Nothing more will be shown."""
        self.send_low = lambda message: None
        self._encoder = None
        with contextlib.suppress(Exception):
            self.video.stop()
            self.voice.stop()
