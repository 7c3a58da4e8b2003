from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from codec_models.bitstream.face import FaceTick, area_8x8
from codec_models.bitstream.still import IdentityStill
from codec_models.errors import UserError
from codec_models.reconstruction import StillColour, reconstructor

pytestmark = pytest.mark.unit


def still() -> IdentityStill:
    rng = np.random.default_rng(0)
    low = rng.integers(60, 190, (16, 16, 3)).astype(np.uint8)
    return IdentityStill(np.kron(low, np.ones((16, 16, 1), np.uint8)), None)


def test_before_the_still_the_8x8_frame_is_shown() -> None:
    frame = np.full((8, 8, 3), (200, 100, 50), np.uint8)
    picture = StillColour().tick(FaceTick(frame, None), None)
    assert picture.shape == (256, 256, 3) and picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - (200, 100, 50)).max() <= 1


def test_the_still_itself_when_the_frame_agrees() -> None:
    s, predictor = still(), StillColour()
    predictor.set_identity(s)
    assert np.array_equal(predictor.tick(FaceTick(None, None), None), s.picture)
    picture = predictor.tick(FaceTick(area_8x8(s.picture), None), None)
    assert np.abs(picture.astype(int) - s.picture).max() <= 1


def test_light_is_followed_and_held_through_a_lost_tick() -> None:
    s, predictor = still(), StillColour()
    predictor.set_identity(s)
    low = area_8x8(s.picture)
    darker = (low * 0.8).astype(np.uint8)
    picture = predictor.tick(FaceTick(darker, None), None)
    assert np.abs(area_8x8(picture).astype(int) - darker).mean() < 3
    assert np.array_equal(predictor.tick(FaceTick(None, None, False), None), picture)
    predictor.reset()
    assert np.array_equal(predictor.tick(FaceTick(None, None), None), s.picture)


def with_network(monkeypatch: pytest.MonkeyPatch, make: Callable[[], object]) -> list[bool]:
    """Stands for the module of the network. The list gets whether teeth were asked for."""
    asked: list[bool] = []

    def made(engine: object, teeth: bool) -> object:
        asked.append(teeth)
        return make()

    module = ModuleType("codec_models.network")
    module.NetworkReconstructor = made  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "codec_models.network", module)
    return asked


def test_the_network_is_taken_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    network = StillColour()
    asked = with_network(monkeypatch, lambda: network)
    assert all(reconstructor(name, said.append, lookahead=None) is network for name in ("auto", "network"))
    assert reconstructor("still-colour", said.append) is not network
    assert not said and asked == [True, True]
    reconstructor("network", said.append, None, teeth=False)
    assert asked[-1] is False


def test_the_network_is_given_frames_for_a_slow_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[receiver]'")
    with_network(monkeypatch, StillColour)
    for lookahead in (0, 1):
        made = reconstructor("network", lookahead=lookahead)
        made.fps = 5
        assert made.delay == 5 * lookahead and made.backend == "still-colour"
        made.fps = 25
        assert made.delay == 0


def test_without_the_network_one_line_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_weights() -> None:
        raise UserError("there are no weights")

    said: list[str] = []
    with_network(monkeypatch, no_weights)
    assert reconstructor("auto", said.append).backend == "still-colour"
    assert len(said) == 1 and "no weights" in said[0] and "\n" not in said[0]
    with pytest.raises(UserError, match="no weights"):
        reconstructor("network", said.append)
    with pytest.raises(UserError, match="still-colour"):
        reconstructor("vgg")
