"""The two sides' lines are joined to latencies whose stages add up; hand-made lines."""

from __future__ import annotations

import pytest

from benchmarks.ticktimes import STAGES, Joined, TickTimes, of_h264, of_ours, percentiles, summary

pytestmark = pytest.mark.unit

SENT = {"tick": 7, "position": 0, "clock": 1000, "pictured": True, "captured": 10.0, "began": 10.001,
        "cropped": 10.006, "encoded": 10.008, "sent": 10.009}  # fmt: skip
SHOWN = {"stream": 1, "tick": 2, "clock": 1003, "pictured": True, "captured": 9.997, "arrived": 10.010,
         "played": 10.020, "decoded": 10.021, "voice": 10.05, "queued": 10.023, "interpolated": 10.024,
         "upsampled": 10.040, "restored": 10.045, "shown": 10.046}  # fmt: skip


def milliseconds(tick: TickTimes) -> dict[str, float]:
    return {stage: round(1e3 * value, 6) for stage, value in tick.stages.items() if value}


def test_a_tick_of_ours_is_joined_by_its_clock_and_its_stages_add_up() -> None:
    (tick,) = of_ours([SENT], [SHOWN]).ticks
    assert milliseconds(tick) == {
        "crop": 5, "encode": 2, "packetise": 1, "network": 1, "jitter_buffer": 10, "decode": 1,
        "interpolate": 1, "upsample": 16, "teeth": 5, "display": 1, "wait": 1 + 2,
    }  # fmt: skip
    assert tick.captured == 10.0  # the sender knows it better than the clock on the wire
    assert tick.latency == pytest.approx(0.046) and sum(tick.stages.values()) == pytest.approx(tick.latency)


def test_a_stage_that_a_tick_does_not_pass_leaves_no_hole() -> None:
    sent = {k: v for k, v in SENT.items() if k != "cropped"} | {"began": None}
    shown = {k: v for k, v in SHOWN.items() if k not in ("arrived", "interpolated", "restored")}
    (tick,) = of_ours([sent], [shown]).ticks
    assert sum(tick.stages.values()) == pytest.approx(0.046)
    assert milliseconds(tick) == {
        "encode": 8, "packetise": 1, "jitter_buffer": 11, "decode": 1, "wait": 2, "upsample": 17, "display": 6,
    }  # fmt: skip


def test_the_clock_turns_over_and_neighbours_stay_apart() -> None:
    sent = [{**SENT, "clock": (65_500 + 40 * k) % 65_536, "captured": 10 + 0.04 * k} for k in range(4)]
    shown = [
        {**SHOWN, "clock": (65_497 + 40 * k) % 65_536, "arrived": None, "shown": 10.046 + 0.04 * k}
        for k in (3, 0, 1, 2)
    ]
    ticks = of_ours(sent, shown).ticks
    assert [t.captured for t in ticks] == pytest.approx([10, 10.04, 10.08, 10.12])
    assert [t.latency for t in ticks] == pytest.approx([0.046] * 4)


def test_what_was_never_shown_is_missing_and_a_line_of_another_turn_is_not_taken() -> None:
    skipped = {k: v for k, v in SHOWN.items() if k != "shown"}
    assert of_ours([SENT], [skipped]) == Joined([], [10.0])
    assert of_ours([SENT], [{**SHOWN, "shown": 9.9}]).missing == [10.0]  # before it was taken
    assert of_ours([SENT], [{**SHOWN, "shown": 75.6}]).missing == [10.0]  # 65.536 s later: the next turn of the clock
    assert of_ours([SENT], [{**SHOWN, "clock": 1020}]).missing == [10.0]  # nearer to the next tick
    assert of_ours([{"clock": 5}], [{}]) == Joined([], [])


def test_what_was_drawn_in_the_place_of_a_late_tick_does_not_count() -> None:
    concealed = {k: v for k, v in SHOWN.items() if k != "arrived"} | {"pictured": False}
    assert of_ours([SENT], [concealed]).missing == [10.0]
    hints_alone = {**SENT, "pictured": False}  # at 5 fps
    assert of_ours([hints_alone], [concealed]).missing == [10.0]
    (tick,) = of_ours([hints_alone], [{**SHOWN, "pictured": False}]).ticks
    assert not tick.pictured and tick.latency == pytest.approx(0.046)


def test_h264_is_joined_by_its_timestamp() -> None:
    sent = {"timestamp": 2**32 - 1, "tick": 1, "captured": 5.0, "began": 5.0, "cropped": 5.006, "encoding": 5.007,
            "encoded": 5.012, "sent": 5.013, "bytes": 400, "packets": 1}  # fmt: skip
    lost = {**sent, "timestamp": 3599, "captured": 5.04}
    received = {"timestamp": 2**32 - 1, "arrived_first": 5.0135, "arrived": 5.014, "left": 5.054, "decoding": 5.055,
                "decoded": 5.056, "shown": 5.058}  # fmt: skip
    joined = of_h264([sent, lost], [received, {"timestamp": 3599, "arrived": 5.1}, {"timestamp": 9, "shown": 6.0}])
    assert joined.missing == [5.04]
    (tick,) = joined.ticks
    assert tick.bytes == 400 and tick.latency == pytest.approx(0.058)
    assert milliseconds(tick) == {
        "crop": 6, "wait": 2, "encode": 5, "packetise": 1, "network": 1, "jitter_buffer": 40, "decode": 1, "display": 2,
    }  # fmt: skip


def test_the_first_second_and_the_end_are_left_out() -> None:
    ticks = [TickTimes(k / 25, k / 25 + 0.05, {}) for k in range(100) if k % 10]
    joined = Joined(ticks, [0.4, 1.6, 9.0]).after(1.0)
    assert joined.ticks[0].captured == pytest.approx(1.04) and joined.ticks[-1].captured == pytest.approx(3.96)
    assert joined.missing == [1.6]
    assert Joined([], [1.0]).after(1.0) == Joined([], [1.0])


def test_percentiles_are_linear_between_neighbours() -> None:
    assert percentiles([k / 1000 for k in range(101)]) == pytest.approx({"p50": 50, "p95": 95, "p99": 99, "mean": 50})
    assert percentiles([0.001, 0.002])["p50"] == pytest.approx(1.5)
    assert percentiles([]) == {}


def test_a_summary_tells_each_stage_that_was_passed() -> None:
    (tick,) = of_ours([SENT], [SHOWN]).ticks
    figures = summary([tick, tick])
    assert figures["p50_ms"] == figures["p99_ms"] == figures["max_ms"] == pytest.approx(46)
    assert set(figures["stages"]) == set(STAGES)
    assert figures["stages"]["upsample"]["p95"] == pytest.approx(16)
    assert sum(stage["mean"] for stage in figures["stages"].values()) == pytest.approx(figures["mean_ms"])
    assert summary([]) == {"stages": {}}
