"""Calibration on small made-up clips, into a folder of the test's own."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")
pytest.importorskip("onnx", reason="calibrating needs onnx: pip install -e '.[dev]'", exc_type=ImportError)
pytest.importorskip("onnxruntime", reason="calibrating needs onnxruntime: pip install -e '.[receiver]'")

from codec_models.engines.engine import NETWORKS
from codec_models.engines.files import FOLDER, checked, onnx_path
from codec_models.engines.quantise import QUANTISED
from codec_models.engines.torch_engine import TorchEngine
from codec_models.training.calibration import calibrate, network_inputs
from codec_models.training.corpus import Corpus
from codec_models.training.data import WindowSampler

pytestmark = [pytest.mark.unit, pytest.mark.slow]


def test_inputs_are_those_of_a_call(corpus: Corpus) -> None:
    engine = TorchEngine(bfloat16=False)
    for made in network_inputs(WindowSampler(corpus, seed=1), 3, engine):
        assert set(made) == set(QUANTISED)
        for network, feed in made.items():
            assert {name: value.shape for name, value in feed.items()} == {
                name: (1, *shape) for name, shape in NETWORKS[network].inputs.items()
            }
            assert all(np.isfinite(value).all() for value in feed.values())
        drawn = engine.run("tick", {name: torch.from_numpy(value) for name, value in made["tick"].items()})
        assert float(drawn["picture"].std()) > 0.05


def test_files_are_written_beside_the_weights(corpus: Corpus, tmp_path: Path) -> None:
    for path in (*(onnx_path(network) for network in QUANTISED), *FOLDER.glob("*.safetensors")):
        shutil.copy(path, tmp_path)
    paths = calibrate(WindowSampler(corpus), 2, tmp_path)
    assert paths == [checked(network, True, tmp_path) for network in QUANTISED]
