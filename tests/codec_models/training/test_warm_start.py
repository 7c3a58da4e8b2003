from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from codec_models.errors import UserError
from codec_models.training.warm_start import warm_start
from codec_models.upsampler import Upsampler, UpsamplerConfig, still_part

pytestmark = pytest.mark.unit

WIDTH = 2
TINY = UpsamplerConfig(width=WIDTH, visual=4, visual_blocks=1)


def prototype(w: int = WIDTH) -> dict[str, Tensor]:
    """Weights of the prototype's names and shapes, small random numbers."""
    c, shapes = 8 * w, dict[str, tuple[int, ...]]()

    def conv(name: str, i: int, o: int, k: int = 3) -> None:
        shapes.update({f"{name}.weight": (o, i, k, k), f"{name}.bias": (o,)})

    def linear(name: str, i: int, o: int) -> None:
        shapes.update({f"{name}.weight": (o, i), f"{name}.bias": (o,)})

    def res(name: str, n: int) -> None:
        conv(name + ".a", n, n), conv(name + ".b", n, n)

    sides = (w, 2 * w, 4 * w, 6 * w, 8 * w)
    conv("still.c0", 3, w)
    for k in range(1, 5):
        conv(f"still.d{k}", sides[k - 1], sides[k])
        for name in (f"still.r{k}.0", f"still.r{k}.1") if k in (2, 4) else (f"still.r{k}",):
            res(name, sides[k])
    conv("low.0", 18, c), res("low.1", c), res("low.2", c)
    shapes.update({"audio.0.weight": (64, 80, 3), "audio.0.bias": (64,)})
    shapes.update({"audio.2.weight": (64, 64, 3), "audio.2.bias": (64,)})
    linear("audio.5", 256, c), linear("cond", 6, c), linear("lm_low", 64 * c, 256), linear("lm_still", 226, 256)
    linear("lm.1", 256, 256), linear("lm.3", 256, 256), linear("lm.5", 256, 220)
    shapes.update({"log_sharp": (), "log_bg": (), "pos": (1, c, 16, 16)})
    conv("up16.c", c, 4 * c)
    for k in range(2):
        conv(f"attn.{k}.q", c, c, 1), conv(f"attn.{k}.kv", c, 2 * c, 1), conv(f"attn.{k}.o", c, c, 1)
        res(f"mix.{k}", c)
    conv("up32.c", c, 24 * w), conv("f32.0", 12 * w, 6 * w), res("f32.1", 6 * w)
    conv("up64.c", 6 * w, 16 * w), conv("f64.0", 8 * w + 2, 4 * w), res("f64.1", 4 * w), conv("flow", 4 * w, 2)
    conv("g64.0", 12 * w, 4 * w), res("g64.1", 4 * w), res("g64.2", 4 * w)
    conv("up128.c", 4 * w, 8 * w), conv("g128.0", 6 * w, 2 * w), res("g128.1", 2 * w)
    conv("up256.c", 2 * w, 4 * w), conv("g256.0", 2 * w + 6, w), conv("g256.2", w, w), conv("g256.4", w, 4)
    g = torch.Generator().manual_seed(1)
    return {k: 0.1 * torch.randn(s, generator=g) for k, s in shapes.items()}


def test_all_of_the_prototype_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    old = prototype()
    save_file({k: v.half() for k, v in old.items()}, path)
    model = Upsampler(TINY)
    taken = warm_start(model, path)
    assert len(taken) == len(set(taken))
    # every weight but one has found a place: what was cut along its inputs is counted in its parts
    mine = dict(model.named_parameters())
    new = sum(mine[n].numel() for n in taken)
    surplus = 8 * (8 * WIDTH + 256)  # hints and changes that it did not know
    assert new - surplus == sum(v.numel() for v in old.values()) - 1
    assert any(map(still_part, taken)) and not all(map(still_part, taken))


def test_parts_add_up_to_what_the_prototype_computed(tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    old = prototype()
    save_file(old, path)
    model = Upsampler(TINY).eval()
    warm_start(model, path)
    torch.manual_seed(0)
    low, still_low = torch.randn(1, 5, 3, 8, 8), torch.randn(1, 3, 8, 8)
    stacked = torch.cat([((low - still_low[:, None]) * 2).flatten(1, 2), still_low], 1)
    theirs = torch.conv2d(stacked, old["low.0.weight"], old["low.0.bias"], padding=1)
    ours = model.visual.span(2 * low.transpose(1, 2)).squeeze(2) + model.visual.remember(still_low)
    assert torch.allclose(ours, theirs, atol=1e-5)

    w = WIDTH
    x, a, b = torch.randn(1, 4 * w, 64, 64), torch.randn(1, 4 * w, 64, 64), torch.randn(1, 2, 64, 64)
    theirs = torch.conv2d(torch.cat([x, a, b], 1), old["f64.0.weight"], old["f64.0.bias"], padding=1)
    ours = model.decoder.join64(torch.cat([x, b], 1)) + model.still.at64(a)
    assert torch.allclose(ours, theirs, atol=1e-5)

    x, a, b = torch.randn(1, w, 64, 64), torch.randn(1, w + 3, 64, 64), torch.randn(1, 3, 64, 64)
    theirs = torch.conv2d(torch.cat([x, a, b], 1), old["g256.0.weight"], old["g256.0.bias"], padding=1)
    ours = model.decoder.fuse256(x) + model.still.moved256(a) + model.still.fixed256(b)
    assert torch.allclose(ours, theirs, atol=1e-5)

    hints, flags = torch.randn(1, 4), torch.ones(1, 2)
    theirs = torch.nn.functional.linear(torch.cat([hints, flags], 1), old["cond.weight"], old["cond.bias"])
    ours = model.condition(torch.cat([hints, torch.zeros(1, 8), flags], 1))
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", ["width", "lacks", "text"])
def test_other_files_are_refused_and_change_nothing(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "old.safetensors"
    old = prototype(4 if kind == "width" else WIDTH)
    if kind == "lacks":
        del old["pos"]
    save_file(old, path)
    if kind == "text":
        path.write_text("not weights")
    model = Upsampler(TINY)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(UserError) as caught:
        warm_start(model, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
