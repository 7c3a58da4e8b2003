"""The throughput benchmark: what it counts, how it searches, what it writes and refuses."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="work and peaks are measured with torch: pip install -e '.[training]'")

from numpy.typing import NDArray

from benchmarks import limits, throughput
from benchmarks.limits import Limit, Limits, Peaks, work
from benchmarks.runtimes import BACKENDS, Missing, Runtime, runtimes
from benchmarks.shared_calls import DEADLINE_MS, Calls, Held, most_calls
from codec_models.engines.batch import Batch, BatchConfig
from codec_models.engines.engine import NETWORKS, Arrays, Engine
from codec_models.engines.tick_row import TickRow
from codec_models.errors import UserError

pytestmark = pytest.mark.unit


def test_work_is_counted() -> None:
    layer = torch.nn.Conv2d(4, 8, 3, padding=1)
    counted = work(layer, {"x": torch.rand(1, 4, 16, 16)})
    assert counted.gflop == pytest.approx(2 * 4 * 8 * 9 * 256 / 1e9)
    parameters, given, made = 8 * 4 * 9 + 8, 4 * 256, 8 * 256
    assert counted.mb_least == pytest.approx(4 * (parameters + given + made) / 1e6)
    assert counted.mb_moved == pytest.approx(counted.mb_least)

    class Two(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(8, 8).t() + 1

    views = work(Two(), {"x": torch.rand(64)})
    assert views.gflop == 0 and views.mb_moved == pytest.approx(2 * 256 / 1e6)


def test_every_network_has_its_work() -> None:
    counted = Limits()
    counted.peaks = Peaks(0.01)
    found = {network: counted.of(network, "cpu", "fp32") for network in (*NETWORKS, throughput.WHOLE)}
    whole, parts = found[throughput.WHOLE], ("tick", "mouth", "teeth")
    assert whole.gflop == pytest.approx(sum(found[n].gflop for n in parts), rel=0.01)
    assert 1 < whole.gflop < 4 and all(limit.mb_least > 0 for limit in found.values())
    assert found["teeth"].gflops == found["tick"].gflops and (whole.gflops or 0) > 1 and whole.gbytes > 0.1


def test_shares_are_of_what_binds() -> None:
    arithmetic = Limit(2.0, 10.0, 100.0, 100.0, 50.0).shares(40.0)
    assert arithmetic["share_of_peak"] == pytest.approx(0.5) == arithmetic["share_of_limit"]
    memory = Limit(0.1, 500.0, 900.0, 100.0, 50.0).shares(40.0)
    assert memory["limit_ms"] == pytest.approx(10.0) and memory["share_of_limit"] == pytest.approx(0.25)
    assert memory["share_of_peak"] == pytest.approx(0.025)
    assert "share_of_peak" not in Limit(1.0, 1.0, 1.0, None, 50.0).shares(1.0)


def test_rows() -> None:
    limit = Limit(2.0, 10.0, 100.0, 100.0, 50.0)
    made = throughput.row("tick", "torch fp32", "fp32", "cpu", 4, [10.0, 20.0, 30.0], limit)
    assert made["codec"] == "tick torch fp32 x4" and made["ms_p50"] == 20 and made["ticks_per_s"] == pytest.approx(200)
    assert made["share_of_peak"] == pytest.approx(4.0) and made["runs"] == 3
    assert throughput.row("tick", "torch fp32", "fp32", "cpu", 1, [10.0], limit)["codec"] == "tick torch fp32"


def test_shares_are_of_the_precision_that_is_computed_in() -> None:
    by = {r.name: r for r in runtimes()}
    computed = throughput.computed_in
    assert computed("tick", by["openvino int8"]) == "int8" == computed(throughput.WHOLE, by["openvino int8"])
    assert computed("still", by["openvino int8"]) == "fp32" == computed("mouth", by["torch bf16"])
    assert computed("still", by["torch bf16"]) == "bf16"


def test_a_measurement_has_some_runs_however_short() -> None:
    calls: list[int] = []
    assert len(throughput.timed(lambda: calls.append(1), 0.0)) == throughput.LEAST_RUNS
    assert len(calls) == throughput.LEAST_RUNS + throughput.WARM_UPS


class Upto:
    """Holds so many calls, all others badly; fails the first attempt at some."""

    def __init__(self, most: int, first_fails: Sequence[int] = ()) -> None:
        self.most, self.asked = most, list[int]()
        self._fails = set(first_fails)

    def hold(self, calls: int, seconds: float) -> Held:
        self.asked.append(calls)
        bad = calls > self.most or calls in self._fails
        self._fails.discard(calls)
        return Held(calls, [2 * DEADLINE_MS if bad else 10.0] * 200, 50 if bad else 0)


@pytest.mark.parametrize(("most", "limit"), [(0, 8), (1, 8), (5, 8), (8, 8), (37, 256), (200, 256), (1, 1), (256, 256)])
def test_the_most_calls_are_found(most: int, limit: int) -> None:
    holding = Upto(most)
    tried = most_calls(holding, limit, 1.0)
    good = max((h.calls for h in tried if h.well), default=0)
    assert good <= most <= good + max(1, good // 16) and max(holding.asked) <= limit
    assert len(holding.asked) < 30
    if most <= 16:
        assert good == most


def test_what_fails_is_tried_once_more() -> None:
    tried = most_calls(Upto(4, first_fails=(2, 4)), 8, 1.0)
    assert max(h.calls for h in tried if h.well) == 4


def test_calls_are_well_served_in_time_and_nearly_all() -> None:
    assert Held(1, [10.0] * 100).well
    assert not Held(1, [10.0] * 97 + [50.0] * 3).well
    assert not Held(1, [10.0] * 100, missed=2).well
    assert not Held(1).well


class Counting:
    """A device that draws at once, and fails where it is told to."""

    backend, device, slots, sizes, still_bytes = "counting", "cpu", 4, (1, 2, 3, 4), 1

    def __init__(self) -> None:
        self.drawn: dict[int, int] = {}
        self.fail = threading.Event()

    def free_memory(self) -> int | None:
        return None

    def run(self, network: str, inputs: Mapping[str, Any]) -> Arrays:
        return {"memory": np.zeros(1)}

    def numpy(self, array: Any) -> NDArray[Any]:
        return np.asarray(array)

    def draw(self, rows: Sequence[TickRow]) -> Sequence[NDArray[np.uint8]]:
        if self.fail.is_set():
            raise ValueError("told to")
        for row in rows:
            self.drawn[row.slot] = self.drawn.get(row.slot, 0) + 1
        return [np.zeros((256, 256, 3), np.uint8) for _ in rows]


def test_simulated_calls_get_all_their_ticks() -> None:
    device = Counting()
    batch = Batch(device, BatchConfig(deadline=1e6))
    calls = Calls(batch)
    device.drawn.clear()
    held = calls.hold(3, 0.2)
    # 5 ticks of each, and one before that takes the still over
    assert held.calls == 3 and len(held.ms) == 15 and sum(device.drawn.values()) >= 18 - held.missed
    assert set(device.drawn) == {0, 1, 2}
    device.fail.set()
    with pytest.raises(ValueError, match="told to"):
        calls.hold(1, 0.1)
    device.fail.clear()
    calls.close()
    assert batch.calls == 0
    batch.close()


def test_what_cannot_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def absent(threads: int) -> Engine:
        raise ImportError("no such thing", name="wonder")

    def refused(threads: int) -> Engine:
        raise UserError("not on this machine")

    plan = throughput.Plan(1, 0.0, 0.0)
    counted = Limits()
    counted.peaks = Peaks(0.01)
    with throughput.Progress(1, "measurements") as show:
        for make in (absent, refused):
            throughput.measure(Runtime("onnx", "fp32", make), plan, counted, show)
    assert plan.missing == [
        Missing("onnx fp32", "wonder is not installed"),
        Missing("onnx fp32", "not on this machine"),
    ]
    throughput.tell(plan, counted)
    assert "onnx fp32: not measured: wonder is not installed" in capsys.readouterr().out


def test_all_runtimes_are_in_one_list() -> None:
    names = [runtime.name for runtime in runtimes()]
    assert len(set(names)) == len(names) and {r.backend for r in runtimes()} == set(BACKENDS)
    assert {r.backend for r in runtimes(["onnx"])} == {"onnx"}
    assert not any(r.together for r in runtimes() if r.backend in ("onnx", "openvino"))


@pytest.mark.slow
def test_the_whole_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install -e '.[receiver]'")
    monkeypatch.setattr(throughput, "LEAST_CALL_S", 0.2)
    monkeypatch.setattr(limits, "PEAK_S", 0.02)
    out = tmp_path / "throughput.json"
    assert throughput.main(["--backends", "onnx,tensorrt", "--seconds", "2", "--json", str(out)]) == 0
    written = json.loads(out.read_text())
    rows = [row for row in written["rows"] if "network" in row]
    calls = [row for row in written["rows"] if "calls_held" in row]
    assert {row["network"] for row in rows} == {*NETWORKS, "whole tick"}
    for row in rows:
        assert 0 < row["ms_p50"] <= row["ms_p95"] and row["ticks_per_s"] > 0 and row["mb_least"] > 0
        assert row["gflop"] >= 0 and row["batch"] == 1
    assert {row["backend"] for row in rows} == {row["backend"] for row in calls} == {"onnxruntime fp32"}
    for row in calls:
        assert 0 <= row["calls_held"] <= throughput.CPU_CALLS and row["calls_admitted"] >= 1 and row["rss_mb"] > 50
    missing = {entry["name"]: entry["reason"] for entry in written["not_measured"]}
    if not torch.cuda.is_available():
        assert "tensorrt fp16 on a GPU" in missing and "no NVIDIA GPU" in missing["paper sizes"]
    assert written["settings"]["threads"] == 1 and written["settings"]["peak_gflops"]["cpu fp32"] > 1
    assert "calls held" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--seconds", "0"], "choose 1 to"),
        (["--seconds", "1e9"], "choose 1 to"),
        (["--threads", "0"], "--threads 0"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        throughput.main(arguments)


def test_a_backend_that_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        throughput.main(["--backends", "abacus"])
    assert "abacus" in capsys.readouterr().err
