"""The standard codecs that Pinhole is compared with."""

from . import av1, h264, h265, vp9, vvc
from .codec import Anchor, Encoding

ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for anchor in (
        h264.paper(23),
        h264.paper(36),
        h264.live(51),
        h264.live(44),
        h264.live(37),
        h265.live(51),
        h265.live(44),
        vp9.live(63),
        vp9.live(52),
        av1.live(63),
        av1.live(55),
        av1.live(45),
        vvc.offline(32),
        vvc.offline(42),
        vvc.live(57),
        vvc.live(47),
    )
}
"""By name, in the order of the tables."""

__all__ = ["ANCHORS", "Anchor", "Encoding"]
