"""The eight sharpness figures of HDTR-Net (section 4.1, table 1) of grey pictures in 0 to 255.

f(r, c) is the grey value in row r and column c, n the number of pixels, m their mean; down = f(r + 1, c) - f(r, c) and
right = f(r, c + 1) - f(r, c) are taken where both exist. The paper gives no formulas; these are the usual ones. Its
energy, below its Brenner, can only be the sum of both squares (some programs multiply them), and its entropy, low for
its variance, looks like one in nats, where here it is in bits (1 nat is 1.44 bits). No figure tells detail from noise:
read them beside PSNR and beside those of the truth.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

DEFINITIONS = {
    "brenner": "sum of (f(r + 2, c) - f(r, c))^2",
    "laplacian": "variance of the 4-neighbour Laplacian, mirrored at the border",
    "smd": "sum of |down| + |right|",
    "smd2": "sum of |down| |right|",
    "variance": "sum of (f - m)^2",
    "energy": "sum of down^2 + right^2",
    "vollath": "sum of f(r, c) f(r + 1, c), less n m^2",
    "entropy": "of the 256-bin histogram, bits",
}
NAMES = tuple(DEFINITIONS)
EVERY = 5
"""Of a clip every so many frames are enough for `sharpness_ratios`."""
RATIOS = {
    "brenner_ratio": f"Brenner's sum of the drawn frames over that of the true ones, every {EVERY}th frame of a clip",
    "energy_ratio": "the same of energy",
    "brenner_face": "Brenner's ratio inside the box round the true landmarks",
    "energy_face": "the same of energy",
}
_LEAST = 3


def grey(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB -> (H, W), BT.601 luma, rounded."""
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)


def sharpness(picture: NDArray[np.uint8]) -> dict[str, float]:
    """The figures of `DEFINITIONS` of one grey picture (H, W), at least 3 pixels a side. Raises ValueError."""
    if picture.ndim != 2 or picture.dtype != np.uint8 or min(picture.shape) < _LEAST:
        raise ValueError(f"{picture.dtype} {picture.shape} is no grey uint8 picture of 3 pixels a side or more")
    f = picture.astype(np.float64)
    down, right = f[1:, :-1] - f[:-1, :-1], f[:-1, 1:] - f[:-1, :-1]
    share = np.bincount(picture.ravel(), minlength=256) / picture.size
    share = share[share > 0]
    figures = (
        _brenner(f),
        cv2.Laplacian(picture, cv2.CV_64F).var(),
        (np.abs(down) + np.abs(right)).sum(),
        (np.abs(down) * np.abs(right)).sum(),
        np.square(f - f.mean()).sum(),
        _energy(f),
        (f[:-1] * f[1:]).sum() - f.size * f.mean() ** 2,
        (share * np.log2(1 / share)).sum(),
    )
    return {name: float(value) for name, value in zip(NAMES, figures, strict=True)}


def mean_sharpness(pictures: Iterable[NDArray[np.uint8]]) -> dict[str, float]:
    """The mean of each figure over RGB pictures (H, W, 3) uint8, at least one. Raises ValueError."""
    every = [sharpness(grey(picture)) for picture in pictures]
    if not every:
        raise ValueError("no pictures")
    return {name: float(np.mean([figures[name] for figures in every])) for name in NAMES}


def sharpness_ratios(
    true: NDArray[np.uint8], drawn: NDArray[np.uint8], points: NDArray[np.float32]
) -> dict[str, float]:
    """The figures of `RATIOS` of a clip; 1 is as sharp as the truth.

    true, drawn: (N, H, W, 3) uint8 RGB; points: (N, 110, 2) true landmarks in picture fractions, NaN where there are
    none. A ratio is left out where no frame has a face, or the truth is flat. Raises ValueError on other shapes.
    """
    if true.shape != drawn.shape or len(points) != len(true):
        raise ValueError(f"clips differ: {true.shape} and {drawn.shape} with {len(points)} sets of landmarks")
    sums = np.zeros((2, len(RATIOS)))
    for k in range(0, len(true), EVERY):
        pictures = [grey(frame).astype(np.float64) for frame in (true[k], drawn[k])]
        box = face_box(points[k], pictures[0].shape)
        for which, f in enumerate(pictures):
            parts = (f, f[box]) if box is not None else (f,)
            figures = [figure(part) for part in parts for figure in (_brenner, _energy)]
            sums[which, : len(figures)] += figures
    return {name: float(b / a) for name, a, b in zip(RATIOS, *sums, strict=True) if a > 0}


def face_box(points: NDArray[np.float32], shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns of the box round landmarks (110, 2) in fractions of a picture of `shape` (H, W), as far as it
    is inside; None without landmarks or where fewer than 3 pixels a side are left.
    """
    if np.isnan(points).any():
        return None
    size = np.array(shape[1::-1])
    left, top = np.clip(np.floor(points.min(0) * size), 0, size).astype(int)
    right, bottom = np.clip(np.ceil(points.max(0) * size), 0, size).astype(int)
    return None if min(right - left, bottom - top) < _LEAST else (slice(top, bottom), slice(left, right))


def _brenner(f: NDArray[np.float64]) -> float:
    return float(np.square(f[2:] - f[:-2]).sum())


def _energy(f: NDArray[np.float64]) -> float:
    down, right = f[1:, :-1] - f[:-1, :-1], f[:-1, 1:] - f[:-1, :-1]
    return float((down * down + right * right).sum())
