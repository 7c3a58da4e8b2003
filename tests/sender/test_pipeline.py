from __future__ import annotations

import time

import av
import numpy as np
import pytest
from faces import mesh
from fakes import FakeSource, no_face, with_face

from codec_models.bitstream.face import FaceConfig, FaceDecoder
from sender.crop import FaceTracker
from sender.pipeline import EncodedTick, Pipeline
from sender.source import SourceTick

pytestmark = pytest.mark.unit


def take(pipeline: Pipeline) -> EncodedTick | None:
    pulled = pipeline.pull()
    return None if pulled is None else pipeline.encode(pulled)


def test_ticks_carry_picture_voice_and_hints() -> None:
    pipeline, decoder = Pipeline(FakeSource(20), with_face(), FaceConfig(), 12), FaceDecoder()
    voice = av.CodecContext.create("libopus", "r")
    for index in range(20):
        tick = take(pipeline)
        assert tick is not None and tick.index == index and tick.pictured
        face = decoder.decode(tick.face)
        assert face.picture is not None and abs(face.picture.astype(int) - index).max() <= 12
        assert face.hints is not None and face.hints.eye_left > 0.02
        assert voice.decode(av.Packet(tick.opus))[0].samples in (960, 1920, 3840)
        assert tick.view is not None and tick.still is not None and tick.still.points is not None
    assert take(pipeline) is None


def test_five_frames_a_second_still_have_hints_in_every_tick() -> None:
    pipeline, decoder = Pipeline(FakeSource(11), with_face(), FaceConfig(fps=5), 12), FaceDecoder()
    ticks = [take(pipeline) for _ in range(11)]
    assert [t.index for t in ticks if t is not None and t.pictured] == [0, 5, 10]
    faces = [decoder.decode(t.face) for t in ticks if t is not None]
    assert all(f.hints is not None for f in faces)
    assert all((t.view is not None) == t.pictured for t in ticks if t is not None)


def test_hints_can_be_left_out() -> None:
    pipeline, decoder = Pipeline(FakeSource(6), with_face(), FaceConfig(fps=5, hints=False), 12), FaceDecoder()
    ticks = [take(pipeline) for _ in range(6)]
    assert [bool(t and t.face) for t in ticks] == [True, False, False, False, False, True]
    assert ticks[0] is not None and decoder.decode(ticks[0].face).hints is None


def test_a_camera_without_a_picture_still_has_a_voice() -> None:
    class Dark(FakeSource):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return (SourceTick(None, t.voice, t.index) for t in super().__iter__())

    tick = take(Pipeline(Dark(1), no_face(), FaceConfig(), 12))
    assert tick is not None and not tick.pictured and tick.view is None and len(tick.opus) > 10


def test_skipped_ticks_are_not_leaned_on() -> None:
    pipeline, decoder = Pipeline(FakeSource(30), no_face(), FaceConfig(), 12), FaceDecoder()
    for _ in range(5):
        tick = take(pipeline)
        assert tick is not None
        decoder.decode(tick.face)
    assert pipeline.skip(10)
    tick = take(pipeline)
    assert tick is not None and tick.index == 15
    fresh = FaceDecoder().decode(tick.face)  # a decoder that saw nothing before understands it
    assert fresh.picture is not None and abs(fresh.picture.astype(int) - 15).max() <= 12
    assert not pipeline.skip(50)


def test_a_refresh_is_understood_by_a_new_decoder() -> None:
    pipeline = Pipeline(FakeSource(40), no_face(), FaceConfig(), 12)
    for _ in range(20):
        take(pipeline)
    pipeline.refresh()
    tick = take(pipeline)
    assert tick is not None
    picture = FaceDecoder().decode(tick.face).picture
    assert picture is not None and abs(picture.astype(int) - 20).max() <= 12


def test_a_picture_is_not_looked_at_before_its_tick_is_encoded() -> None:
    looked: list[int] = []

    def detector(picture: np.ndarray) -> np.ndarray:
        looked.append(int(picture[0, 0, 0]))
        return mesh(128, 135, 140)

    pipeline = Pipeline(FakeSource(2), FaceTracker(detector=detector), FaceConfig(), 12)
    pulled = pipeline.pull()
    assert pulled is not None and pulled.index == 0 and len(pulled.opus) > 10 and looked == []
    before = time.monotonic()
    tick = pipeline.encode(pulled)
    assert looked == [0] and tick.opus == pulled.opus
    assert tick.cropped is not None and before <= tick.began <= tick.cropped <= tick.encoded <= time.monotonic()


def test_warming_up_leaves_no_trace_in_the_stream() -> None:
    cold, warm = (Pipeline(FakeSource(3), with_face(), FaceConfig(), 12) for _ in range(2))
    first = warm.pull()
    assert first is not None
    warm.warm_up(first)
    ticks = [warm.encode(first), take(warm), take(warm)]
    assert [t and t.face for t in ticks] == [t and t.face for t in (take(cold), take(cold), take(cold))]


def test_closing_closes_the_source() -> None:
    source = FakeSource(1)
    Pipeline(source, no_face(), FaceConfig(), 12).close()
    assert source.closed


def test_pictures_of_any_shape(tmp_path: object) -> None:
    class Wide(FakeSource):
        def __iter__(self):  # type: ignore[no-untyped-def]
            return (SourceTick(np.zeros((90, 160, 3), np.uint8), t.voice, t.index) for t in super().__iter__())

    tick = take(Pipeline(Wide(1), no_face(), FaceConfig(), 12))
    assert tick is not None and tick.still is not None and tick.still.picture.shape == (256, 256, 3)
