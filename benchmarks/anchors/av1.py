"""AV1 by SVT-AV1."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from .codec import Encoding, LibraryCodec, library_version

_FFMPEG_MOST = 63


class AV1(LibraryCodec):
    """SVT-AV1 with low-delay prediction: no picture waits for a later one."""

    encoder = "libsvtav1"
    decoder = "libdav1d"

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        os.environ.setdefault("SVT_LOG", "1")  # errors only; it writes to stderr by itself otherwise
        with _own_priority():
            return super().encode(frames)

    def version(self, packets: list[bytes]) -> str:
        return f"SVT-AV1 {library_version('libSvtAv1Enc', 'svt_av1_get_version')}"


@contextlib.contextmanager
def _own_priority() -> Iterator[None]:
    """SVT-AV1 gives the thread that calls it real-time priority (SCHED_FIFO, 99) where the system lets it, and leaves
    it so: what runs afterwards, and every process that is started, would keep all others off the processor.
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def live(crf: int, filters: bool = True) -> AV1:
    """Preset 2; CRF 70 is the highest that SVT-AV1 knows, its floor.

    FFmpeg's own option ends at 63. filters: CDEF and restoration, whose headers cost more than they bring in pictures
    of a few bytes.
    """
    parameters = f"pred-struct=1:lp=1{'' if filters else ':enable-cdef=0:enable-restoration=0'}"
    if crf > _FFMPEG_MOST:
        parameters += f":crf={crf}"
    options = {"preset": "2", "g": "9999", "crf": str(min(crf, _FFMPEG_MOST)), "svtav1-params": parameters}
    return AV1("av1-floor" if crf == 70 else f"av1-lowdelay-crf{crf}", options, "AV1")
