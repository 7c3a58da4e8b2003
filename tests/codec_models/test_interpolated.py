from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import save_file

from codec_models.bitstream.face import FaceTick
from codec_models.bitstream.still import IdentityStill
from codec_models.engines.torch_engine import TorchEngine
from codec_models.interpolated import Interpolated
from codec_models.interpolation import Interpolation
from codec_models.slow_stream import _EASE, SlowStream

pytestmark = pytest.mark.unit


class Notes:
    """A reconstruction that draws a picture of its tick's first pixel and notes what it was given."""

    backend, device, delay = "notes", "cpu", 0
    fps: int | None = None

    def __init__(self) -> None:
        self.drawn: list[tuple[FaceTick, NDArray[np.int16] | None]] = []
        self.taken = 0
        self.stills = 0
        self.spent: dict[str, float] = {}

    def set_identity(self, still: IdentityStill) -> None:
        self.stills += 1

    def take(self, face: FaceTick, voice: NDArray[np.int16] | None) -> None:
        self.taken += 1

    def tick(self, face: FaceTick, voice: NDArray[np.int16] | None) -> NDArray[np.uint8]:
        self.drawn.append((face, voice))
        value = 0 if face.picture is None else int(face.picture[0, 0, 0])
        return np.full((256, 256, 3), value, np.uint8)

    def reset(self) -> None:
        self.drawn.clear()


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "interpolation.safetensors"
    save_file(Interpolation().state_dict(), path)
    return path


def given(count: int) -> list[tuple[FaceTick, NDArray[np.int16]]]:
    """A grey level that rises by 2 a tick, known every fifth; voices that are the tick's number."""
    faces = [FaceTick(np.full((8, 8, 3), 2 * k, np.uint8) if k % 5 == 0 else None, None) for k in range(count)]
    return [(face, np.full(1920, k, np.int16)) for k, face in enumerate(faces)]


def test_without_look_ahead_every_tick_is_drawn_at_once_from_a_frame(weights: Path) -> None:
    inner = Notes()
    model = Interpolated(inner, SlowStream(TorchEngine(interpolation=weights), 0))
    model.fps = 5
    pictures = [model.tick(*t) for t in given(20)]
    assert model.delay == 0 and len(inner.drawn) == 20
    assert all(face.picture is not None for face, _ in inner.drawn)
    assert [int(v[0]) for _, v in inner.drawn if v is not None] == list(range(20))
    # an untrained network holds; the step of 10 levels to each new frame is eased
    levels = [2 * (k - k % 5) - (10 * (_EASE[k % 5] if k % 5 < len(_EASE) and k >= 5 else 0)) for k in range(20)]
    assert [int(p[0, 0, 0]) for p in pictures] == pytest.approx(levels, abs=0.5)


def test_with_look_ahead_picture_and_voice_are_those_of_five_ticks_before(weights: Path) -> None:
    inner = Notes()
    model = Interpolated(inner, SlowStream(TorchEngine(interpolation=weights), 1))
    model.fps = 5
    ticks = given(20)
    pictures = [model.tick(*t) for t in ticks]
    assert model.delay == 5 and model.lookahead == 1
    pictures += [model.tick(FaceTick(None, None), None) for _ in range(model.delay)]
    assert [int(v[0]) for _, v in inner.drawn if v is not None] == list(range(20))
    # and an untrained one interpolates; after the last frame it holds
    assert [int(p[0, 0, 0]) for p in pictures[5:21]] == [2 * k for k in range(16)]
    assert {int(p[0, 0, 0]) for p in pictures[:5]} == {128}


def test_ticks_that_are_not_drawn_are_known_all_the_same(weights: Path) -> None:
    inner = Notes()
    model = Interpolated(inner, SlowStream(TorchEngine(interpolation=weights), 0))
    model.fps = 5
    for k, tick in enumerate(given(13)):
        if k == 10:
            model.take(*tick)
        else:
            picture = model.tick(*tick)
    assert inner.taken == 1 and int(picture[0, 0, 0]) == 20


def test_a_fast_stream_is_handed_on_as_it_is(weights: Path) -> None:
    inner = Notes()
    model = Interpolated(inner, SlowStream(TorchEngine(interpolation=weights), 1))
    model.fps = 25
    ticks = given(7)
    for tick in ticks:
        model.tick(*tick)
    assert [face for face, _ in inner.drawn] == [face for face, _ in ticks]
    model.set_identity(IdentityStill(np.zeros((256, 256, 3), np.uint8), None))
    assert inner.stills == 1 and model.backend == "notes" and model.device == "cpu"
    model.reset()
    assert inner.drawn == [] and model.fps == 25
