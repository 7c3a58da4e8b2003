"""From a source's tick to the bytes of a tick: crop, 8x8, face layer, voice. Blocking; it runs on a worker thread.

In two steps, since a file can be read ahead of its time but its pictures must not be looked at before: `pull` gets the
next tick and encodes its voice, `encode` does the picture.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.face import FaceConfig, FaceEncoder, area_8x8
from codec_models.bitstream.packet import MAX_FACE_BYTES
from codec_models.bitstream.still import IdentityStill
from codec_models.bitstream.timing import TICKS_PER_SECOND
from codec_models.voice_encoder import VoiceEncoder

from .crop import FaceTracker
from .source import Source, SourceTick
from .still_policy import View, sharpness_of


@dataclass(frozen=True, slots=True)
class EncodedTick:
    """index: of the source's tick; face and opus: bytes; pictured: whether face holds an 8x8 frame.

    view and still: what the still policy looks at and what it would send, None in ticks without a picture.
    began, cropped, encoded: when work on the picture began, when the face was cut out (None where it was not) and when
    the bytes were there, in `time.monotonic` seconds.
    """

    index: int
    face: bytes
    opus: bytes
    pictured: bool
    view: View | None
    still: IdentityStill | None
    hint_bits: float
    began: float
    cropped: float | None
    encoded: float


@dataclass(frozen=True, slots=True)
class PulledTick:
    """A tick of the source, its voice encoded."""

    source: SourceTick
    opus: bytes

    @property
    def index(self) -> int:
        """Of the source's tick."""
        return self.source.index


class Pipeline:
    """Pulls ticks from the source and encodes them, one after the other."""

    def __init__(self, source: Source, tracker: FaceTracker, face: FaceConfig, voice_kbps: float) -> None:
        self._source = source
        self._ticks: Iterator[SourceTick] | None = None
        self._tracker = tracker
        self._config = face
        self._face = FaceEncoder(face)
        self._voice = VoiceEncoder(voice_kbps)
        self._picture_every = TICKS_PER_SECOND // face.fps
        self._expected = 0
        self._refresh = False

    def refresh(self) -> None:
        """Make the next face frame independent of those before it; may be called from another thread."""
        self._refresh = True

    def pull(self) -> PulledTick | None:
        """The next tick, or None at the source's end. Raises UserError where the source does."""
        tick = self._pull()
        return None if tick is None else PulledTick(tick, self._voice.encode(tick.voice))

    def warm_up(self, pulled: PulledTick) -> None:
        """Do the work of the first tick once for nothing: first uses are slow."""
        picture = pulled.source.picture
        if picture is not None:
            crop = self._tracker.update(picture)
            FaceEncoder(self._config).encode(area_8x8(crop.picture), crop.hints if self._config.hints else None)

    def encode(self, pulled: PulledTick) -> EncodedTick:
        """The picture of the tick that was pulled last."""
        began = time.monotonic()
        tick = pulled.source
        if self._refresh:
            self._refresh = False
            self._face.refresh()
        due = tick.index % self._picture_every == 0
        small: NDArray[np.uint8] | None = None
        crop = hints = cropped = view = still = None
        if tick.picture is not None and (due or (self._config.hints and self._tracker.tracking)):
            crop = self._tracker.update(tick.picture)
            hints = crop.hints if self._config.hints else None
            cropped = time.monotonic()
        if crop is not None and due:
            small = area_8x8(crop.picture)
            view = View(small, sharpness_of(crop.picture), crop.points, crop.hints)
            still = IdentityStill(crop.picture, crop.points)
        face = self._face.encode(small, hints)
        if len(face) > MAX_FACE_BYTES:  # the coder bounds its frames below this; a packet could not hold it
            face = b""
            self._refresh = True
        pictured = small is not None and face != b""
        bits, encoded = self._face.hint_bits, time.monotonic()
        return EncodedTick(tick.index, face, pulled.opus, pictured, view, still, bits, began, cropped, encoded)

    def skip(self, ticks: int) -> bool:
        """Drop so many ticks of the source unseen; False when it ends before."""
        return all(self._pull(dropped=True) is not None for _ in range(ticks))

    def _pull(self, dropped: bool = False) -> SourceTick | None:
        if self._ticks is None:
            self._ticks = iter(self._source)
        tick = next(self._ticks, None)
        if tick is None:
            return None
        missed = tick.index - self._expected + dropped
        if missed > 0:
            # what nobody will send must not be leaned on
            self._refresh = True
        self._expected = tick.index + 1
        return tick

    def close(self) -> None:
        """Let go of the source's devices."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
