"""Frames as a call leaves them, for measuring what is still told by them: H.264 at its floor, and our own receiver.

Nothing of this is learned from: an embedding that knew the traces of one codec would favour it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from ..bitstream.face import FaceConfig, FaceDecoder, FaceEncoder, area_8x8
from ..bitstream.still import IdentityStill, decode_still, encode_still
from ..bitstream.timing import TICKS_PER_SECOND
from ..errors import UserError
from ..landmarks import hints_of
from ..reconstruction import reconstructor
from .verification import Change

_FLOOR = {"preset": "medium", "tune": "zerolatency", "crf": "51"}


def h264_floor(frames: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Frames (n, H, W, 3) after x264 at CRF 51, the highest there is, without look-ahead."""
    encoder: Any = av.CodecContext.create("libx264", "w")
    encoder.height, encoder.width = frames.shape[1:3]
    encoder.pix_fmt, encoder.framerate, encoder.thread_count = "yuv420p", TICKS_PER_SECOND, 1
    encoder.options = dict(_FLOOR)
    packets = [p for f in frames for p in encoder.encode(av.VideoFrame.from_ndarray(f, format="rgb24"))]
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    pictures = [f for p in packets for f in decoder.decode(av.Packet(bytes(p)))] + decoder.decode(None)
    return np.stack([np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in pictures])


def receiver(say: Callable[[str], None]) -> Change:
    """Draws frames (n, 256, 256, 3) with landmarks (n, 110, 2) as our receiver does: 25 8x8 frames a second with hints,
    the first frame as the still; no voice. Raises UserError where no runtime for the networks works.
    """
    network = reconstructor("network", say)

    def drawn(frames: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
        encoder, decoder = FaceEncoder(FaceConfig()), FaceDecoder()
        network.set_identity(decode_still(encode_still(IdentityStill(frames[0], points[0]))))
        network.fps = TICKS_PER_SECOND
        network.reset()
        pictures = []
        for frame, where in zip(frames, points, strict=True):
            low = area_8x8(frame)
            pictures.append(network.tick(decoder.decode(encoder.encode(low, hints_of(where))), None))
        return np.stack(pictures)

    return drawn


def changes(say: Callable[[str], None]) -> dict[str, Change]:
    """Name -> what a measurement is made on besides the frames as they are; those that can be made here."""
    found: dict[str, Change] = {"h264": h264_floor}
    try:
        found["drawn"] = receiver(say)
    except UserError as e:
        say(f"without our own receiver's pictures: {e}")
    return found
