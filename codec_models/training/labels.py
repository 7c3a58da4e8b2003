"""Landmarks of face clips: read from an archive, or made once with MediaPipe and cached; and their log-mels.

The archive is an .npz with, per clip, `ID.pts` (frames, 110, 2) int16: landmarks in 1/4096 of the picture's side,
differenced along time; `points` (110,) says which of the face mesh they are. A cache folder holds one archive per clip,
`ID.npz`, with `pts`. Log-mels are quick to make and always made anew, as the call makes them (`mel.CALL`).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from .. import mel
from ..errors import UserError
from ..landmarks import POINTS

UNIT = 4096
_MOST_MISSED = 0.3
"""A clip in which the face is found in fewer frames than this leaves is not labelled."""


class Labels:
    """The labels of a set of clips, from an archive or a cache folder (one of the two, or both: the archive wins)."""

    def __init__(self, archive: Path | None = None, cache: Path | None = None) -> None:
        if archive is None and cache is None:
            raise UserError("no landmarks: give --labels FILE.npz, or --cache FOLDER to make and keep them")
        self._archive = None
        self._cache = cache
        if archive is not None:
            if not archive.is_file():
                raise UserError(f"no such labels file: {archive}")
            try:
                self._archive = np.load(archive)
                known = self._archive["points"].tolist()
            except (ValueError, OSError, KeyError) as e:
                raise UserError(f"{archive} is not a labels archive: {e}") from e
            if known != list(POINTS):
                raise UserError(f"{archive} holds other landmarks than this version uses: label the clips again")

    def of(self, path: Path) -> NDArray[np.float32] | None:
        """Landmarks (n, 110, 2) in picture fractions of one clip; None where it has none and no face is found in it."""
        if self._archive is not None and f"{path.stem}.pts" in self._archive:
            return _points(self._archive[f"{path.stem}.pts"])
        if self._cache is None:
            return None
        kept = self._cache / f"{path.stem}.npz"
        if not kept.is_file():
            self._cache.mkdir(parents=True, exist_ok=True)
            points = find_landmarks(path)
            # A clip without a face is kept as an empty one, so that it is not searched again.
            whole = np.zeros((0, len(POINTS), 2), np.float32) if points is None else points
            partial = kept.with_suffix(f".{os.getpid()}.partial.npz")
            np.savez_compressed(partial, pts=_differences(whole))
            partial.replace(kept)
        with np.load(kept) as archive:
            found = archive["pts"]
        return _points(found) if len(found) else None


def _points(differences: NDArray[np.int16]) -> NDArray[np.float32]:
    return np.asarray(np.cumsum(differences, 0, dtype=np.int32) / UNIT, np.float32)


def _differences(points: NDArray[np.float32]) -> NDArray[np.int16]:
    whole = np.clip(np.rint(points * UNIT), -UNIT, 2 * UNIT).astype(np.int16)
    return np.diff(whole, axis=0, prepend=np.zeros((1, *whole.shape[1:]), np.int16)) if len(whole) else whole


def find_landmarks(path: Path) -> NDArray[np.float32] | None:
    """Landmarks (n, 110, 2) in picture fractions of every frame; frames without a face are interpolated.

    None where too few frames show one. Raises UserError where mediapipe is not installed.
    """
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        import mediapipe
    except ImportError as e:
        raise UserError("labelling needs mediapipe: install it, or give --labels FILE.npz") from e
    mesh = mediapipe.solutions.face_mesh.FaceMesh(max_num_faces=1, refine_landmarks=True)
    rows: list[NDArray[np.float32] | None] = []
    with contextlib.closing(mesh):
        for picture in _pictures(path):
            faces = mesh.process(picture).multi_face_landmarks
            mark = faces[0].landmark if faces else None
            rows.append(None if mark is None else np.array([(mark[k].x, mark[k].y) for k in POINTS], np.float32))
    seen = [k for k, row in enumerate(rows) if row is not None]
    if not rows or len(seen) < (1 - _MOST_MISSED) * len(rows):
        return None
    known = np.stack([row for row in rows if row is not None]).reshape(len(seen), -1)
    columns = [np.interp(np.arange(len(rows)), seen, column) for column in known.T]
    return np.asarray(np.stack(columns, 1).reshape(len(rows), len(POINTS), 2), np.float32)


def _pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)


def voice_of(path: Path) -> NDArray[np.uint8] | None:
    """Log-mels (rows, 80) of the clip's sound as bytes, or None where it has none."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return None
        resampler = av.AudioResampler("s16", "mono", 16_000)
        start = container.streams.audio[0].start_time or 0
        base = container.streams.audio[0].time_base or Fraction(1)
        parts = [frame.to_ndarray().ravel() for f in container.decode(audio=0) for frame in resampler.resample(f)]
    if not parts:
        return None
    lead = np.zeros(max(0, round(start * base * 16_000)), np.int16)
    rows = mel.log_mel(np.concatenate([lead, *parts]).astype(np.float32) / 32768, mel.CALL)
    return np.asarray(np.rint((mel.normalised(rows) + 1) * 127.5), np.uint8)
