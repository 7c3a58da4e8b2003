from __future__ import annotations

import io

import pytest

from receiver.terminal import Terminal

pytestmark = pytest.mark.unit


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_live_line_stays_in_place_on_a_terminal() -> None:
    out, err = Tty(), io.StringIO()
    terminal = Terminal(out, err)
    terminal.live("a", 0.0)
    terminal.live("b", 1.0)
    terminal.say("news")
    terminal.live("c", 2.0)
    terminal.close()
    assert out.getvalue() == "\rreceiver: a\x1b[K\rreceiver: b\x1b[K\nreceiver: news\n\rreceiver: c\x1b[K\n"


def test_plain_lines_every_few_seconds_elsewhere() -> None:
    out = io.StringIO()
    terminal = Terminal(out, io.StringIO())
    for second in range(11):
        terminal.live(f"at {second}", float(second))
    terminal.close()
    assert out.getvalue().splitlines() == ["receiver: at 0", "receiver: at 5", "receiver: at 10"]


def test_warnings_on_one_topic_are_rare() -> None:
    err = io.StringIO()
    terminal = Terminal(io.StringIO(), err)
    for k in range(100):
        terminal.warn(f"garbage {k}", "garbage", k / 10)
    terminal.warn("disk full")
    terminal.warn("disk full")
    lines = err.getvalue().splitlines()
    assert len(lines) == 4 and lines[0] == "receiver: warning: garbage 0"


def test_a_closed_pipe_is_no_reason_to_end() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    Terminal(Broken(), Broken()).say("anyone?")
