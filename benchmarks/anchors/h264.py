"""H.264 by x264."""

from __future__ import annotations

from .codec import LibraryCodec
from .nal import banner_bytes, banner_text


class H264(LibraryCodec):
    """x264, High profile, medium preset unless the options say otherwise."""

    encoder = "libx264"
    decoder = "h264"

    def coded_size(self, packet: bytes) -> int:
        return len(packet) - banner_bytes(packet, "h264")

    def version(self, packets: list[bytes]) -> str:
        # "x264 - core 165 r3222 b35605a - H.264/MPEG-4 AVC codec - ... - options: ..."
        return " ".join(banner_text(packets[0], "h264").split(" - ")[:2]) or "x264"


def paper(crf: int) -> H264:
    """The paper's table 3: medium preset, B-frames and look-ahead as they come, which a call could not use."""
    return H264(f"h264-crf{crf}", {"preset": "medium", "crf": str(crf)}, "H.264 (offline)")


def live(crf: int) -> H264:
    """Zero latency: no B-frames, no look-ahead; CRF 51 is the highest that x264 knows, its floor.

    One reference without weights: at these rates the headers of more cost more than they bring (at 64x64 half the
    rate). For squared error, as the measures are; the medium preset as it comes needs a quarter more.
    """
    options = {
        "preset": "veryslow",
        "tune": "psnr,zerolatency",
        "x264-params": "ref=1:weightp=0",
        "g": "9999",
        "crf": str(crf),
    }
    return H264("h264-floor" if crf == 51 else f"h264-zerolatency-crf{crf}", options, "H.264")
