"""H.266 (VVC) by vvenc, which imageio-ffmpeg's static ffmpeg carries."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from codec_models.errors import UserError

from ..ffmpeg import ffmpeg_path, ffmpeg_version
from .codec import FPS, Encoding, decode_packets
from .colour import DESCRIPTION, to_yuv420
from .nal import units

_LOW_DELAY = ":".join(
    (
        # no picture waits for a later one, which the temporal filter (MCTF; BIM needs it) could make it do
        *("LookAhead=0", "PicReordering=0", "DecodingRefreshType=none", "GOPSize=8", "MCTF=0", "BIM=0"),
        # what a call needs not, 7 bytes a picture
        *("AccessUnitDelimiter=0", "HrdParametersPresent=0"),
        # at these rates they bring nothing (ALF needs three times the time)
        *("ALF=0", "CCALF=0", "SAO=0"),
    )
)


@dataclass(frozen=True)
class VVC:
    """vvenc through the ffmpeg program; decoded by the program too where PyAV cannot. 10 bits inside."""

    name: str
    qp: int
    preset: str
    low_delay: bool
    family: str

    @property
    def _options(self) -> list[str]:
        # -period counts seconds: one intra picture, as the other codecs of a call
        options = ["-c:v", "libvvenc", "-preset", self.preset, "-qp", str(self.qp), "-qpa", "0", "-period", "9999"]
        return [*options, *(["-vvenc-params", _LOW_DELAY] if self.low_delay else [])]

    @property
    def settings(self) -> str:
        return f"{' '.join(self._options)} -r {FPS}; yuv420p10le ({DESCRIPTION}, shifted to 10 bits)"

    def missing(self) -> str | None:
        if ffmpeg_path() is None:
            return "imageio-ffmpeg is not installed: pip install imageio-ffmpeg"
        return None

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        ffmpeg = ffmpeg_path()
        if ffmpeg is None:
            raise UserError(f"{self.name}: {self.missing()}")
        height, width = frames.shape[1:3]
        raw = b"".join((p.astype("<u2") << 2).tobytes() for picture in frames for p in to_yuv420(picture))
        command = [ffmpeg, "-hide_banner", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p10le"]
        command += ["-s", f"{width}x{height}", "-r", str(FPS), "-i", "-", *self._options, "-f", "vvc", "-"]
        run = subprocess.run(command, input=raw, capture_output=True, check=False)
        if run.returncode or not run.stdout:
            last = run.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
            raise UserError(f"{self.name}: ffmpeg does not encode: {' '.join(last)}")
        units = access_units(run.stdout)
        decoded = decode_packets("vvc", units)
        if len(decoded) != len(frames):
            raise UserError(f"{self.name}: {len(frames)} frames went in, {len(decoded)} came out")
        return Encoding(np.stack(decoded), [len(u) for u in units], f"vvenc in ffmpeg {ffmpeg_version()}")


def access_units(stream: bytes) -> list[bytes]:
    """Cut an Annex B VVC stream into coded pictures: parameter sets and SEI belong to the picture after them.

    A picture ends with its last slice (H.266, 7.4.2.4.3); one slice a picture is what vvenc writes.
    """
    pieces: list[bytes] = []
    pending = b""
    for unit, size in units(stream):
        kind = unit[1] >> 3 if len(unit) > 1 else -1
        pending += b"\x00" * (size - len(unit) - 1) + b"\x01" + unit
        if 0 <= kind <= 11:
            pieces.append(pending)
            pending = b""
    if pending and pieces:
        pieces[-1] += pending
    return pieces


def offline(qp: int) -> VVC:
    """Random access, medium preset, vvenc's usual QP 32 and coarser: the paper's H.266 row is of this kind."""
    return VVC(f"vvc-qp{qp}", qp, "medium", False, "H.266 (offline)")


def live(qp: int) -> VVC:
    """Low delay; QP 63 is the highest, its floor. Slower presets gain 3 % (medium) to 9 % (slow) at 4 to 10 times the
    time.
    """
    return VVC("vvc-floor" if qp == 63 else f"vvc-lowdelay-qp{qp}", qp, "fast", True, "H.266")
