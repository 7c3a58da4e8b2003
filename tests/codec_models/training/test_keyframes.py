from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

import dataclasses

from torch.testing import assert_close

from codec_models.hint_measure import HINTS, measured
from codec_models.interpolation import FRAMES, INTERVAL, Interpolation
from codec_models.training.corpus import Corpus
from codec_models.training.keyframes import NEWEST, RECEIVED, TICKS, StretchConfig, StretchSampler

pytestmark = pytest.mark.unit


def test_a_batch_has_frames_near_the_truth_and_hints_of_every_tick(small_corpus: Corpus) -> None:
    s = StretchSampler(small_corpus, seed=1).batch(6)
    assert s.frames.shape == (6, RECEIVED, 3, 8, 8) and s.truth.shape == (6, TICKS, 3, 8, 8)
    assert s.hints.shape == (6, TICKS, HINTS) and s.arrived.dtype == torch.bool and set(s.has.tolist()) <= {0.0, 1.0}
    apart = (s.frames - s.truth[:, ::INTERVAL]).square().mean().sqrt()
    assert 0.001 < apart < 0.05, "quantised, but not beyond recognition"


def test_plain_stretches_are_the_clip_itself(small_corpus: Corpus) -> None:
    sampler = StretchSampler(small_corpus)
    s = sampler.plain(1, [0, 3])
    start = small_corpus.clips[1].start
    small = small_corpus.small[start : start + 8].float() / 127.5 - 1
    assert_close(s.truth[0, :8], torch.nn.functional.avg_pool2d(small, 4), atol=1e-4, rtol=0)
    assert_close(s.truth[1, 0], s.truth[0, 3])
    hints = measured(small_corpus.points[start : start + 8])
    assert (s.hints[0, :8] - hints).abs().max() < 0.07
    assert bool(s.arrived.all()) and s.has.tolist() == [1, 1]


def test_played_backwards_and_mirrored_hints_and_pictures_still_agree(small_corpus: Corpus) -> None:
    config = StretchConfig(backwards=1.0, mirror=1.0, changed=0.0, hints=1.0, lost=0.0)
    s = StretchSampler(small_corpus, config, seed=3).batch(8)
    # the painted face is a disc that is brighter than the wall: its middle is where the hints have the head
    grey = s.truth.mean(2) - s.truth.mean(2).amin((2, 3), keepdim=True)
    at = (torch.arange(8) + 0.5) / 8
    x = (grey.sum(2) * at).sum(2) / grey.sum((2, 3))
    for k in range(8):
        moving = torch.stack([x[k], s.hints[k, :, 6]])
        if moving[1].std() > 0.01:
            assert torch.corrcoef(moving)[0, 1] > 0.9


def test_lost_frames_are_not_among_the_keys(small_corpus: Corpus) -> None:
    s = StretchSampler(small_corpus, StretchConfig(lost=0.0), seed=2).batch(3)
    arrived = s.arrived.clone()
    arrived[0, 5] = False
    arrived[1, 1:] = False
    s = dataclasses.replace(s, arrived=arrived)
    keys = s.keys(Interpolation(), NEWEST)
    assert keys.times.shape == (3, FRAMES)
    assert keys.times[0].tolist() == [10, 15, 20, 30, 35]
    assert keys.times[1].tolist() == [0] * FRAMES
    assert keys.times[2].tolist() == [15, 20, 25, 30, 35]
    assert_close(keys.frames[0, 2], s.frames[0, 4])
