"""The engine that remembers what it drew, against one that draws everything."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from benchmarks.sampled_engine import SampledEngine
from codec_models.bitstream.face import FaceTick, area_8x8
from codec_models.bitstream.still import IdentityStill
from codec_models.engines.engine import Engine
from codec_models.engines.torch_engine import TorchEngine
from codec_models.landmark_head import StillLandmarks
from codec_models.network import NetworkReconstructor
from codec_models.still_choice import ChoiceConfig

pytestmark = pytest.mark.unit

COUNT = 8
ARRIVES = 5


@pytest.fixture(scope="module")
def engine() -> TorchEngine:
    torch.set_num_threads(1)
    return TorchEngine(bfloat16=False)


def still(seed: int) -> IdentityStill:
    noise = np.random.default_rng(seed).integers(0, 256, (256, 256, 3)).astype(np.float32)
    base = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 10), np.empty(0), 0, 255, cv2.NORM_MINMAX)
    face = (StillLandmarks(8).mean.detach().numpy() + 1) / 2
    return IdentityStill(base.astype(np.uint8), face.astype(np.float32))


def draw(engine: Engine, at_once: int = 1) -> list[NDArray[np.uint8]]:
    """Ticks that look like the second still, which comes late."""
    sampled = engine if isinstance(engine, SampledEngine) else None
    model = NetworkReconstructor(engine, at_once, teeth=False, choice=ChoiceConfig(fade=0))
    model.set_identity(still(0))
    pictures = []
    for k in range(COUNT):
        if k == ARRIVES:
            model.set_identity(still(1))
        if sampled is not None:
            sampled.at = k
        low = np.roll(area_8x8(still(1).picture), k % 2, 1)
        pictures.append(model.tick(FaceTick(low, None), np.full(1920, 100 * k, np.int16)))
    if sampled is not None:
        sampled.at = None
    return pictures


def test_what_is_drawn_is_what_the_engine_draws(engine: TorchEngine) -> None:
    true = draw(engine)
    sampled = SampledEngine(engine, every=3)
    drawn = draw(sampled)
    for k in range(COUNT):
        assert np.array_equal(drawn[k], true[k]) if sampled.sampled(k) else not drawn[k].any()
    assert sampled.drawn == 3 and not np.array_equal(true[3], true[6])
    # two stills were made to warm up; the second of these is taken by the first tick that is its very frame
    assert sampled.used == [(3,)] * (ARRIVES + 1) + [(4,)] * (COUNT - ARRIVES - 1)


def test_the_same_is_drawn_once_and_another_stream_anew(engine: TorchEngine) -> None:
    sampled = SampledEngine(engine, every=3)
    first, again = draw(sampled), draw(sampled)
    assert sampled.drawn == 3 and all(a is b for a, b in zip(first[::3], again[::3], strict=True))
    sampled.stream = ("another",)
    draw(sampled)
    assert sampled.drawn == 6
    sampled.forget()
    draw(sampled)
    assert sampled.drawn == 9


def test_several_stills_at_once(engine: TorchEngine) -> None:
    sampled = SampledEngine(engine, every=6)
    drawn, true = draw(sampled, 2), draw(engine, 2)
    assert np.array_equal(drawn[6], true[6]) and not np.array_equal(true[6], draw(engine)[6])
    draw(sampled, 1)
    assert sampled.drawn == 3  # tick 0 has one still either way
