from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from torch.nn import functional

from codec_models.layers import CrossAttention, Picture8x8, TimeConv, channels_last, conv

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kernel, valid", [((3, 3, 3), False), ((5, 3, 3), True), ((5, 1, 1), True)])
def test_time_convolution_is_a_3d_convolution(kernel: tuple[int, int, int], valid: bool) -> None:
    torch.manual_seed(0)
    layer = TimeConv(3, 4, kernel, valid)
    x = torch.randn(2, 3, 5, 8, 8)
    plain = functional.conv3d(x, layer.weight, layer.bias, padding=layer.padding)
    assert layer(x).shape == plain.shape
    assert torch.allclose(layer(x), plain, atol=1e-5)


def test_enlargement_is_bicubic() -> None:
    low = torch.rand(2, 3, 8, 8)
    plain = functional.interpolate(low, size=256, mode="bicubic", align_corners=False)
    assert torch.allclose(Picture8x8()(low), plain, atol=1e-5)


def test_attention_of_several_stills_is_over_all_their_tokens() -> None:
    torch.manual_seed(0)
    layer = CrossAttention(8)
    x, still = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
    one = layer.remember(still)
    assert torch.allclose(layer(x, one), layer(x, torch.cat([one, one], 1)), atol=1e-5)
    assert not torch.allclose(layer(x, one), layer(x, layer.remember(still * 2)), atol=1e-3)


def test_channels_last_changes_no_number() -> None:
    torch.manual_seed(0)
    layer = conv(8, 4)
    x = torch.randn(1, 8, 16, 16)
    before = layer(x)
    assert torch.allclose(channels_last(layer)(x), before, atol=1e-5)
    assert layer.weight.is_contiguous(memory_format=torch.channels_last)
