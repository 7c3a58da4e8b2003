from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from torch import Tensor
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from codec_models.errors import UserError
from codec_models.interpolation import HINTS, Interpolation, Keys, load_interpolation, moved
from codec_models.slow_stream import FRAMES, INTERVAL

pytestmark = pytest.mark.unit


def network(seed: int = 0, changes: bool = True) -> Interpolation:
    torch.manual_seed(seed)
    model = Interpolation().eval()
    if changes:  # a fresh one changes nothing
        torch.nn.init.normal_(model.change.weight, std=0.05)
    return model


def received(model: Interpolation, batch: int = 2, seed: int = 1, times: Tensor | None = None) -> Keys:
    g = torch.Generator().manual_seed(seed)
    frames = torch.rand(batch, FRAMES, 3, 8, 8, generator=g) * 2 - 1
    if times is None:
        times = torch.arange(FRAMES, dtype=torch.float32)[None] * INTERVAL
    hints = torch.rand(batch, FRAMES, HINTS, generator=g) * 0.1
    return model.encode(frames, times.expand(batch, -1), hints, torch.ones(batch, FRAMES))


def asked(
    model: Interpolation, keys: Keys, times: list[float], hints: Tensor | None = None, has: float = 1.0
) -> Tensor:
    b, q = len(keys.frames), len(times)
    told = torch.zeros(b, q, HINTS) if hints is None else hints
    return model.at(keys, torch.tensor(times).expand(b, -1), told, torch.full((b, q), has))


def test_five_frames_become_twenty_five_with_about_two_hundred_thousand_parameters() -> None:
    model = network()
    assert 0.15e6 < sum(p.numel() for p in model.parameters()) < 0.25e6
    with torch.no_grad():
        made = asked(model, received(model), [float(t) for t in range(FRAMES * INTERVAL)])
    assert made.shape == (2, 25, 3, 8, 8) and bool(torch.isfinite(made).all())


def test_untrained_it_is_linear_interpolation_and_holds_the_last_frame() -> None:
    model = network(changes=False)
    keys = received(model)
    with torch.no_grad():
        made = asked(model, keys, [0.0, 2.0, 5.0, 17.5, 20.0, 23.0])
    f = keys.frames
    wanted = [f[:, 0], 0.6 * f[:, 0] + 0.4 * f[:, 1], f[:, 1], (f[:, 3] + f[:, 4]) / 2, f[:, 4], f[:, 4]]
    assert_close(made, torch.stack(wanted, 1))


def test_a_lost_frame_makes_the_gap_twice_as_long() -> None:
    model = network(changes=False)
    keys = received(model, times=torch.tensor([[0.0, 5, 10, 20, 25]]))
    with torch.no_grad():
        made = asked(model, keys, [12.0])
    assert_close(made[:, 0], 0.8 * keys.frames[:, 2] + 0.2 * keys.frames[:, 3])


def test_only_differences_of_times_count() -> None:
    model = network()
    a, b = received(model), received(model, times=torch.arange(FRAMES)[None] * 5.0 + 1000)
    with torch.no_grad():
        assert_close(asked(model, a, [3.0, 18.0, 22.0]), asked(model, b, [1003.0, 1018.0, 1022.0]))


def test_a_prediction_ahead_knows_no_later_frame_and_one_before_the_newest_does() -> None:
    model = network()
    keys = received(model)
    other = received(model, seed=2)
    mixed = torch.cat([keys.frames[:, :4], other.frames[:, 4:]], 1)
    changed = model.encode(mixed, keys.times, keys.hints, keys.has)
    without = model.encode(keys.frames[:, [0, 0, 1, 2, 3]], keys.times[:, [0, 0, 1, 2, 3]], keys.hints, keys.has)
    with torch.no_grad():
        assert (asked(model, keys, [17.0]) - asked(model, changed, [17.0])).abs().max() > 0.01
        # what is asked of the frames that had come by then cannot know of one that came later
        assert_close(asked(model, without, [17.0]), asked(model, without, [17.0]))
        assert (asked(model, keys, [17.0]) - asked(model, without, [17.0])).abs().max() > 0.01


def test_far_ahead_the_prediction_holds() -> None:
    model = network()
    keys = received(model)
    with torch.no_grad():
        near, far, farther = asked(model, keys, [28.0, 30.0, 90.0]).unbind(1)
    assert_close(far, farther)
    assert (near - far).abs().max() > 1e-4


def test_hints_move_the_picture_only_where_they_are_known() -> None:
    model = network()
    keys = received(model)
    turned = torch.zeros(2, 1, HINTS)
    turned[..., 6] = 0.1
    with torch.no_grad():
        told = [asked(model, keys, [22.0], h) for h in (torch.zeros(2, 1, HINTS), turned)]
        untold = [asked(model, keys, [22.0], h, has=0.0) for h in (torch.zeros(2, 1, HINTS), turned)]
    assert (told[0] - told[1]).abs().max() > 1e-3
    assert_close(untold[0], untold[1])


def test_everything_moves_with_the_head() -> None:
    ramp = torch.linspace(-1, 1, 8).expand(1, 3, 8, 8).contiguous()
    hints, move = torch.zeros(1, HINTS), torch.zeros(1, HINTS)
    hints[0, 6:9] = torch.tensor([0.5, 0.5, -1.5])
    assert_close(moved(ramp, hints, move), ramp)
    move[0, 6] = 1 / 8  # one pixel to the right since the frame
    assert_close(moved(ramp, hints, move)[..., 1:], ramp[..., :-1])


def test_gradients_reach_every_parameter() -> None:
    model = network()
    asked(model, received(model), [3.0, 21.0]).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_tick_is_cheap() -> None:
    model = network()
    with torch.no_grad():
        with FlopCounterMode(display=False) as whole:
            keys = received(model, 1)
        with FlopCounterMode(display=False) as tick:
            asked(model, keys, [22.0])
    assert whole.get_total_flops() / INTERVAL + tick.get_total_flops() < 40e6


def test_weights_that_do_not_fit_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no trained weights"):
        load_interpolation(tmp_path / "absent.safetensors")
