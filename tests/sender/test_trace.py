from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from codec_models.bitstream.packet import TickPacket
from codec_models.errors import UserError
from sender.trace import SenderTrace, TickTimes

pytestmark = pytest.mark.unit


def packet(ticks: int = 1, clock_ms: int | None = None) -> TickPacket:
    return TickPacket((b"f",) * ticks, (b"v",) * ticks, (), clock_ms)


def times(at: float, cropped: bool = True) -> TickTimes:
    return TickTimes(cropped, at, at + 0.001, at + 0.004 if cropped else None, at + 0.006)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_one_line_a_tick_with_the_clock_that_the_receiver_has(tmp_path: Path) -> None:
    trace = SenderTrace(tmp_path / "s", print)
    for tick in range(40):
        trace.tick(tick, times(100 + 0.04 * tick, cropped=tick % 5 == 0))
        trace.sent(packet(clock_ms=65_500 if tick == 0 else 604 if tick == 16 else None), tick, 100.01 + 0.04 * tick)
    trace.close()
    lines = read(tmp_path / "s")
    assert [line["tick"] for line in lines] == list(range(40)) and {line["position"] for line in lines} == {0}
    assert [line["clock"] for line in lines[:3]] == [65_500, 4, 44]  # it wraps
    assert lines[16]["clock"] == 604 and lines[17]["clock"] == 644
    first, second = lines[:2]
    assert first["pictured"] and not second["pictured"] and "cropped" not in second
    order = ["captured", "began", "cropped", "encoded", "sent"]
    assert [first[k] for k in order] == sorted(first[k] for k in order)


def test_two_ticks_of_a_packet_are_sent_together(tmp_path: Path) -> None:
    trace = SenderTrace(tmp_path / "s", print)
    for tick in (6, 7):
        trace.tick(tick, times(0.04 * tick))
    trace.sent(packet(2, clock_ms=10), 6, 0.33)
    trace.sent(packet(2), 8, 0.41)  # ticks that nobody told of have no line
    trace.close()
    lines = read(tmp_path / "s")
    assert [(line["tick"], line["position"], line["clock"], line["sent"]) for line in lines] == [
        (6, 0, 10, 0.33),
        (7, 1, 50, 0.33),
    ]


def test_ticks_that_are_never_sent_do_not_pile_up(tmp_path: Path) -> None:
    trace = SenderTrace(tmp_path / "s", print)
    for tick in range(1000):
        trace.tick(tick, times(0.04 * tick))
    assert len(trace._waiting) < 10
    trace.close()
    with pytest.raises(UserError, match="cannot write the trace"):
        SenderTrace(tmp_path / "missing" / "s", print)
