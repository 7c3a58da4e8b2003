"""Both halves of the network as ONNX, opset 17: what other runtimes and browsers take."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from torch import Tensor, nn

from codec_models.hint_measure import measured
from codec_models.landmark_head import StillLandmarks
from codec_models.upsampler import IdentityFeatures, Upsampler, UpsamplerConfig

pytestmark = pytest.mark.unit

TINY = UpsamplerConfig(width=2, visual=4, visual_blocks=1, audio=8)


class Stills(nn.Module):
    def __init__(self, model: Upsampler) -> None:
        super().__init__()
        self.model = model

    def forward(self, stills: Tensor, low: Tensor, points: Tensor) -> tuple[Tensor, ...]:
        return self.model.encode_stills(stills, low, points).tensors()


class Tick(nn.Module):
    def __init__(self, model: Upsampler) -> None:
        super().__init__()
        self.model = model

    def forward(self, low: Tensor, mel: Tensor, hints: Tensor, has: Tensor, *identity: Tensor) -> tuple[Tensor, Tensor]:
        out = self.model(IdentityFeatures(*identity), low, mel, hints, has)
        return out.picture, out.points


def export_and_compare(model: nn.Module, inputs: tuple[Tensor, ...], path: Path) -> tuple[Tensor, ...]:
    model.eval()  # the exporter gives back the mode that it finds, and a fresh wrapper's is training: dropout
    with torch.no_grad():
        expected: tuple[Tensor, ...] = model(*inputs)
    names = [f"i{k}" for k in range(len(inputs))]
    torch.onnx.export(model, inputs, str(path), input_names=names, opset_version=17, dynamo=False)
    with suppress(ImportError):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        needed = {i.name for i in session.get_inputs()}
        feed = {n: t.numpy() for n, t in zip(names, inputs, strict=True) if n in needed}
        for ours, theirs in zip(expected, session.run(None, feed), strict=True):
            assert np.abs(ours.numpy() - theirs).max() < 1e-3
    return expected


@pytest.mark.filterwarnings("ignore")  # of the exporter, about itself
@pytest.mark.parametrize("count", [1, 2])
def test_both_halves_export(tmp_path: Path, count: int) -> None:
    pytest.importorskip("onnx", reason="torch.onnx.export needs onnx", exc_type=ImportError)
    torch.manual_seed(0)
    model = Upsampler(TINY).eval().requires_grad_(False)
    # faces and soft pictures: noise would turn the last digit of a motion into a difference that is seen
    face = StillLandmarks(8).mean.detach()
    pictures = torch.nn.functional.interpolate(torch.rand(count, 3, 16, 16), size=256, mode="bilinear")[None]
    stills = (pictures, torch.rand(1, count, 3, 8, 8), face + 0.02 * torch.randn(1, count, 110, 2))
    identity = export_and_compare(Stills(model), stills, tmp_path / "stills.onnx")
    hints = measured(face)[None] + 0.1 * torch.randn(1, 12)
    tick = (torch.rand(1, 5, 3, 8, 8), torch.rand(1, 80, 16), hints, torch.ones(1, 2))
    export_and_compare(Tick(model), (*tick, *identity), tmp_path / "tick.onnx")
