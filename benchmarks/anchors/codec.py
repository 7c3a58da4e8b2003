"""What an anchor codec is, and the encode-and-decode loop that those in FFmpeg's libraries share."""

from __future__ import annotations

import ctypes
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import av
import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.timing import TICKS_PER_SECOND
from codec_models.errors import UserError

from .colour import DESCRIPTION, Planes, to_rgb, to_yuv420

FPS = TICKS_PER_SECOND


@dataclass(frozen=True, slots=True)
class Encoding:
    """The result of one codec on one clip.

    frames: (N, H, W, 3) uint8 RGB, decoded. sizes: bytes of the elementary stream per coded picture in coding order,
    without container and without the encoder's own version banner. version: of the encoder library.
    """

    frames: NDArray[np.uint8]
    sizes: list[int]
    version: str

    @property
    def total_bytes(self) -> int:
        return sum(self.sizes)


class Anchor(Protocol):
    """A codec to compare with. `settings` is everything needed to repeat the run by hand."""

    @property
    def name(self) -> str: ...

    @property
    def family(self) -> str:
        """Codecs of one family are joined by a line in the rate-distortion picture."""
        ...

    @property
    def settings(self) -> str: ...

    def missing(self) -> str | None:
        """Why the codec cannot run on this machine, or None when it can."""
        ...

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        """frames (N, H, W, 3) uint8 RGB at 25 fps, even sides."""
        ...


@dataclass(frozen=True)
class LibraryCodec(ABC):
    """Base of the anchors that PyAV's FFmpeg encodes. Subclasses name the libraries; instances give the options."""

    name: str
    options: dict[str, str]
    family: str

    encoder: ClassVar[str]
    decoder: ClassVar[str]
    quiet: ClassVar[dict[str, str]] = {}
    """Options that only silence the library; not part of the settings."""

    @property
    def settings(self) -> str:
        options = " ".join(f"-{k} {v}" for k, v in self.options.items())
        return f"-c:v {self.encoder} {options} -r {FPS}; {DESCRIPTION}"

    def missing(self) -> str | None:
        for codec in (self.encoder, self.decoder):
            if codec not in av.codecs_available:
                return f"PyAV {av.__version__} here has no {codec}"
        return None

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        packets = encode_packets(self.encoder, {**self.options, **self.quiet}, frames)
        decoded = decode_packets(self.decoder, packets)
        if len(decoded) != len(frames):
            raise UserError(f"{self.name}: {len(frames)} frames went in, {len(decoded)} came out")
        sizes = [self.coded_size(p) for p in packets]
        return Encoding(np.stack(decoded), sizes, self.version(packets))

    def coded_size(self, packet: bytes) -> int:
        """Bytes of a packet that carry the picture."""
        return len(packet)

    @abstractmethod
    def version(self, packets: list[bytes]) -> str:
        """Of the encoder library, as it tells it itself."""


def encode_packets(encoder: str, options: dict[str, str], frames: NDArray[np.uint8]) -> list[bytes]:
    """Encode (N, H, W, 3) uint8 RGB with an FFmpeg encoder of PyAV. One packet a coded picture."""
    context: Any = av.CodecContext.create(encoder, "w")
    context.height, context.width = frames.shape[1:3]
    context.pix_fmt = "yuv420p"
    context.time_base = Fraction(1, FPS)
    context.framerate = Fraction(FPS)
    context.color_range = 1  # limited
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    context.thread_count = 1
    context.options = dict(options)
    packets = []
    try:
        for index, picture in enumerate(frames):
            frame = video_frame(to_yuv420(picture))
            frame.pts = index
            packets += [bytes(p) for p in context.encode(frame)]
        packets += [bytes(p) for p in context.encode(None)]
    except av.error.FFmpegError as e:
        raise UserError(f"{encoder} does not encode with {options}: {e}") from e
    if context.options:
        raise UserError(f"{encoder} does not know the options {context.options}")
    return packets


def decode_packets(decoder: str, packets: list[bytes]) -> list[NDArray[np.uint8]]:
    """Decode packets of one stream with an FFmpeg decoder of PyAV, in display order, to (H, W, 3) uint8 RGB."""
    context: Any = av.CodecContext.create(decoder, "r")
    frames = [f for data in packets for f in context.decode(av.Packet(data))]
    frames += context.decode(None)
    return [picture_of(f) for f in frames]


def video_frame(planes: Planes) -> av.VideoFrame:
    """An FFmpeg frame, yuv420p, of the planes of `to_yuv420`."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for plane, values in zip(frame.planes, planes, strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    return frame


def picture_of(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """A decoded yuv420p or yuv420p10le frame -> (H, W, 3) uint8 RGB."""
    depth = {"yuv420p": 8, "yuv420p10le": 10}.get(frame.format.name)
    if depth is None:
        raise UserError(f"a decoder gave {frame.format.name} frames, expected yuv420p")
    dtype: np.dtype[Any] = np.dtype("u1" if depth == 8 else "<u2")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(bytes(plane), dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        planes.append(rows[:, : plane.width])
    return to_rgb((planes[0], planes[1], planes[2]), depth)


@cache
def library_version(library: str, function: str) -> str:
    """Ask a codec library inside PyAV's wheel for its version; PyAV's own where it cannot be asked."""
    folder = Path(av.__file__).parent.parent / "av.libs"
    for path in sorted(folder.glob(f"{library}*")):
        try:
            ask = getattr(ctypes.CDLL(os.fspath(path)), function)
        except (OSError, AttributeError):
            continue
        ask.restype = ctypes.c_char_p
        text = ask()
        if isinstance(text, bytes):
            return text.decode("ascii", "replace")
    return f"of PyAV {av.__version__}"
