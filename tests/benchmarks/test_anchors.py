"""Each anchor codec on ten small frames: the count of bytes, the decoded pictures, the settings."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.anchors import ANCHORS, CALL_ANCHORS, EVERY_ANCHOR, Anchor, Scaled, av1, colour, h264, nal, vvc
from benchmarks.anchors.codec import Encoding, encode_packets
from benchmarks.metrics import psnr
from codec_models.errors import UserError

pytestmark = pytest.mark.unit

COUNT = 10
FLOORS = list({anchor.family: name for name, anchor in reversed(CALL_ANCHORS.items())}.values())
"""The first point of each codec at each size."""


@pytest.fixture(scope="module")
def frames() -> NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 8), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    return np.stack([np.roll(base, 2 * k, 1) for k in range(COUNT)]).astype(np.uint8)


@pytest.mark.parametrize("name", dict.fromkeys((*ANCHORS, *FLOORS)))
def test_encodes_and_decodes(name: str, frames: NDArray[np.uint8]) -> None:
    anchor = EVERY_ANCHOR[name]
    if (why := anchor.missing()) is not None:
        pytest.skip(why)
    coded = anchor.encode(frames)
    assert coded.frames.shape == frames.shape and coded.frames.dtype == np.uint8
    assert len(coded.sizes) == COUNT
    assert coded.total_bytes == sum(coded.sizes)
    assert 100 < coded.total_bytes < 200_000
    assert coded.sizes[0] > max(coded.sizes[1:])  # the intra picture
    # in display order: the same frame fits better than any other
    errors = [psnr(frames, np.roll(coded.frames, k, 0)) for k in range(4)]
    assert max(errors) == errors[0] > 18
    assert coded.version and any(c.isdigit() for c in coded.version)
    assert "yuv420p" in anchor.settings and "-c:v" in anchor.settings and "-r 25" in anchor.settings


def test_names_and_settings_are_unique() -> None:
    assert len({a.settings for a in EVERY_ANCHOR.values()}) == len(EVERY_ANCHOR)
    assert all(name == anchor.name for name, anchor in EVERY_ANCHOR.items())


@pytest.mark.parametrize("name", FLOORS)
def test_no_picture_of_a_call_depends_on_a_later_one(name: str, frames: NDArray[np.uint8]) -> None:
    anchor = CALL_ANCHORS[name]
    if (why := anchor.missing()) is not None:
        pytest.skip(why)
    known = COUNT - 4
    others = np.concatenate([frames[:known], frames[known:, ::-1, ::-1]])
    a, b = anchor.encode(frames), anchor.encode(others)
    assert a.sizes[:known] == b.sizes[:known] and a.sizes[known:] != b.sizes[known:]
    assert np.array_equal(a.frames[:known], b.frames[:known])


def test_a_smaller_size_has_its_own_name_family_and_settings(frames: NDArray[np.uint8]) -> None:
    small = Scaled(h264.live(51), 64)
    assert (small.name, small.family) == ("h264-64-floor", "H.264 at 64")
    assert "64x64" in small.settings and small.inner.settings in small.settings
    assert Scaled(vvc.live(47), 128).name == "vvc-128-lowdelay-qp47"
    with pytest.raises(ValueError, match="128x128"):
        Scaled(h264.live(51), 128).encode(frames[:, :64, :64])


class Untouched:
    """Gives back what it gets."""

    name, family, settings = "none-at-all", "none", "-c:v rawvideo"

    def missing(self) -> str | None:
        return "not here"

    def encode(self, frames: NDArray[np.uint8]) -> Encoding:
        self.shape = frames.shape
        return Encoding(frames, [7] * len(frames), "version 1")


def test_a_smaller_size_is_averaged_and_enlarged_by_lanczos() -> None:
    inner: Anchor = Untouched()
    noise = np.random.default_rng(3).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)
    frames = noise.repeat(4, 1).repeat(4, 2)  # the average of each 4x4 pixels is known
    coded = Scaled(inner, 64).encode(frames)
    assert inner.shape == noise.shape  # type: ignore[attr-defined]
    assert coded.sizes == [7, 7] and coded.version == "version 1" and Scaled(inner, 64).missing() == "not here"
    for made, small in zip(coded.frames, noise, strict=True):
        assert np.array_equal(made, cv2.resize(small, (256, 256), interpolation=cv2.INTER_LANCZOS4))


def test_a_higher_crf_costs_less(frames: NDArray[np.uint8]) -> None:
    sizes = [ANCHORS[n].encode(frames).total_bytes for n in ("h264-crf23", "h264-crf36")]
    assert sizes[1] < sizes[0]


def test_the_encoders_banner_is_not_counted(frames: NDArray[np.uint8]) -> None:
    for encoder, codec in (("libx264", "h264"), ("libx265", "hevc")):
        quiet = {"x265-params": "log-level=error"} if codec == "hevc" else {}
        packet = encode_packets(encoder, {"crf": "40", **quiet}, frames[:1])[0]
        assert 300 < nal.banner_bytes(packet, codec) < len(packet)
        assert nal.banner_text(packet, codec).startswith(encoder.removeprefix("lib"))
        assert sum(size for _, size in nal.units(packet)) == len(packet)


def test_options_that_do_not_exist_are_not_passed_over(frames: NDArray[np.uint8]) -> None:
    with pytest.raises(UserError, match="nonsense"):
        encode_packets("libx264", {"nonsense": "1"}, frames[:2])


def test_vvc_pictures_hold_the_whole_stream() -> None:
    parameters, slice0, slice1 = b"\x00\x79ab", b"\x00\x41cdef", b"\x00\x01gh"
    stream = b"".join(b"\x00\x00\x00\x01" + u for u in (parameters, slice0, slice1))
    pictures = vvc.access_units(stream)
    assert len(pictures) == 2
    assert b"".join(pictures) == stream
    assert pictures[0].endswith(b"cdef")


def test_colour_conversion_is_bt709_limited_and_nearly_reversible(frames: NDArray[np.uint8]) -> None:
    primaries = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [0, 0, 255]]], np.uint8).repeat(2, 1).repeat(2, 0)
    y, u, v = colour.to_yuv420(primaries)
    assert y[0, ::2].tolist() == [235, 16, 63, 32]
    assert u[0].tolist() == [128, 128, 102, 240]
    assert v[0].tolist() == [128, 128, 240, 118]
    assert psnr(frames[0], colour.to_rgb(colour.to_yuv420(frames[0]))) > 38
    deep = tuple(p.astype(np.uint16) << 2 for p in colour.to_yuv420(frames[0]))
    assert np.array_equal(colour.to_rgb(deep, 10), colour.to_rgb(colour.to_yuv420(frames[0])))  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="no schedulers to choose from on this system")
def test_av1_leaves_the_thread_its_priority() -> None:
    before = os.sched_getscheduler(0)
    av1.live(63).encode(np.zeros((3, 256, 256, 3), np.uint8))
    assert os.sched_getscheduler(0) == before == os.SCHED_OTHER
