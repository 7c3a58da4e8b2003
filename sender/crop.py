"""A steady square crop of the speaker's face, framed about as in VoxCeleb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.hints import Hints
from codec_models.bitstream.timing import PICTURE, TICKS_PER_SECOND
from codec_models.landmarks import OUTLINE, POINTS, hints_of

from .facemesh import FaceDetector, face_mesh
from .source import warn

CropMode = Literal["auto", "full", "centre"]


@dataclass(frozen=True, slots=True)
class CropConfig:
    """All lengths are fractions of the crop's side unless they say otherwise.

    face: height of the face (forehead to chin) in the crop; middle: where its middle lies, from the top.
    loose: the face may wander so far from its place before the crop follows; loose_size: its size may change by this
    ratio. settled: a moving crop stops this near to its aim. follow: share of the way that it moves in a tick.
    jump: further off than this the crop moves at once. full: a square picture whose face is at least this high is
    a face crop already (full_small for one of at most 256 pixels, which cropping would only blur).
    """

    face: float = 0.53
    middle: float = 0.57
    loose: float = 0.11
    loose_size: float = 1.22
    settled: float = 0.015
    follow: float = 0.05
    jump: float = 0.6
    full: float = 0.44
    full_small: float = 0.35
    lost_ticks: int = TICKS_PER_SECOND
    least_pixels: int = 48


@dataclass(frozen=True, slots=True)
class Crop:
    """picture (256, 256, 3) uint8 RGB; points (110, 2) float32 in fractions of it, and the hints that follow from
    them, both None where no face was found in this tick; box: left, top and side in pixels of the source.
    """

    picture: NDArray[np.uint8]
    points: NDArray[np.float32] | None
    hints: Hints | None
    box: tuple[int, int, int]


class FaceTracker:
    """Finds the face in every picture and cuts it out with a crop that does not wobble.

    The crop stands still while the face stays near its place: head movements belong in the picture, and a still
    background costs no bits. Only when the face has wandered off does the crop glide after it. It stays inside the
    source. Without a face the last crop is kept; without mediapipe the centre square is sent.

    mode: auto (a square source that is a face crop already is taken whole), full (the whole picture, squeezed into
    a square from its centre) or centre (as full, without looking for hints).
    detector: None loads the face mesh, which takes a second.
    """

    def __init__(
        self,
        mode: CropMode = "auto",
        detector: FaceDetector | None = None,
        config: CropConfig = CropConfig(),
        on_warning: Callable[[str], None] = warn,
    ) -> None:
        self._mode = mode
        self._config = config
        self._warn = on_warning
        self._detect: FaceDetector | None = None
        if mode != "centre":
            self._detect = detector or face_mesh()
            if self._detect is None:
                on_warning(
                    "mediapipe is not installed: sending the centre of the picture, without hints "
                    "(pip install --no-deps mediapipe==0.10.21)"
                )
        self._size = (0, 0)
        self._whole = mode == "full"
        self._place: NDArray[np.float64] | None = None  # centre x, y and side, in pixels
        self._gliding = False
        self._missing = 0

    @property
    def tracking(self) -> bool:
        """True when faces are looked for at all."""
        return self._detect is not None

    def update(self, picture: NDArray[np.uint8]) -> Crop:
        """The crop of the next picture, (H, W, 3) uint8 RGB. Takes a few ms: not for an event loop."""
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
            raise ValueError(f"a picture is (H, W, 3) uint8, not {picture.shape} {picture.dtype}")
        if picture.shape[:2] != self._size:
            self._size = (picture.shape[0], picture.shape[1])
            self._place, self._whole = None, self._mode == "full"
        mesh = self._find(picture)
        self._notice(mesh is not None)
        if mesh is not None and not self._whole:
            self._follow(mesh)
        left, top, side = self._box()
        cut = picture[top : top + side, left : left + side]
        method = cv2.INTER_AREA if side >= PICTURE else cv2.INTER_CUBIC
        out = cut if side == PICTURE else cv2.resize(cut, (PICTURE, PICTURE), interpolation=method)
        points = hints = None
        if mesh is not None:
            points = ((mesh[list(POINTS)] - [left, top]) / side).astype(np.float32)
            if float(np.abs(points - 0.5).max()) > 1:
                points = None  # so far outside the crop that it is not the face we show
            else:
                hints = hints_of(points)
        return Crop(np.ascontiguousarray(out, np.uint8), points, hints, (left, top, side))

    def _find(self, picture: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        if self._detect is None:
            return None
        try:
            mesh = self._detect(picture)
        except (RuntimeError, ValueError):  # of the native code: one picture without a face
            return None
        return mesh if mesh is not None and np.isfinite(mesh).all() else None

    def _notice(self, found: bool) -> None:
        self._missing = 0 if found else self._missing + 1
        if self._detect is not None and self._missing == self._config.lost_ticks:
            self._warn("no face in the picture: keeping the last crop" if self._place is not None or self._whole
                       else "no face in the picture: sending its centre")  # fmt: skip

    def _follow(self, mesh: NDArray[np.float32]) -> None:
        """Move the crop if the face has left its place."""
        config = self._config
        aim = self._aim(mesh)
        if aim is None:
            return
        if self._place is None:
            self._place, self._gliding = aim, False
            return
        # centre and (log of the) side, in units of what the face may wander
        side = self._place[2]
        off = float(np.abs(aim[:2] - self._place[:2]).max()) / side
        grown = abs(float(np.log(aim[2] / side)))
        if off > config.jump:
            self._place, self._gliding = aim, False
            return
        self._gliding = self._gliding or off > config.loose or grown > np.log(config.loose_size)
        if self._gliding:
            self._place += config.follow * (aim - self._place)
            self._gliding = off > config.settled or grown > 2 * config.settled

    def _aim(self, mesh: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """Where the crop would be for this face alone, inside the source; None where the whole source is it."""
        config = self._config
        height, width = self._size
        face = mesh[list(OUTLINE)].astype(np.float64)
        low, high = face.min(0), face.max(0)
        # a turned head is narrow, a nodding one is short: the larger estimate is nearer to the head's size
        tall = max(float(high[1] - low[1]), 1.18 * float(high[0] - low[0]))
        if self._mode == "auto" and self._place is None and abs(width - height) <= 0.02 * max(width, height):
            least = config.full_small if max(width, height) <= PICTURE else config.full
            if tall >= least * height:
                self._whole = True
                return None
        side = min(max(tall / config.face, config.least_pixels), float(min(height, width)))
        x = float(low[0] + high[0]) / 2
        y = float(low[1] + high[1]) / 2 + (0.5 - config.middle) * side
        x, y = (float(np.clip(v, side / 2, n - side / 2)) for v, n in ((x, width), (y, height)))
        return np.array([x, y, side])

    def _box(self) -> tuple[int, int, int]:
        height, width = self._size
        if self._place is None or self._whole:
            side = min(height, width)
            return (width - side) // 2, (height - side) // 2, side
        x, y, side_exact = self._place
        side = min(max(round(side_exact), 1), height, width)
        left, top = round(x - side_exact / 2), round(y - side_exact / 2)
        return min(max(left, 0), width - side), min(max(top, 0), height - side), side
