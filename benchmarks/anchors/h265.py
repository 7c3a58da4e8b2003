"""H.265 by x265."""

from __future__ import annotations

from typing import ClassVar

from .codec import LibraryCodec
from .nal import banner_bytes, banner_text


class H265(LibraryCodec):
    """x265, Main profile."""

    encoder = "libx265"
    decoder = "hevc"
    quiet: ClassVar[dict[str, str]] = {"x265-params": "log-level=error"}

    def coded_size(self, packet: bytes) -> int:
        return len(packet) - banner_bytes(packet, "hevc")

    def version(self, packets: list[bytes]) -> str:
        # "x265 (build 216) - 4.2+1-abcdef:[Linux][GCC 14][64 bit] 8bit+10bit - H.265/HEVC codec - ..."
        parts = banner_text(packets[0], "hevc").split(" - ")
        return f"x265 {parts[1].split(':')[0]}" if len(parts) > 1 else "x265"


def live(crf: int) -> H265:
    """Zero latency; CRF 51 is the highest that x265 knows, its floor."""
    options = {"preset": "medium", "tune": "zerolatency", "crf": str(crf)}
    return H265("h265-floor" if crf == 51 else f"h265-zerolatency-crf{crf}", options, "H.265")
