"""VP9 by libvpx."""

from __future__ import annotations

from .codec import LibraryCodec, library_version


class VP9(LibraryCodec):
    """libvpx-vp9, no look-ahead."""

    encoder = "libvpx-vp9"
    decoder = "vp9"

    def version(self, packets: list[bytes]) -> str:
        return f"libvpx {library_version('libvpx', 'vpx_codec_version_str')}"


def live(crf: int) -> VP9:
    """Constant quality; 63 is the floor. A browser in a call runs the realtime deadline at speed 5 or faster, which
    needs a third more.
    """
    options = {
        "deadline": "good",
        "cpu-used": "1",
        "lag-in-frames": "0",
        "g": "9999",
        "crf": str(crf),
        "b": "0",
    }
    return VP9("vp9-floor" if crf == 63 else f"vp9-lowdelay-crf{crf}", options, "VP9")
