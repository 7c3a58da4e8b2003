from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from torch import nn

from codec_models.training.average import follow

pytestmark = pytest.mark.unit


def level(value: float) -> nn.Module:
    layer = nn.BatchNorm1d(1)
    for p in layer.parameters():
        nn.init.constant_(p, value)
    return layer


def test_it_follows_quickly_at_first_and_slowly_later() -> None:
    first, later = level(0.0), level(0.0)
    follow(first, level(1.0), 0.99, 0)
    follow(later, level(1.0), 0.99, 100_000)
    assert float(first.weight.detach()) == pytest.approx(1 - 1 / 20)
    assert float(later.weight.detach()) == pytest.approx(0.01, rel=1e-4)


def test_buffers_are_taken_over() -> None:
    average, network = level(0.0), level(0.0)
    network.running_mean.fill_(3.0)
    follow(average, network, 0.999, 50, 50)
    assert average.running_mean.tolist() == [3.0]
