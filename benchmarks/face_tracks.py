"""Landmarks of many clips by one face mesh: MediaPipe keeps 30 MB of every mesh that was ever made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sender.facemesh import FaceDetector, face_mesh

from . import landmark_metrics
from .landmark_metrics import Track

_BLANK = np.zeros((256, 256, 3), np.uint8)


@dataclass
class FaceTracks:
    """`landmark_metrics.track` for one clip after another, each as by a new mesh."""

    _mesh: FaceDetector | None = field(default=None, init=False)

    def __call__(self, frames: NDArray[np.uint8], each: Callable[[], None] = lambda: None) -> Track | None:
        """(N, H, W, 3) uint8 RGB -> (N, 110, 2); None where mediapipe is not installed. each: called once a frame."""
        if self._mesh is None:
            self._mesh = face_mesh()
        if self._mesh is None:
            return None
        self._mesh(_BLANK)  # it looks for a face near the last one until it sees none
        return landmark_metrics.track(frames, self._mesh, each)
