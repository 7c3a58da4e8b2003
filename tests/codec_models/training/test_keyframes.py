from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import copy
import dataclasses

from torch.testing import assert_close

from codec_models.bitstream.face import FaceConfig, FaceDecoder, FaceEncoder
from codec_models.errors import UserError
from codec_models.hint_measure import HINTS, measured
from codec_models.interpolation import Interpolation
from codec_models.slow_stream import FRAMES, INTERVAL
from codec_models.training.corpus import Corpus
from codec_models.training.keyframes import NEWEST, RECEIVED, SHORTEST, TICKS, StretchConfig, StretchSampler

pytestmark = pytest.mark.unit


def test_a_batch_has_frames_near_the_truth_and_hints_of_every_tick(small_corpus: Corpus) -> None:
    s = StretchSampler(small_corpus, seed=1).batch(6)
    assert s.frames.shape == (6, RECEIVED, 3, 8, 8) and s.truth.shape == (6, TICKS, 3, 8, 8)
    assert s.hints.shape == (6, TICKS, HINTS) and s.arrived.dtype == torch.bool and set(s.has.tolist()) <= {0.0, 1.0}
    apart = (s.frames - s.truth[:, ::INTERVAL]).square().mean().sqrt()
    assert 0.001 < apart < 0.05, "quantised, but not beyond recognition"


def test_plain_stretches_are_the_clip_itself_through_the_coder(small_corpus: Corpus) -> None:
    sampler = StretchSampler(small_corpus, StretchConfig(rounds=1))
    s = sampler.plain(1, [0, 3])
    start, count = small_corpus.clips[1].start, small_corpus.clips[1].frames
    small = small_corpus.small[start : start + count].float() / 127.5 - 1
    truth = torch.nn.functional.avg_pool2d(small, 4)
    assert_close(s.truth[0, :count], truth, atol=1e-4, rtol=0)
    assert_close(s.truth[1, 0], s.truth[0, 3])
    assert (s.hints[0, :8] - measured(small_corpus.points[start : start + 8])).abs().max() < 0.07
    assert bool(s.arrived.all()) and s.has.tolist() == [1, 1]

    encoder, decoder = FaceEncoder(FaceConfig(fps=5, hints=False)), FaceDecoder()
    levels = ((truth[3:] + 1) * 127.5 + 0.5).floor().permute(0, 2, 3, 1).numpy().astype("uint8")
    decoded = []
    for k, low in enumerate(levels):
        face = decoder.decode(encoder.encode(low if k % INTERVAL == 0 else None))
        decoded += [] if face.picture is None else [torch.from_numpy(face.picture.copy()).permute(2, 0, 1)]
    got = ((s.frames[1, : len(decoded)] + 1) * 127.5).round().to(torch.uint8)
    assert torch.equal(got, torch.stack(decoded))
    # past the end of the clip its last frame of the rhythm stands
    assert torch.equal(s.frames[1, len(decoded)], s.frames[1, len(decoded) - 1])


def test_mirrored_and_changed_hints_and_pictures_still_agree(small_corpus: Corpus) -> None:
    s = StretchSampler(small_corpus, StretchConfig(rounds=3, hints=1.0, lost=0.0), seed=3).batch(24)
    # the painted face is a disc that is brighter than the wall: its middle is where the hints have the head
    grey = s.truth.mean(2) - s.truth.mean(2).amin((2, 3), keepdim=True)
    at = (torch.arange(8) + 0.5) / 8
    x = (grey.sum(2) * at).sum(2) / grey.sum((2, 3))
    judged = 0
    for k in range(len(s)):
        moving = torch.stack([x[k, :40], s.hints[k, :40, 6]])
        if moving[1].std() > 0.01 and moving[0].std() > 0.01:
            assert torch.corrcoef(moving)[0, 1] > 0.85
            judged += 1
    assert judged > 5


def test_a_corpus_of_short_clips_is_refused(small_corpus: Corpus) -> None:
    short = copy.copy(small_corpus)
    short.clips = [dataclasses.replace(c, frames=SHORTEST - 1) for c in small_corpus.clips]
    with pytest.raises(UserError, match="no clip has"):
        StretchSampler(short)


def test_lost_frames_are_not_among_the_keys(small_corpus: Corpus) -> None:
    s = StretchSampler(small_corpus, StretchConfig(lost=0.0), seed=2).batch(3)
    arrived = s.arrived.clone()
    arrived[0, 5] = False
    arrived[1, 1:] = False
    s = dataclasses.replace(s, arrived=arrived)
    keys = s.keys(Interpolation(), NEWEST)
    assert keys.times.shape == (3, FRAMES)
    assert keys.times[0].tolist() == [10, 15, 20, 30, 35]
    assert keys.times[1].tolist() == [-20, -15, -10, -5, 0]
    assert keys.times[2].tolist() == [15, 20, 25, 30, 35]
    assert_close(keys.frames[0, 2], s.frames[0, 4])
