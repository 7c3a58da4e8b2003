"""When to send an identity still. Pure: takes the time as an argument, draws nothing, encodes nothing.

How far a picture has drifted from a still is the larger of three measures, each 1 at its limit:

- pose: the rigid landmarks (outline, brows, nose; not lips and lids) after the best similarity transform
  (Umeyama 1991), root mean square distance in units of the still's eye distance, over `pose`. Turning and nodding
  the head cannot be undone by a shift, a turn and a scale; those three can, so they count less:
- place: shift of the landmarks' mean in fractions of the picture over `shift`, or the ratio of sizes over `scale`;
- light: root mean square difference of the 8x8 pictures, their means removed, in grey levels over `light`. Of all
  measures it tells best how much worse a picture is drawn, and the receiver chooses among its stills by the same; so it
  has the tightest limit, and the others are for what 8x8 pixels do not show. Without landmarks on either side it is the
  only one.

A still that was sent without a face has drifted as soon as there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.hints import Hints
from codec_models.landmarks import BROWS, LIPS, NOSE, OUTLINE, POINTS, eye_distance

SLOTS = 8
"""Stills that a receiver keeps."""
_RIGID = [POINTS.index(m) for m in (*OUTLINE, *BROWS, *NOSE)]
assert not set(LIPS) & {POINTS[k] for k in _RIGID}


@dataclass(frozen=True, slots=True)
class StillConfig:
    """first_wait: seconds after which the first still goes out however bad it is. gap: least seconds between two
    stills that nobody asked for, per_minute: most of them in any minute; request_gap: least seconds before one that was
    asked for, of which twice as many may go. hold: seconds that a drift must last.
    pose, shift, scale, light: limits of the drift. eyes: least opening of the eyes and mouth: widest opening of the
    lips in a good still, in eye distances; sharp: least share of the sharpest picture seen so far.

    The limits are what `python -m benchmarks.stills` says, on eight scenes of half a minute at 25 fps with stills of
    3500 bytes: the first still alone gives 22.35 dB (SSIM 0.714), a gap of 30 s no more, these 22.84 (0.731) for 1.6
    stills more, 0.36 dB for each kb/s of them, where the next kb/s of the face layer gives 0.18. From a gap of 10 s to
    one of 5 s it is 0.13 dB for each. With light 26 it is 0.3 dB less; a tighter pose, shift or scale sends more for
    nothing. On footage of a minute in which nothing comes twice they send two or three stills.
    """

    first_wait: float = 0.6
    gap: float = 10.0
    per_minute: int = 3
    request_gap: float = 1.0
    hold: float = 0.4
    pose: float = 0.15
    shift: float = 0.25
    scale: float = 1.5
    light: float = 14.0
    eyes: float = 0.045
    mouth: float = 0.16
    sharp: float = 0.6


@dataclass(frozen=True, slots=True)
class View:
    """What the policy sees of a tick: small (8, 8, 3) uint8, sharpness in any unit, points (110, 2) and hints, which
    are None without a face.
    """

    small: NDArray[np.uint8]
    sharpness: float
    points: NDArray[np.float32] | None
    hints: Hints | None


def sharpness_of(picture: NDArray[np.uint8]) -> float:
    """Mean square of the Laplacian of the picture's (H, W, 3) green channel."""
    import cv2

    return float(np.square(cv2.Laplacian(picture[..., 1], cv2.CV_16S), dtype=np.float32).mean())


@dataclass(slots=True)
class _Sent:
    view: View
    fitted: float  # when it last fitted best


class StillPolicy:
    """Asked once a tick; answers with the slot of the still to send now, or None."""

    def __init__(self, config: StillConfig = StillConfig()) -> None:
        self.config = config
        self._sent: dict[int, _Sent] = {}
        self._times: list[float] = []
        self._start: float | None = None
        self._sharpest = 0.0
        self._poor = False  # the first still was sent for lack of time
        self._drifting_since: float | None = None
        self._wanted = False

    def request(self) -> None:
        """The receiver has no still that it can use."""
        self._wanted = True

    @property
    def best(self) -> int | None:
        """Slot of the still that fitted most recently, None before the first."""
        return max(self._sent, key=lambda s: self._sent[s].fitted, default=None)

    def decide(self, now: float, view: View) -> int | None:
        """now: seconds on any steady clock, not falling. -> number of the still to make of this picture, 0..7."""
        config = self.config
        self._start = now if self._start is None else self._start
        self._sharpest = max(0.998 * self._sharpest, view.sharpness)
        good = self._good(view)
        if not self._sent:
            if good or now - self._start >= config.first_wait:
                self._poor = not good
                return self._send(now, view)
            return None
        drifts = {slot: drift(sent.view, view, config) for slot, sent in self._sent.items()}
        nearest = min(drifts, key=lambda s: drifts[s])
        if drifts[nearest] <= 1 and not (self._poor and good):
            self._sent[nearest].fitted = now
            self._drifting_since = None
        elif self._drifting_since is None:
            self._drifting_since = now
        recent = [t for t in self._times if now - t < 60]
        if self._wanted:
            # what was sent may not have arrived, so the same picture may go again
            soon = now - self._times[-1] < config.request_gap or len(recent) >= 2 * config.per_minute
            return None if soon else self._send(now, view, nearest if drifts[nearest] <= 1 else None)
        if self._drifting_since is None or not good:
            return None
        held = now - self._drifting_since >= config.hold
        waited = now - self._times[-1] >= (config.first_wait if self._poor else config.gap)
        if held and waited and len(recent) < config.per_minute:
            return self._send(now, view, self.best if self._poor else None)
        return None

    def _good(self, view: View) -> bool:
        config = self.config
        if view.points is None or view.hints is None or view.sharpness < config.sharp * self._sharpest:
            return False
        eyes = min(view.hints.eye_left, view.hints.eye_right)
        inside = float(np.abs(view.points - 0.5).max()) <= 0.55
        return eyes >= config.eyes and view.hints.mouth_open <= config.mouth and inside

    def _send(self, now: float, view: View, slot: int | None = None) -> int:
        if slot is None:
            free = (s for s in range(SLOTS) if s not in self._sent)
            slot = next(free, min(self._sent, key=lambda s: self._sent[s].fitted, default=0))
        if self._sent:
            self._poor = False
        self._sent[slot] = _Sent(view, now)
        self._times = [*(t for t in self._times if now - t < 60), now]
        self._drifting_since = None
        self._wanted = False
        return slot


def drift(still: View, view: View, config: StillConfig = StillConfig()) -> float:
    """How far a view has drifted from a still: see the module's text. 0 alike, above 1 too far."""
    a, b = still.small.astype(np.float64), view.small.astype(np.float64)
    light = float(np.sqrt(np.square((a - a.mean((0, 1))) - (b - b.mean((0, 1)))).mean())) / config.light
    if view.points is None:
        return light
    if still.points is None:
        return 2.0
    unit = max(float(eye_distance(still.points)), 1e-3)
    p, q = still.points[_RIGID].astype(np.float64), view.points[_RIGID].astype(np.float64)
    shift = float(np.linalg.norm(p.mean(0) - q.mean(0))) / config.shift
    p, q = p - p.mean(0), q - q.mean(0)
    # least-squares similarity q -> p as one complex factor
    zp, zq = p[:, 0] + 1j * p[:, 1], q[:, 0] + 1j * q[:, 1]
    power = max(float(np.vdot(zq, zq).real), 1e-12)
    factor = np.vdot(zq, zp) / power
    left = float(np.sqrt(np.mean(np.abs(zp - factor * zq) ** 2))) / unit / config.pose
    size = float(np.sqrt(max(np.vdot(zp, zp).real, 1e-12) / power))
    scale = abs(float(np.log(size))) / float(np.log(config.scale))
    return max(light, left, shift, scale)
