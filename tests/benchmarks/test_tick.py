"""The tick benchmark on the built-in source: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("openvino", reason="needs openvino: pip install -e '.[receiver]'")

from benchmarks import tick
from codec_models.engines import choice
from codec_models.engines.choice import Candidate
from codec_models.engines.engine import Engine
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


def test_every_runtime_is_measured_with_and_without_teeth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "_CLIP_TICKS", 12)
    out = tmp_path / "tick.json"
    assert tick.main(["--ticks", "20", "--backends", "openvino,onnx", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    names = [row["codec"] for row in rows]
    assert {"openvino fp32 + teeth", "openvino int8", "onnxruntime fp32"} <= set(names) and len(names) % 2 == 0
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] and row["still_ms"] > 0
        assert row["over_reference"] is None, "torch was not among them"
    by_name = {row["codec"]: row["psnr"] for row in rows}
    assert by_name["openvino fp32"] == pytest.approx(by_name["onnxruntime fp32"], abs=0.01)
    assert by_name["openvino int8"] == pytest.approx(by_name["openvino fp32"], abs=0.3)
    assert by_name["openvino fp32"] > 15
    told = capsys.readouterr().out
    assert "tick p50" in told and "memory grew by" in told and "ONNX Runtime int8" in told


def test_what_tells_nothing_or_is_unknown_is_one_line() -> None:
    with pytest.raises(UserError, match="at least 20"):
        tick.main(["--ticks", "3"])
    with pytest.raises(UserError, match="no backend called cuda"):
        tick.main(["--ticks", "20", "--backends", "cuda"])


def test_without_any_runtime_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(precision: str | None, threads: int) -> Engine:
        raise ModuleNotFoundError(name="openvino")

    made = [Candidate("openvino", "OpenVINO", missing)]
    monkeypatch.setattr(tick, "candidates", lambda: iter(made))
    monkeypatch.setattr(choice, "candidates", lambda: iter(made))
    with pytest.raises(UserError, match="needs the package openvino"):
        tick.main(["--ticks", "20"])
