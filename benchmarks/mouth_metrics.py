"""Figures of the mouth in drawn pictures: the crop that the teeth stage works on, and what it may change of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec_models.mouth import MOUTH

from .metrics import IDENTICAL_DB, psnr, ssim
from .report import Row
from .sharpness import DEFINITIONS as SHARPNESS
from .sharpness import grey, sharpness

OPEN, PROFILE = 0.06, 0.3
"""Opening of the inner lips, in eye distances, above which a mouth is open; yaw of the head, units of `Hints`, beyond
which it is turned aside."""
_LEAST_MOTION = 0.05
"""Grey levels a tick below which the truth stands still, so that its flicker is no measure."""

DEFINITIONS = {
    **{name: f"{what}; grey mouth crop {MOUTH}x{MOUTH}, mean of the ticks" for name, what in SHARPNESS.items()},
    "NAME_gain": "ratio of the figure to that of the upsampler, means over the clip's ticks; also of some ticks alone",
    "psnr, ssim": f"of the mouth crop {MOUTH}x{MOUTH}, RGB and luma, means of the ticks",
    "psnr_mouth": "of the pixels that the stage may change: where its feather is above 0",
    "ssim_mouth": "of the rectangle around those pixels",
    "psnr_change": "less that of the upsampler, dB; psnr_mouth_change likewise",
    "flicker": "mean |difference| of consecutive pictures at one place, over that of the truth; mean of crop and RGB",
    "flicker_mouth": "the same of the pixels that the stage may change",
    "open, closed, turned": f"ticks with a true mouth opening above {OPEN} eye distances, below, and with a head yaw "
    f"beyond {PROFILE}",
}

Frames = NDArray[np.uint8]


@dataclass(frozen=True)
class Places:
    """Where the mouth is in N frames: the same for all codecs.

    corner (N, 2) int: x, y of the crop's top left pixel; share (N, 96, 96): the feather, 0 to 1; opening, yaw (N,).
    """

    corner: NDArray[np.int64]
    share: NDArray[np.float32]
    opening: NDArray[np.float64]
    yaw: NDArray[np.float64]

    def crop(self, frame: Frames, tick: int) -> Frames:
        """The mouth of `tick` cut out of a frame (256, 256, 3), not copied."""
        x, y = self.corner[tick]
        return frame[y : y + MOUTH, x : x + MOUTH]

    def crops(self, frames: Frames) -> Frames:
        """(N, 256, 256, 3) -> (N, 96, 96, 3)."""
        return np.stack([self.crop(frame, k) for k, frame in enumerate(frames)])

    def groups(self) -> dict[str, NDArray[np.bool_]]:
        """Name -> (N,): the ticks that are judged apart."""
        wide = self.opening > OPEN
        return {"open": wide, "closed": ~wide, "turned": np.abs(self.yaw) > PROFILE}


@dataclass(frozen=True)
class MouthFigures:
    """Of one codec on one clip, per tick (N,), for `row` to average.

    sharp: figures of `SHARPNESS`; psnr, psnr_mouth in dB; ssim, ssim_mouth; moved, moved_mouth (N - 1,): mean absolute
    difference of consecutive pictures, grey levels.
    """

    sharp: dict[str, NDArray[np.float64]]
    psnr: NDArray[np.float64]
    psnr_mouth: NDArray[np.float64]
    ssim: NDArray[np.float64]
    ssim_mouth: NDArray[np.float64]
    moved: NDArray[np.float64]
    moved_mouth: NDArray[np.float64]

    def row(self, upsampler: MouthFigures, truth: MouthFigures, groups: dict[str, NDArray[np.bool_]]) -> Row:
        """The figures of `DEFINITIONS`; those of a group only where the clip has ticks of it."""
        row: Row = {name: float(values.mean()) for name, values in self.sharp.items()}
        for name in SHARPNESS:
            row[f"{name}_gain"] = _ratio(self.sharp[name], upsampler.sharp[name])
        for name in ("psnr", "psnr_mouth", "ssim", "ssim_mouth"):
            row[name] = float(getattr(self, name).mean())
        if self is not truth:
            for name in ("psnr", "psnr_mouth"):
                row[f"{name}_change"] = row[name] - float(getattr(upsampler, name).mean())
        for name, group in groups.items():
            row[f"{name}_share"] = float(group.mean())
            if not group.any():
                continue
            for figure in ("brenner", "energy"):
                row[f"{name}_{figure}_gain"] = _ratio(self.sharp[figure][group], upsampler.sharp[figure][group])
            if self is not truth:
                row[f"{name}_psnr_change"] = float((self.psnr - upsampler.psnr)[group].mean())
                row[f"{name}_psnr_mouth_change"] = float((self.psnr_mouth - upsampler.psnr_mouth)[group].mean())
        if len(truth.moved) and truth.moved.mean() > _LEAST_MOTION:
            row["flicker"] = _ratio(self.moved, truth.moved)
            row["flicker_mouth"] = _ratio(self.moved_mouth, truth.moved_mouth)
        return {name: value for name, value in row.items() if np.isfinite(value)}


def measure(frames: Frames, truth: Frames, places: Places) -> MouthFigures:
    """frames, truth (N, 256, 256, 3) uint8 RGB. Pictures that are the same have 100 dB, as in `metrics`."""
    drawn, true = places.crops(frames), places.crops(truth)
    each = [sharpness(grey(crop)) for crop in drawn]
    mouths = [_around(share) for share in places.share]
    pairs = list(zip(drawn, true, strict=True))
    moved = np.array([_moved(frames, places, k) for k in range(1, len(frames))]).reshape(-1, 2)
    return MouthFigures(
        {name: np.array([figures[name] for figures in each]) for name in SHARPNESS},
        np.array([psnr(b, a) for a, b in pairs]),
        np.array([_psnr_of(a, b, share > 0) for (a, b), share in zip(pairs, places.share, strict=True)]),
        np.array([ssim(b[None], a[None]) for a, b in pairs]),
        np.array([ssim(b[box][None], a[box][None]) for (a, b), box in zip(pairs, mouths, strict=True)]),
        moved[:, 0],
        moved[:, 1],
    )


def _moved(frames: Frames, places: Places, tick: int) -> tuple[float, float]:
    now, last = (places.crop(frames[k], tick).astype(np.float32) for k in (tick, tick - 1))
    apart = np.abs(now - last).mean(2)
    mouth = places.share[tick] > 0
    return float(apart.mean()), float(apart[mouth].mean()) if mouth.any() else float("nan")


def _psnr_of(a: Frames, b: Frames, mask: NDArray[np.bool_]) -> float:
    if not mask.any():
        return IDENTICAL_DB
    mse = np.square(a[mask].astype(np.float64) - b[mask]).mean()
    return float(min(10 * np.log10(255.0**2 / mse), IDENTICAL_DB)) if mse else IDENTICAL_DB


def _around(share: NDArray[np.float32]) -> tuple[slice, slice]:
    """The rectangle around a feather, at least as large as a window of SSIM; the whole crop where there is none."""
    rows, columns = np.flatnonzero(share.any(1)), np.flatnonzero(share.any(0))
    if len(rows) < 11 or len(columns) < 11:
        return slice(None), slice(None)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _ratio(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    below = float(b.mean())
    return float(a.mean()) / below if below else float("nan")
