from __future__ import annotations

from pathlib import Path

import pytest

from codec_models.engines import __main__ as engines
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


@pytest.mark.slow
def test_the_list_names_every_engine_once_a_precision(capsys: pytest.CaptureFixture[str]) -> None:
    assert engines.main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    working = [line for line in lines if " ms (one thread" in line]
    assert any(line.startswith("openvino fp32 on cpu: off by ") for line in working)
    assert any("ONNX Runtime int8: the precision of ONNX Runtime is fp32" in line for line in lines)
    assert all(line.count(":") >= 1 and len(line) < 250 for line in lines)


def test_an_export_without_weights_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="exporting needs torch: pip install -e '.[training]'")
    pytest.importorskip("onnx", reason="exporting needs onnx: pip install -e '.[dev]'", exc_type=ImportError)
    with pytest.raises(UserError, match=r"upsampler\.safetensors") as caught:
        engines.main(["export", "--folder", str(tmp_path)])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("arguments", [[], ["nothing"], ["list", "more"]])
def test_other_words_get_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((SystemExit, UserError)):
        engines.parse(arguments)
