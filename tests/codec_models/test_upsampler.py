from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from codec_models.layers import CrossAttention, Picture8x8
from codec_models.motion import FLOW, SparseMotion
from codec_models.upsampler import LIVE, PAPER, IdentityFeatures, Upsampler, UpsamplerConfig, still_part

pytestmark = pytest.mark.unit

TINY = UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)


def stills(count: int = 1, batch: int = 1, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    small = torch.rand(batch * count, 3, 16, 16, generator=g) * 2 - 1
    pictures = torch.nn.functional.interpolate(small, size=256, mode="bilinear")
    low = torch.nn.functional.avg_pool2d(pictures, 32)
    points = torch.rand(batch, count, 110, 2, generator=g) * 1.2 - 0.6
    return pictures.unflatten(0, (batch, count)), low.unflatten(0, (batch, count)), points


def ticks(batch: int = 1, seed: int = 1) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    low = torch.rand(batch, 5, 3, 8, 8, generator=g) * 1.6 - 0.8
    mel = torch.rand(batch, 80, 16, generator=g) * 2 - 1
    hints = torch.tensor([[0.2, 0.5, 0.1, 0.05, 0.1, -0.1, 0.55, 0.5, -1.6, 0.1, 0.2, -0.1]]).expand(batch, 12)
    return low, mel, hints, torch.ones(batch, 2)


def lively(config: UpsamplerConfig = TINY, seed: int = 0) -> Upsampler:
    """A fresh network whose layers that begin at zero or softly speak up."""
    torch.manual_seed(seed)
    model = Upsampler(config)
    with torch.no_grad():
        for p in model.decoder.parameters():
            p.add_(torch.randn_like(p) * 0.05)
    return model.eval()


def test_shapes() -> None:
    model = lively()
    identity = model.encode_stills(*stills(2, 3))
    assert identity.stills == 2
    assert all(t.shape[:2] == (3, 2) for t in identity.tensors())
    out = model(identity, *ticks(3))
    assert out.picture.shape == out.warped.shape == (3, 3, 256, 256)
    assert out.points.shape == (3, 110, 2) and out.coarse.shape == (3, 3, 32, 32)
    assert out.flow.shape == (3, 2, 2, 64, 64) and out.weights is not None and out.weights.shape == (3, 2, 64, 64)
    assert torch.allclose(out.weights.sum(1), torch.ones(()), atol=1e-5)
    assert model(model.encode_stills(*stills(1)), *ticks()).weights is None


def macs_of(model: nn.Module) -> tuple[dict[str, int], list[object]]:
    """Multiply-adds per layer, filled in by forward hooks."""
    counts: dict[str, int] = {}

    def hook(name: str):  # type: ignore[no-untyped-def]
        def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                weight = module.weight
                places = output.numel() // weight.shape[0]
                n = places * weight.numel()
            elif isinstance(module, CrossAttention):
                n = 2 * inputs[0].numel() * inputs[1].shape[1]
            elif isinstance(module, SparseMotion):
                n = (2 * inputs[1].shape[1] + 1) * FLOW * FLOW * 110
            elif isinstance(module, Picture8x8):
                n = 3 * (256 * 8 * 8 + 256 * 256 * 8)
            else:
                return
            counts[name] = counts.get(name, 0) + n

        return count

    return counts, [m.register_forward_hook(hook(n)) for n, m in model.named_modules()]


def test_live_fits_the_budget() -> None:
    model = Upsampler(LIVE).eval()
    per_tick = sum(p.numel() for n, p in model.named_parameters() if not still_part(n))
    assert per_tick <= 4e6
    with torch.no_grad():
        identity = model.encode_stills(*stills())
        counts, _ = macs_of(model)
        with FlopCounterMode(display=False) as independent:
            model(identity, *ticks())
    assert not any(map(still_part, counts)), "the stills are encoded in the tick"
    assert 1.5e9 < 2 * sum(counts.values()) <= 2.0e9
    assert 2 * sum(counts.values()) == pytest.approx(independent.get_total_flops(), rel=0.01)


def test_paper_has_the_papers_size() -> None:
    model = Upsampler(PAPER)
    count = sum(p.numel() for p in model.parameters())
    assert 0.9 * 143e6 <= count <= 1.1 * 143e6


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_paper_trains_a_step() -> None:
    torch.manual_seed(0)
    model = Upsampler(PAPER)
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    before = model.decoder.join32.weight.detach().clone()
    out = model(model.encode_stills(*stills()), *ticks())
    loss = out.picture.abs().mean() + out.points.abs().mean()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    assert bool(torch.isfinite(loss)) and not torch.equal(before, model.decoder.join32.weight)


def test_equal_stills_give_the_picture_of_one() -> None:
    model = lively()
    one = model.encode_stills(*stills())
    with torch.no_grad():
        alone = model(one, *ticks())
        many = model(IdentityFeatures.together([one, one, one]), *ticks())
    assert float((alone.picture - many.picture).abs().max()) < 1e-3
    assert float((alone.points - many.points).abs().max()) < 1e-4


def test_order_of_stills_does_not_matter_and_a_near_one_weighs_more() -> None:
    model = lively()
    a, b = model.encode_stills(*stills(seed=0)), model.encode_stills(*stills(seed=5))
    low, mel, hints, has = ticks()
    low = a.low.expand(-1, 5, -1, -1, -1)
    with torch.no_grad():
        ab = model(IdentityFeatures.together([a, b]), low, mel, hints, has)
        ba = model(IdentityFeatures.together([b, a]), low, mel, hints, has)
    assert float((ab.picture - ba.picture).abs().max()) < 1e-3
    assert ab.weights is not None and float(ab.weights[:, 0].mean()) > 0.9


def test_gradient_reaches_every_parameter() -> None:
    model = lively().train()
    identity = model.encode_stills(*stills(2), has_points=torch.tensor([[1.0, 0.0]]))
    low, mel, hints, has = ticks()
    out = model(identity, identity.low.mean(1, keepdim=True) + 0.1 * low, mel, hints, has)
    g = torch.Generator().manual_seed(3)
    parts = (out.picture, out.warped, out.points, out.coarse)
    loss = sum(((p - torch.randn(p.shape, generator=g)) ** 2).mean() for p in parts)
    assert isinstance(loss, Tensor)
    loss.backward()  # type: ignore[no-untyped-call]
    for name, p in model.named_parameters():
        assert p.grad is not None and float(p.grad.abs().max()) > 0, name


def test_output_average_is_pulled_to_the_received_frame() -> None:
    model = lively()
    g = torch.Generator().manual_seed(4)
    picture = torch.rand(2, 3, 256, 256, generator=g) - 0.5
    shifted = model.consistent(picture, torch.nn.functional.avg_pool2d(picture, 32) + 0.3)
    assert torch.allclose(shifted, picture + 0.3, atol=1e-4), "a change of light is followed exactly"
    low = torch.rand(2, 3, 8, 8, generator=g) - 0.5
    before = (torch.nn.functional.avg_pool2d(picture, 32) - low).abs().mean()
    after = (torch.nn.functional.avg_pool2d(model.consistent(picture, low), 32) - low).abs().mean()
    assert float(after) < 0.4 * float(before)


def test_flags_silence_what_is_missing() -> None:
    model = lively()
    identity = model.encode_stills(*stills())
    low, mel, hints, has = ticks()
    with torch.no_grad():
        for k in (0, 1):
            without = has.clone()
            without[:, k] = 0
            other = (mel, hints + 1) if k == 0 else (mel * -0.5, hints)
            a, b = model(identity, low, mel, hints, without), model(identity, low, *other, without)
            assert torch.equal(a.picture, b.picture)
            assert not torch.equal(a.picture, model(identity, low, mel, hints, has).picture)


def test_a_still_without_landmarks_works() -> None:
    model = lively()
    pictures, low, points = stills(2)
    identity = model.encode_stills(pictures, low, None)
    assert identity.points.shape == points.shape
    assert torch.isfinite(identity.points).all() and float(identity.points.detach().abs().max()) < 1.5
    some = model.encode_stills(pictures, low, points, torch.tensor([[0.0, 1.0]]))
    assert torch.equal(some.points[:, 1], points[:, 1]) and torch.equal(some.points[:, 0], identity.points[:, 0])


def test_identity_kept_for_many_ticks_gives_the_same_picture() -> None:
    torch.manual_seed(0)
    model = Upsampler(UpsamplerConfig(width=8)).eval()
    with torch.inference_mode():
        stills = torch.rand(1, 2, 3, 256, 256) * 2 - 1
        identity = model.encode_stills(stills, torch.rand(1, 2, 3, 8, 8), torch.rand(1, 2, 110, 2) - 0.5)
        tick = torch.rand(1, 5, 3, 8, 8), torch.rand(1, 80, 16), torch.rand(1, 12), torch.ones(1, 2)
        plain, kept = model(identity, *tick), model(identity.kept(), *tick, coarse=False)
    assert kept.coarse is None and plain.coarse is not None
    assert torch.allclose(plain.picture, kept.picture, atol=1e-4)
