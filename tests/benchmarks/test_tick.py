"""The tick benchmark on the built-in source: what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[receiver]'")

from benchmarks import tick
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


def test_both_precisions_are_measured_with_and_without_teeth(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "_CLIP_TICKS", 12)
    out = tmp_path / "tick.json"
    assert tick.main(["--ticks", "20", "--json", str(out)]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert [("bf16" in row["codec"], "teeth" in row["codec"]) for row in rows] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["still_ms"] > 0
    assert "tick p50" in capsys.readouterr().out


def test_too_few_ticks_and_missing_weights_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tick, "_CLIP_TICKS", 12)
    with pytest.raises(UserError, match="at least 20"):
        tick.main(["--ticks", "3"])
    with pytest.raises(UserError, match="no trained weights"):
        tick.main(["--ticks", "20", "--weights", str(tmp_path / "absent.safetensors")])
