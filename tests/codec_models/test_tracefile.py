from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import pytest

from codec_models.errors import UserError
from codec_models.tracefile import TraceFile

pytestmark = pytest.mark.unit


def test_lines_of_several_threads_all_arrive_and_the_old_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("something old\n")
    trace = TraceFile(path, print)

    def write(which: int) -> None:
        for k in range(200):
            trace.write({"which": which, "k": k, "at": 1.23456789, "none": None})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    trace.close()
    trace.close()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == 800 and lines[0].keys() == {"which", "k", "at"} and lines[0]["at"] == 1.234568
    for n in range(4):
        assert [line["k"] for line in lines if line["which"] == n] == list(range(200))


def test_an_older_file_survives_a_call_that_never_comes(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("precious\n")
    TraceFile(path, print).close()
    assert path.read_text() == "precious\n"


def test_an_unwritable_path_is_told_before_the_call(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "t.jsonl"):
        with pytest.raises(UserError, match="cannot write the trace"):
            TraceFile(path, print)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_ends_the_trace_with_one_line() -> None:
    said: list[str] = []
    told = threading.Event()

    def warn(line: str) -> None:
        said.append(line)
        told.set()

    trace = TraceFile(Path("/dev/full"), warn)
    trace.write({"k": 1})
    assert told.wait(5)
    trace.write({"k": 2})
    trace.close()
    assert len(said) == 1 and "trace stopped" in said[0] and "No space left" in said[0]


def test_nothing_grows_while_the_disk_is_slow(tmp_path: Path) -> None:
    trace = TraceFile(tmp_path / "t.jsonl", lambda line: print(line, file=sys.stderr))
    for k in range(30_000):
        trace.write({"k": k})
    assert len(trace._lines) <= 10_000
    trace.close()
