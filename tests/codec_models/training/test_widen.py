from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from torch import Tensor

from codec_models.errors import UserError
from codec_models.training.checkpoint import save_weights
from codec_models.training.widen import start_from, widen
from codec_models.upsampler import LIVE, TEACHER, Upsampler, UpsamplerConfig, UpsamplerOutput

pytestmark = pytest.mark.unit

NARROW = UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)
TWICE = dataclasses.replace(NARROW, width=4, visual=8, audio=16)
UNEVEN = dataclasses.replace(NARROW, width=3, visual=7, audio=12)
"""Some channels have two copies and some have one; heads of 6 channels instead of 4."""


def lively(config: UpsamplerConfig) -> Upsampler:
    """A fresh network in which no layer is silent."""
    torch.manual_seed(0)
    network = Upsampler(config)
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    return network.eval()


@torch.no_grad()
def drawn(network: Upsampler, stills: int) -> UpsamplerOutput:
    """Of given inputs; the first still's landmarks are not known."""
    g = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=g) * 2 - 1

    pictures = torch.nn.functional.interpolate(noise(2 * stills, 3, 16, 16), size=256, mode="bilinear")
    known = torch.ones(2, stills)
    known[:, 0] = 0
    low = noise(2, stills, 3, 8, 8)
    identity = network.encode_stills(pictures.unflatten(0, (2, stills)), low, 0.6 * noise(2, stills, 110, 2), known)
    made: UpsamplerOutput = network(identity, noise(2, 5, 3, 8, 8), noise(2, 80, 16), noise(2, 12), torch.ones(2, 2))
    return made


@pytest.mark.parametrize("config", [TWICE, UNEVEN], ids=["twice", "uneven"])
@pytest.mark.parametrize("stills", [1, 2])
def test_the_wider_network_draws_the_same(config: UpsamplerConfig, stills: int) -> None:
    narrow, wide = lively(NARROW), Upsampler(config).eval()
    widen(narrow, wide)
    expected, made = drawn(narrow, stills), drawn(wide, stills)
    assert float(expected.picture.std()) > 0.1 and float(expected.flow.std()) > 0.01
    for field in dataclasses.fields(UpsamplerOutput):
        a, b = getattr(expected, field.name), getattr(made, field.name)
        assert (a is None and b is None) or torch.allclose(a, b, atol=3e-4), field.name


def test_copies_learn_differently() -> None:
    narrow, wide, even = lively(NARROW), Upsampler(TWICE), Upsampler(TWICE)
    widen(narrow, wide)
    widen(narrow, even, uneven=0.0)

    def apart(network: Upsampler) -> float:
        """Of the gradients of two copies of a channel, over their size."""
        g = torch.Generator().manual_seed(2)
        inputs = torch.rand(1, 5, 3, 8, 8, generator=g), torch.zeros(1, 80, 16), torch.zeros(1, 12), torch.ones(1, 2)
        pictures = torch.rand(1, 1, 3, 256, 256, generator=g)
        still = network.encode_stills(pictures, torch.rand(1, 1, 3, 8, 8, generator=g), torch.zeros(1, 1, 110, 2))
        network(still, *inputs).picture.square().mean().backward()
        gradient = network.decoder.join32.bias.grad
        a, b = gradient.chunk(2)
        return float((a - b).norm() / gradient.norm())

    assert apart(even) < 1e-3 < 0.1 < apart(wide)


def test_the_teacher_is_live_with_more_room() -> None:
    assert TEACHER.width >= 2 * LIVE.width
    widen(Upsampler(LIVE), Upsampler(TEACHER))  # every name and shape has its place


def test_a_file_says_whether_to_widen(tmp_path: Path) -> None:
    torch.manual_seed(0)
    live = Upsampler(LIVE)
    path = tmp_path / "live.safetensors"
    save_weights(path, live, {"network": "upsampler", "config": "live"})
    same, wide, again = Upsampler(LIVE), Upsampler(TEACHER), Upsampler(TEACHER)
    assert start_from(path, same) is None and start_from(path, wide) == "live"
    assert torch.equal(same.coarse.bias, live.coarse.bias.half().float())
    assert torch.equal(wide.coarse.bias, same.coarse.bias)
    save_weights(tmp_path / "wide.safetensors", wide, {"network": "upsampler", "config": "teacher"})
    assert start_from(tmp_path / "wide.safetensors", again) is None
    assert torch.equal(again.decoder.mask.weight, wide.decoder.mask.weight.half().float())
    with pytest.raises(UserError, match=r"'teacher'.*width is 16 there and 8 here"):
        start_from(tmp_path / "wide.safetensors", same)
    save_weights(path, live)
    with pytest.raises(UserError, match="another network"):
        start_from(path, wide)
    (tmp_path / "no").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a safetensors"):
        start_from(tmp_path / "no", wide)


def test_only_widths_may_grow() -> None:
    narrow = Upsampler(NARROW)
    with pytest.raises(ValueError, match="visual_blocks is 1 there and 2 here"):
        widen(narrow, Upsampler(dataclasses.replace(TWICE, visual_blocks=2)))
    with pytest.raises(ValueError, match="width is 2 there and 1 here"):
        widen(narrow, Upsampler(dataclasses.replace(TWICE, width=1)))
