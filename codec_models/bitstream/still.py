"""The identity layer: one sharp 256x256 picture of the speaker with its landmarks.

Format, version 1
-----------------
::

    version   u8    1
    points    u8    number of landmarks: 110, or 0 when no face was found
    landmarks 12 bits each, x then y per landmark, most significant bit first, no gaps, padded with zeros to a byte;
              the value v stands for v / 2048 - 0.5 in fractions of the picture's side
    picture   to the end: a complete AVIF, WebP or JPEG file of 256x256 pixels

The encoder writes AVIF, the smallest of the three; a browser that cannot write AVIF sends WebP or JPEG.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..landmarks import POINTS
from .errors import BitstreamError
from .timing import PICTURE

VERSION = 1
MAX_STILL_BYTES = 32_768
MAX_BYTES = 3500
"""What a sender gives a still, 2.8 kb/s of ten seconds: with 5000 what is drawn from it is 0.01 dB better, with 2500
0.04 dB worse (`benchmarks/stills.py`)."""
_FORMATS = ("AVIF", "WEBP", "JPEG")


@dataclass(frozen=True, slots=True)
class IdentityStill:
    """picture (256, 256, 3) uint8 RGB; points (110, 2) float32 in picture fractions, or None without a face."""

    picture: NDArray[np.uint8]
    points: NDArray[np.float32] | None


def encode_still(still: IdentityStill, max_bytes: int = MAX_BYTES) -> bytes:
    """Encode at the best quality that fits max_bytes (bytes of the whole message, landmarks included).

    Where not even the lowest quality fits, that one is returned. Takes about 0.3 s of one core: never call it on
    an event loop.
    """
    if still.picture.shape != (PICTURE, PICTURE, 3) or still.picture.dtype != np.uint8:
        raise ValueError(f"a still is {PICTURE}x{PICTURE}x3 uint8, not {still.picture.shape} {still.picture.dtype}")
    head = bytes([VERSION, 0 if still.points is None else len(POINTS)])
    if still.points is not None:
        head += _pack_points(still.points)
    image = Image.fromarray(still.picture)
    low, high, best = 1, 95, b""
    while low <= high:
        quality = (low + high) // 2
        buffer = io.BytesIO()
        image.save(buffer, "AVIF", quality=quality, speed=6, subsampling="4:2:0", max_threads=1)
        data = buffer.getvalue()
        if not best or len(head) + len(data) <= max_bytes:
            best = data
        if len(head) + len(data) <= max_bytes:
            low = quality + 1
        else:
            high = quality - 1
            if len(data) < len(best):
                best = data
    return head + best


def decode_still(data: bytes) -> IdentityStill:
    """Parse and decode. Raises BitstreamError on anything that is not a still of this format."""
    if not 2 <= len(data) <= MAX_STILL_BYTES:
        raise BitstreamError(f"a still of {len(data)} bytes")
    if data[0] != VERSION:
        raise BitstreamError(f"still version {data[0]}, this program speaks {VERSION}")
    if data[1] not in (0, len(POINTS)):
        raise BitstreamError(f"a still with {data[1]} landmarks")
    points, at = None, 2
    if data[1]:
        at += _POINT_BYTES
        if len(data) < at:
            raise BitstreamError("still is cut short")
        points = _unpack_points(data[2:at])
    try:
        # The size is known from the file's head, before any pixel is decoded.
        with Image.open(io.BytesIO(data[at:]), formats=_FORMATS) as image:
            if image.size != (PICTURE, PICTURE):
                raise BitstreamError(f"a still of {image.size[0]}x{image.size[1]} pixels")
            picture = np.asarray(image.convert("RGB"), np.uint8)
    except BitstreamError:
        raise
    except Exception as e:  # the image libraries raise OSError, SyntaxError, ValueError, struct.error and others
        raise BitstreamError(f"the still's picture does not decode: {e}") from e
    return IdentityStill(picture, points)


_POINT_BYTES = (len(POINTS) * 2 * 12 + 7) // 8


def _pack_points(points: NDArray[np.float32]) -> bytes:
    if points.shape != (len(POINTS), 2):
        raise ValueError(f"landmarks of shape {points.shape}")
    values = np.clip(np.rint((np.nan_to_num(points) + 0.5) * 2048), 0, 4095).astype(np.uint16).ravel()
    bits = values[:, None] >> np.arange(11, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def _unpack_points(data: bytes) -> NDArray[np.float32]:
    bits = np.unpackbits(np.frombuffer(data, np.uint8))[: len(POINTS) * 24].reshape(-1, 12)
    values = bits.astype(np.int64) @ (1 << np.arange(11, -1, -1))
    return (values / 2048 - 0.5).astype(np.float32).reshape(-1, 2)
