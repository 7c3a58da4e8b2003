from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from codec_models.engines.engine import NETWORKS
from codec_models.engines.files import FOLDER, checked, onnx_path, weights_digest, weights_of
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("network", NETWORKS)
def test_the_shipped_files_belong_to_the_shipped_weights(network: str) -> None:
    assert checked(network) == onnx_path(network)
    if onnx_path(network, True).exists():
        assert checked(network, True).name == f"{network}.int8.onnx"
    # structure alone: the weights stay where torch has them
    assert onnx_path(network).stat().st_size < 600_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in (onnx_path("teeth"), FOLDER / "teeth.safetensors"):
        shutil.copy(path, tmp_path)
    return tmp_path


def test_other_weights_are_refused(folder: Path) -> None:
    assert checked("teeth", folder=folder) == folder / "teeth.onnx"
    weights = folder / f"{weights_of('teeth')}.safetensors"
    before = weights_digest("teeth", folder)
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert weights_digest("teeth", folder) != before
    with pytest.raises(UserError, match=r"teeth\.onnx does not belong"):
        checked("teeth", folder=folder)


@pytest.mark.parametrize("what", ["the network", "the weights", "huge"])
def test_what_is_missing_or_no_network_gets_one_line(folder: Path, what: str) -> None:
    if what == "huge":
        with (folder / "teeth.onnx").open("ab") as file:
            file.truncate(40 << 20)
    else:
        (folder / ("teeth.onnx" if what == "the network" else "teeth.safetensors")).unlink()
    with pytest.raises(UserError) as caught:
        checked("teeth", folder=folder)
    assert "\n" not in str(caught.value) and str(folder) in str(caught.value)
