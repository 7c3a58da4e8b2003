"""VP9 by libvpx, as a browser would run it in a call."""

from __future__ import annotations

from .codec import LibraryCodec, library_version


class VP9(LibraryCodec):
    """libvpx-vp9, realtime deadline, no look-ahead."""

    encoder = "libvpx-vp9"
    decoder = "vp9"

    def version(self, packets: list[bytes]) -> str:
        return f"libvpx {library_version('libvpx', 'vpx_codec_version_str')}"


def live(crf: int) -> VP9:
    """Constant quality; 63 is the floor. Speed 5, the slowest that libvpx advises for realtime."""
    options = {
        "deadline": "realtime",
        "cpu-used": "5",
        "lag-in-frames": "0",
        "g": "9999",
        "crf": str(crf),
        "b": "0",
    }
    return VP9("vp9-floor" if crf == 63 else f"vp9-realtime-crf{crf}", options, "VP9")
