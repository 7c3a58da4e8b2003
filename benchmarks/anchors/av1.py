"""AV1 by SVT-AV1."""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import NDArray

from .codec import Encoding, LibraryCodec, library_version


class AV1(LibraryCodec):
    """SVT-AV1 with low-delay prediction: no picture waits for a later one."""

    encoder = "libsvtav1"
    decoder = "libdav1d"

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes to stderr by itself otherwise
        return super().encode(frames)

    def version(self, packets: list[bytes]) -> str:
        return f"SVT-AV1 {library_version('libSvtAv1Enc', 'svt_av1_get_version')}"


def live(crf: int) -> AV1:
    """Preset 8; CRF 63 is the highest that FFmpeg lets through to SVT-AV1, its floor."""
    options = {"preset": "8", "g": "9999", "crf": str(crf), "svtav1-params": "pred-struct=1:lp=1"}
    return AV1("av1-floor" if crf == 63 else f"av1-lowdelay-crf{crf}", options, "AV1")
