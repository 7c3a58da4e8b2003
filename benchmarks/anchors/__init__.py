"""The standard codecs that Pinhole is compared with."""

from . import av1, h264, h265, vp9, vvc
from .codec import Anchor, Encoding
from .scaled import Scaled

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
        av1.live(70, filters=False),
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

_POINTS: tuple[tuple[int, tuple[Anchor, ...]], ...] = (
    (256, (*map(h264.live, (51, 47, 42)), *map(h265.live, (51, 47, 42)), *map(vp9.live, (63, 58)))),
    (256, (av1.live(70, filters=False), *map(av1.live, (63, 57)), *map(vvc.live, (63, 55, 47, 39)))),
    (128, (*map(h264.live, (51, 45, 38, 32)), *map(h265.live, (51, 45, 38, 32)), *map(vp9.live, (63, 56, 48)))),
    (128, (*(av1.live(crf, filters=False) for crf in (70, 64, 56, 48)), *map(vvc.live, (54, 46, 38, 32)))),
    (64, (*map(h264.live, (51, 43, 35, 27)), *map(h265.live, (51, 43, 35, 27)), *map(vp9.live, (63, 50, 36)))),
    (64, (*(av1.live(crf, filters=False) for crf in (70, 62, 50, 38)), *map(vvc.live, (48, 40, 32, 26)))),
)
CALL_ANCHORS: dict[str, Anchor] = {
    anchor.name: anchor
    for side, anchors in _POINTS
    for anchor in (one if side == 256 else Scaled(one, side) for one in anchors)
}
"""What a call could use, at three sizes and several rates from each codec's floor at that size up to about 20 kb/s."""
EVERY_ANCHOR = ANCHORS | CALL_ANCHORS

__all__ = ["ANCHORS", "CALL_ANCHORS", "EVERY_ANCHOR", "Anchor", "Encoding", "Scaled"]
