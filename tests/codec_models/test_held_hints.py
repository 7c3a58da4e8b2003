from __future__ import annotations

from dataclasses import astuple

import pytest

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.hints import Hints

pytestmark = pytest.mark.unit
pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")


def test_hints_hold_for_half_a_second_and_are_then_unknown() -> None:
    from codec_models.held_hints import HELD_HINTS, HeldHints

    held = HeldHints()
    nothing = FaceTick(None, None)
    held.push(nothing)
    assert held.known == 0 and held.values.tolist() == [0] * 12
    told = Hints(*(k / 8 for k in range(12)))
    held.push(FaceTick(None, told))
    for _ in range(HELD_HINTS):
        held.push(nothing)
        assert held.known == 1 and held.values.tolist() == list(astuple(told))
    held.push(nothing)
    assert held.known == 0
