from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from codec_models.errors import UserError
from codec_models.teeth import (
    LIVE,
    PAPER,
    ChannelFusion,
    HourGlass,
    Teeth,
    TeethConfig,
    bands,
    extent,
    load_teeth,
    moved,
)

pytestmark = pytest.mark.unit

TINY = TeethConfig(width=8, middle=8, deep=16)


def speaking(config: TeethConfig = TINY) -> Teeth:
    """A network that is not silent, as a fresh one is."""
    torch.manual_seed(0)
    network = Teeth(config)
    with torch.no_grad():
        network.out.weight.normal_(0, 0.05)
    return network.eval().requires_grad_(False)


def inputs(count: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(count, 3, 96, 96, generator=generator) * 2 - 1, torch.rand(count, 2, 96, 96, generator=generator)


def test_live_is_small_enough_for_a_core() -> None:
    network = Teeth(LIVE).eval()
    crop, planes = inputs()
    with torch.no_grad():
        memory = network.remember(crop, planes)
        with FlopCounterMode(display=False) as counter:
            network(crop, planes, memory)
    assert 0.1e9 < counter.get_total_flops() <= 0.5e9


def test_paper_is_as_large_as_the_paper_s() -> None:
    with torch.device("meta"):
        network = Teeth(PAPER)
    assert 15e6 <= sum(p.numel() for p in network.parameters()) <= 20e6
    crop, planes = (t.to("meta") for t in inputs())
    assert network(crop, planes, network.remember(crop, planes)).shape == (1, 3, 96, 96)


def test_a_fresh_network_draws_nothing_and_raises_a_little() -> None:
    crop, planes = inputs(2)
    network = Teeth(TINY)
    memory = network.remember(crop, planes)
    drawn, raised = network.parts(crop, planes, memory)
    assert not drawn.any()
    fine, coarse = bands(crop)
    assert 0.1 < raised.norm() / (fine + coarse).norm() < 0.5
    assert torch.equal(network(crop, planes, memory), drawn + raised)
    level = torch.full((1, 3, 96, 96), 0.3)
    assert network.parts(level, planes[:1], None)[1].abs().max() < 1e-6, "where there is no detail none is made"


def test_gains_have_no_detail_of_their_own() -> None:
    crop, planes = inputs()
    network = speaking()
    with torch.no_grad():
        network.gain.weight.normal_(0, 1)
        raised = network.parts(crop, planes, None)[1]
    fine, coarse = bands(crop)
    columns = torch.stack([fine, coarse], -1)
    # least squares over 3 colours and 4x4 pixels: nearly constant gains explain it
    blocks = [
        t.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).flatten(3) for t in (*columns.unbind(-1), raised)
    ]
    gains = torch.linalg.lstsq(torch.stack(blocks[:2], -1), blocks[2][..., None]).solution
    left = blocks[2][..., None] - torch.stack(blocks[:2], -1) @ gains
    assert left.norm() < 0.25 * blocks[2].norm()
    assert gains.std() > 0.1


def test_bands_add_up_and_grow_coarser() -> None:
    crop, _ = inputs()
    fine, coarse = bands(crop)
    wave = torch.sin(torch.arange(96) * 2 * torch.pi / 12).expand(1, 1, 96, 96)
    edge = torch.sin(torch.arange(96) * 2 * torch.pi / 3).expand(1, 1, 96, 96)
    assert bands(edge)[0].norm() > 5 * bands(edge)[1].norm()
    assert bands(wave)[1].norm() > 1.5 * bands(wave)[0].norm()
    assert (fine + coarse).norm() < crop.norm()


def test_channel_fusion_is_of_halves_and_quarters() -> None:
    block = ChannelFusion(16)
    widths = [(c.in_channels, c.out_channels) for c in (block.a, block.b, block.c)]
    assert widths == [(16, 8), (8, 4), (4, 4)]
    assert block(torch.rand(1, 16, 6, 6)).shape == (1, 16, 6, 6)


def test_the_hourglass_halves_the_side_twice() -> None:
    glass = HourGlass(TINY, attends=False)
    sides = []
    for part in (glass.at24, glass.at12):
        part.register_forward_hook(lambda m, i, out: sides.append(tuple(out.shape[1:])))
    assert glass(torch.rand(1, 8, 48, 48), None).shape == (1, 8, 48, 48)
    assert sides == [(8, 24, 24), (16, 12, 12)]


def test_reference_planes_and_crop_all_count() -> None:
    network = speaking()
    crop, planes = inputs(2)
    memory = network.remember(crop, planes)
    assert memory.shape[0] == 2 and memory.dim() == 2
    first = network(crop[:1], planes[:1], memory[:1])
    assert first.shape == (1, 3, 96, 96) and first.dtype == torch.float32
    others = [
        network(crop[1:], planes[:1], memory[:1]),
        network(crop[:1], planes[1:], memory[:1]),
        network(crop[:1], planes[:1], memory[1:]),
        network(crop[:1], planes[:1], None),
    ]
    assert all(float((o - first).abs().max()) > 1e-3 for o in others)


def test_every_parameter_learns() -> None:
    network = Teeth(TINY)
    nn.init.normal_(network.out.weight, 0, 0.05)
    crop, planes = inputs(2)
    network(crop, planes, network.remember(crop, planes)).square().mean().backward()
    silent = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == ["unknown"]
    network(crop, planes, None).square().mean().backward()
    assert network.unknown.grad is not None and network.unknown.grad.any()


def test_the_reference_is_laid_on_the_mouth() -> None:
    """A blob where the reference's mouth is ends where the drawn mouth is, and as large."""
    side = (torch.arange(96) + 0.5) / 48 - 1

    def mouth(x: float, y: float, wide: float, high: float) -> torch.Tensor:
        inside = ((side - x) / wide).square() + ((side[:, None] - y) / high).square() < 1
        return inside.float().expand(1, 2, 96, 96)

    there, here = mouth(0.1, -0.1, 0.5, 0.2), mouth(-0.15, 0.2, 0.4, 0.3)
    assert torch.allclose(extent(there), torch.tensor([[0.1, -0.1, 0.25, 0.1]]), atol=0.005)
    laid = moved(torch.nn.functional.avg_pool2d(there, 2), extent(there), extent(here))
    wanted = torch.nn.functional.avg_pool2d(here, 2)
    assert float((laid - wanted).abs().mean()) < 0.15 * float(wanted.mean())
    nothing = torch.zeros(1, 2, 96, 96)
    assert torch.isfinite(moved(laid, extent(nothing), extent(here))).all()
    assert torch.isfinite(moved(laid, extent(here), extent(nothing))).all()


def test_one_reference_serves_many_crops() -> None:
    network = speaking()
    crop, planes = inputs(3)
    memory = network.remember(crop[:1], planes[:1])
    together = network(crop, planes, memory)
    for k in range(3):
        alone = network(crop[k : k + 1], planes[k : k + 1], memory)
        assert torch.allclose(together[k : k + 1], alone, atol=1e-5)


def test_reduced_precision_is_close() -> None:
    network = speaking(LIVE)
    crop, planes = inputs()
    exact = network(crop, planes, network.remember(crop, planes))
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(crop, planes, network.remember(crop, planes))
    assert rough.dtype == torch.float32
    assert float((rough - exact).abs().mean()) < 0.03 * float(exact.abs().mean())


def test_weights_come_back_and_others_are_refused(tmp_path: Path) -> None:
    network = speaking()
    tensors = {name: t.clone() for name, t in network.state_dict().items()}
    path = tmp_path / "teeth.safetensors"
    save_file(tensors, path)
    loaded = load_teeth(path, TINY)
    crop, planes = inputs()
    for memory in (None, network.remember(crop, planes)):
        assert torch.allclose(loaded(crop, planes, memory), network(crop, planes, memory), atol=1e-5)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    with pytest.raises(UserError, match="trained with this version"):
        load_teeth(path, LIVE)
    save_file(tensors | {"out.bias": torch.full_like(tensors["out.bias"], torch.nan)}, path)
    with pytest.raises(UserError, match="not finite"):
        load_teeth(path, TINY)
    with pytest.raises(UserError, match="no trained weights"):
        load_teeth(tmp_path / "absent.safetensors", TINY)
