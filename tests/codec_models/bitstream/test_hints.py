from __future__ import annotations

from dataclasses import astuple

import numpy as np
import pytest

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.hints import COMPANIONS, DEAD_ZONES, LIMITS, STEPS, Hints, HintState
from codec_models.bitstream.prior import HINTS, face_prior
from codec_models.bitstream.rangecoder import RangeDecoder, RangeEncoder

pytestmark = pytest.mark.unit


def talking(n: int) -> list[Hints]:
    """A mouth that talks, eyes that blink, a gaze that wanders, a head that sways, nods and comes nearer."""
    rng = np.random.default_rng(0)
    return [
        Hints(
            mouth_open=0.12 + 0.1 * float(np.sin(t / 2)),
            mouth_width=0.55 + 0.03 * float(np.cos(t / 3)),
            eye_left=0.02 if t % 60 < 4 else 0.13,
            eye_right=0.02 if t % 60 < 4 else 0.13,
            gaze_x=0.1 * float(np.sin(t / 30)) + float(rng.normal(0, 0.01)),
            gaze_y=0.02,
            head_x=0.5 + 0.05 * float(np.sin(t / 20)),
            head_y=0.53 + 0.02 * float(np.sin(t / 9)),
            head_size=-1.6 + t / 1000,
            head_roll=0.1 * float(np.sin(t / 25)),
            head_yaw=0.2 * float(np.sin(t / 20)) + float(rng.normal(0, 0.01)),
            head_pitch=0.1 * float(np.sin(t / 9)),
        )
        for t in range(n)
    ]


def test_hints_come_back_within_their_dead_zone_at_a_few_bits() -> None:
    encoder, decoder = HintState(face_prior()), HintState(face_prior())
    size = 0
    for hints in talking(300):
        coder = RangeEncoder()
        encoder.encode(hints, coder)
        data = coder.finish()
        size += len(data)
        decoder.decode(RangeDecoder(data))
        for got, sent, step, zone in zip(astuple(decoder.hints()), astuple(hints), STEPS, DEAD_ZONES, strict=True):
            assert abs(got - sent) <= (0.51 + zone) * step
    assert size * 8 / 300 < 32


def test_every_hint_has_its_numbers() -> None:
    assert HINTS == len(Hints.__slots__) == len(STEPS) == len(LIMITS) == len(DEAD_ZONES) == len(COMPANIONS)
    assert all(companion <= k for k, companion in enumerate(COMPANIONS))
    for mean, (low, high) in zip(face_prior().hint_mean, LIMITS, strict=True):
        assert low <= mean <= high


def test_a_tremble_within_the_dead_zone_is_not_sent() -> None:
    steady = HintState(face_prior())
    rest = [0.1, 0.5, 0.1, 0.1, 0.0, 0.0, 0.5, 0.5, -1.6, 0.0, 0.0, 0.0]
    steady.encode(Hints(*rest), RangeEncoder())
    middle = astuple(steady.hints())
    rng = np.random.default_rng(1)
    for _ in range(50):
        tremble = rng.uniform(-0.99, 0.99, HINTS) * (0.5 + np.array(DEAD_ZONES)) * STEPS
        coder = RangeEncoder()
        steady.encode(Hints(*(middle + tremble)), coder)
        assert astuple(steady.hints()) == middle and len(coder.finish()) <= 1


def test_values_beyond_their_limits_are_clipped_and_nan_is_not_fatal() -> None:
    encoder, decoder = HintState(face_prior()), HintState(face_prior())
    for hints in (Hints(*[1e6] * HINTS), Hints(*[-1e6] * HINTS), Hints(*[float("nan")] * HINTS)):
        coder = RangeEncoder()
        encoder.encode(hints, coder)
        decoder.decode(RangeDecoder(coder.finish()))
        assert decoder.hints() == encoder.hints()
        for got, step, (low, high) in zip(astuple(decoder.hints()), STEPS, LIMITS, strict=True):
            assert low - 1e-9 <= got / step <= high + 1e-9


def test_garbage_raises_one_error_or_gives_hints_in_range() -> None:
    rng = np.random.default_rng(3)
    state = HintState(face_prior())
    for _ in range(2000):
        try:
            state.decode(RangeDecoder(rng.bytes(int(rng.integers(0, 12)))))
        except BitstreamError:
            state.refresh()
        for got, step, (low, high) in zip(astuple(state.hints()), STEPS, LIMITS, strict=True):
            assert low - 1e-9 <= got / step <= high + 1e-9
