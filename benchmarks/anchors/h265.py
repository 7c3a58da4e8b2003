"""H.265 by x265."""

from __future__ import annotations

from .codec import LibraryCodec
from .nal import banner_bytes, banner_text

_ZERO_LATENCY = "bframes=0:b-adapt=0:rc-lookahead=0:scenecut=0:cutree=0:frame-threads=1"


class H265(LibraryCodec):
    """x265, Main profile."""

    encoder = "libx265"
    decoder = "hevc"

    def coded_size(self, packet: bytes) -> int:
        return len(packet) - banner_bytes(packet, "hevc")

    def version(self, packets: list[bytes]) -> str:
        # "x265 (build 216) - 4.2+1-abcdef:[Linux][GCC 14][64 bit] 8bit+10bit - H.265/HEVC codec - ..."
        parts = banner_text(packets[0], "hevc").split(" - ")
        return f"x265 {parts[1].split(':')[0]}" if len(parts) > 1 else "x265"


def live(crf: int) -> H265:
    """Zero latency; CRF 51 is the highest that x265 knows, its floor.

    `_ZERO_LATENCY` is what x265's tune of that name sets, as only one tune can be named. Entry points of wavefronts,
    more references, weights and offsets (SAO) cost more than they bring at these rates; slower presets gain nothing.
    """
    parameters = f"log-level=error:{_ZERO_LATENCY}:wpp=0:ref=1:weightp=0:sao=0"
    options = {"preset": "slow", "tune": "psnr", "x265-params": parameters, "g": "9999", "crf": str(crf)}
    return H265("h265-floor" if crf == 51 else f"h265-zerolatency-crf{crf}", options, "H.265")
