"""The MediaPipe face mesh, loaded only when it is wanted, and quietly."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from .quiet import quiet_stderr

FaceDetector = Callable[[NDArray[np.uint8]], NDArray[np.float32] | None]
"""Picture (H, W, 3) uint8 RGB -> mesh points (478, 2) in pixels of that picture, or None without a face."""

_MAX_SIDE = 960
"""Larger pictures are shrunk for the mesh, which works on 192x192 inside."""


def face_mesh() -> FaceDetector | None:
    """A detector that follows one face from picture to picture, or None where mediapipe is not installed.

    Loading takes about a second.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with quiet_stderr():
        try:
            import mediapipe as mp

            mesh = mp.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)
        except (ImportError, AttributeError, OSError, RuntimeError):
            return None
        mesh.process(np.zeros((64, 64, 3), np.uint8))  # the first picture makes it print its warnings

    noisy = 50  # calls that may still print something, the last with the first face

    def detect(picture: NDArray[np.uint8]) -> NDArray[np.float32] | None:
        nonlocal noisy
        height, width = picture.shape[:2]
        shrink = _MAX_SIDE / max(height, width)
        if shrink < 1:
            size = max(1, round(width * shrink)), max(1, round(height * shrink))
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        with quiet_stderr() if noisy > 0 else contextlib.nullcontext():
            found = mesh.process(np.ascontiguousarray(picture)).multi_face_landmarks
        noisy = 0 if found else noisy - 1
        if not found:
            return None
        return np.array([(p.x * width, p.y * height) for p in found[0].landmark], np.float32)

    return detect
