"""The face layer (draft; same interface as the final coder)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .errors import BitstreamError
from .hints import Hints

Profile = Literal["full", "lean"]


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """profile: full (8x8 chroma) or lean (4x4 chroma); quality: quantiser index; fps: 25 or 5."""

    profile: Profile = "full"
    quality: int = 4
    fps: Literal[25, 5] = 25
    hints: bool = True


@dataclass(frozen=True, slots=True)
class FaceTick:
    """One decoded tick: picture (8, 8, 3) uint8 RGB or None where the tick has no picture, hints or None.

    clean: False while the picture still shows traces of a lost tick.
    """

    picture: NDArray[np.uint8] | None
    hints: Hints | None
    clean: bool = True


class FaceEncoder:
    def __init__(self, config: FaceConfig = FaceConfig()) -> None:
        self.config = config

    def encode(self, picture: NDArray[np.uint8] | None, hints: Hints | None = None) -> bytes:
        """picture (8, 8, 3) uint8 RGB or None (no face frame in this tick) -> the bytes of the tick, may be b""."""
        body = b"" if picture is None else picture.tobytes()
        tail = b"" if hints is None else np.array(dataclasses.astuple(hints), "<f2").tobytes()
        return body + tail

    def refresh(self) -> None:
        """Make the next frame independent of those before it; the receiver asked for it."""


class FaceDecoder:
    """Decodes the ticks of one stream in order."""

    def decode(self, data: bytes) -> FaceTick:
        """Bytes of the next tick -> picture and hints. Raises BitstreamError; the state is then as after `lost`."""
        if len(data) not in (0, 12, 192, 204):
            raise BitstreamError("face bytes of the wrong length")
        picture = np.frombuffer(data[:192], np.uint8).reshape(8, 8, 3) if len(data) >= 192 else None
        hints = Hints(*np.frombuffer(data[-12:], "<f2").astype(float).tolist()) if len(data) in (12, 204) else None
        return FaceTick(picture, hints)

    def lost(self) -> FaceTick:
        """The next tick never came: conceal it."""
        return FaceTick(None, None, False)

    @property
    def needs_refresh(self) -> bool:
        """True while a frame is missing that later ones lean on: ask the sender for a refresh."""
        return False


def area_8x8(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Area average of a picture (256, 256, 3) uint8 to (8, 8, 3) uint8, rounded to nearest."""
    h, w, c = picture.shape
    if h % 8 or w % 8:
        raise ValueError(f"the sides must be multiples of 8, not {h}x{w}")
    mean = picture.reshape(8, h // 8, 8, w // 8, c).mean((1, 3), dtype=np.float64)
    return np.asarray(np.floor(mean + 0.5), np.uint8)
