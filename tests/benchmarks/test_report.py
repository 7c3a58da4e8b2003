"""The JSON of the benchmarks, and their tables."""

from __future__ import annotations

import io
import json
import platform
from pathlib import Path

import pytest

from benchmarks.progress import Progress
from benchmarks.report import document, machine, mean_rows, settings, table, write_json
from codec_models.errors import UserError

pytestmark = pytest.mark.unit

ROWS = [
    {"codec": "ours-25", "clip": "a", "kbps": 2.0, "psnr": 30.0},
    {"codec": "ours-25", "clip": "b", "kbps": 4.0},
    {"codec": "av1", "clip": "a", "kbps": 8.0, "psnr": float("nan")},
]


def test_mean_is_per_codec_and_per_figure() -> None:
    assert mean_rows(ROWS) == {"ours-25": {"kbps": 3.0, "psnr": 30.0}, "av1": {"kbps": 8.0}}


def test_document_is_json_with_the_four_parts(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.json"
    write_json(path, document(ROWS, settings(frames=10)))
    read = json.loads(path.read_text())
    assert {"settings", "machine", "rows", "mean"} <= read.keys()
    assert read["settings"]["frames"] == 10
    assert read["settings"]["command"].startswith("python ")
    assert read["settings"]["versions"]["av"]
    assert read["rows"][0] == {"codec": "ours-25", "clip": "a", "kbps": 2.0, "psnr": 30.0}
    assert read["rows"][2]["psnr"] is None
    assert list(path.parent.iterdir()) == [path]


def test_machine_names_hardware_and_not_the_host() -> None:
    described = machine()
    assert set(described) == {"cpu", "cores", "python", "os"}
    assert described["cores"] >= 1
    node = platform.node()
    assert not node or node not in json.dumps(described)


def test_json_that_cannot_be_written_is_one_plain_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="--json"):
        write_json(tmp_path / "file" / "out.json", {})


def test_table_aligns_and_shows_what_is_missing() -> None:
    text = table(ROWS, {"codec": "codec", "kbps": "kb/s|.1f", "psnr": "PSNR|.2f"})
    head, rule, first, second, third = text.splitlines()
    assert head.split() == ["codec", "kb/s", "PSNR"]
    assert set(rule) == {"-", " "}
    assert first.split() == ["ours-25", "2.0", "30.00"]
    assert second.split() == ["ours-25", "4.0", "-"]
    assert third.split() == ["av1", "8.0", "-"]
    assert len({len(line) for line in (rule, first)}) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_redraws_one_line_on_a_terminal() -> None:
    out = Terminal()
    with Progress(2, "work", out) as bar:
        bar.step("one")
        bar.step("two")
    assert "\n" not in out.getvalue()
    assert "100 %" in out.getvalue() and "two" in out.getvalue()
    assert out.getvalue().endswith("\r\x1b[K")


def test_progress_writes_few_plain_lines_elsewhere() -> None:
    out = io.StringIO()
    with Progress(1000, "work", out) as bar:
        for _ in range(1000):
            bar.step()
    lines = out.getvalue().splitlines()
    assert lines[-1] == "work: 1000 of 1000"
    assert len(lines) <= 3
    assert "\r" not in out.getvalue()
