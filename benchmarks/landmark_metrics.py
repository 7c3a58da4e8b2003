"""Does the face do the same: landmarks of the drawn pictures against those of the true ones.

Both are found by the same face mesh, from picture to picture. Distances are in units of the true distance of the outer
eye corners, means over landmarks and frames. Where no face is found in a true picture the frame does not count; where
none is found in the drawn one, it counts against `face_found` and takes no part in the other figures.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from codec_models.landmarks import EYES, LIPS, POINTS, eye_distance, hints_of
from sender.facemesh import FaceDetector, face_mesh

from .report import Row

DEFINITIONS = {
    "lmd": "mean distance of 110 landmarks (MediaPipe face mesh) over the true distance of the outer eye corners",
    "lmd_lips": "the same of the 40 landmarks of the lips",
    "lmd_eyes": "the same of the 12 landmarks of the lids",
    "face_found": "share of the frames with a face in which one is found in the drawn picture as well",
    "mouth_corr": "Pearson correlation over time of the lips' opening in drawn and true pictures, per clip",
    "eye_corr": "the same of the lids' opening, mean of both eyes",
}
_LIPS = [POINTS.index(m) for m in LIPS]
_EYES = [POINTS.index(m) for m in EYES]
LEAST_FRAMES = 12
"""With fewer frames that have a face in both there is no correlation."""
LEAST_MOUTH, LEAST_EYE = 0.015, 0.01
"""Standard deviation of the true opening, in eye distances, below which it is the landmarks' noise."""

Track = NDArray[np.float32]
"""(N, 110, 2) in pixels; NaN where no face was found."""


def available() -> bool:
    """Whether mediapipe is installed."""
    return importlib.util.find_spec("mediapipe") is not None


def track(
    frames: NDArray[np.uint8], detector: FaceDetector | None = None, each: Callable[[], None] = lambda: None
) -> Track | None:
    """Landmarks of (N, H, W, 3) uint8 RGB frames; None where mediapipe is not installed. each: called once a frame."""
    detect = detector if detector is not None else face_mesh()
    if detect is None:
        return None
    points = np.full((len(frames), len(POINTS), 2), np.nan, np.float32)
    for k, frame in enumerate(frames):
        if (mesh := detect(frame)) is not None:
            points[k] = mesh[list(POINTS)]
        each()
    return points


def compare(truth: Track, drawn: Track) -> Row:
    """The figures of `DEFINITIONS`, and `skipped`: figure -> why it is missing."""
    there = ~np.isnan(truth).any((1, 2))
    both = there & ~np.isnan(drawn).any((1, 2))
    if not there.any():
        return {"skipped": dict.fromkeys(DEFINITIONS, "there is no face in it")}
    row: Row = {"face_found": float(both.sum() / there.sum())}
    if not both.any():
        return row | {"skipped": {k: "no face is found in what is drawn" for k in DEFINITIONS if k != "face_found"}}
    a, b = truth[both], drawn[both]
    away = np.linalg.norm(a - b, axis=-1) / np.maximum(eye_distance(a), 1e-3)[:, None]
    row |= {
        "lmd": float(away.mean()),
        "lmd_lips": float(away[:, _LIPS].mean()),
        "lmd_eyes": float(away[:, _EYES].mean()),
    }
    skipped: dict[str, str] = {}
    openings = (
        ("mouth_corr", mouth_opening, LEAST_MOUTH, "mouth hardly moves"),
        ("eye_corr", eye_opening, LEAST_EYE, "eyes hardly move"),
    )
    for name, opening, least, what in openings:
        true, made = opening(a), opening(b)
        if len(true) < LEAST_FRAMES:
            skipped[name] = f"fewer than {LEAST_FRAMES} frames have a face in both"
        elif true.std() < least:
            skipped[name] = f"its {what}"
        else:
            row[name] = correlation(true, made)
    return row | {"skipped": skipped} if skipped else row


def mouth_opening(points: Track) -> NDArray[np.float64]:
    """(N,): of the inner lips, in eye distances."""
    return np.array([hints_of(p).mouth_open for p in points])


def eye_opening(points: Track) -> NDArray[np.float64]:
    """(N,): of the lids, mean of both eyes, in eye distances."""
    hints = [hints_of(p) for p in points]
    return np.array([(h.eye_left + h.eye_right) / 2 for h in hints])


def correlation(true: NDArray[np.float64], made: NDArray[np.float64], least: float = 0.003) -> float:
    """Pearson's; 0 where `made` has a standard deviation under `least`: the mesh's jitter on a still."""
    a, b = true - true.mean(), made - made.mean()
    if made.std() < least or not a.any():
        return 0.0
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))
