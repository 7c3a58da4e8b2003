from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from fakes import FakeCall, FakeSource, Lines, after, when, with_face

from codec_models.bitstream.face import FaceConfig, FaceDecoder
from codec_models.bitstream.still import decode_still
from codec_models.errors import UserError
from sender.pipeline import Pipeline
from sender.session import SenderSession, SessionConfig
from sender.trace import SenderTrace
from signaling.call import CallEvents
from signaling.control import Bye, Hello, NeedStill, Refresh, Still

pytestmark = pytest.mark.unit

HELLO = Hello(25, "full", True, 40, "test")


class Run:
    """One session over a fake call."""

    def __init__(
        self,
        source: FakeSource,
        hello: Hello = HELLO,
        seconds: float | None = None,
        connect: bool = True,
        setup: Callable[[Run], None] = lambda _: None,
        fps: int = 25,
        late_ticks: int = 1000,
        trace: SenderTrace | None = None,
    ) -> None:
        self.source, self.lines, self.error = source, Lines(), None
        self.config = SessionConfig(
            hello,
            redundant=hello.packet_ms // 40,
            seconds=seconds,
            linger=0.05,
            late_ticks=late_ticks,
        )
        self.connect, self.setup, self.fps, self.trace = connect, setup, fps, trace
        self.call: FakeCall
        self.session: SenderSession
        self.took = 0.0
        asyncio.run(asyncio.wait_for(self._run(), 20))

    async def _run(self) -> None:
        pipeline = Pipeline(self.source, with_face(), FaceConfig(fps=self.fps), 12)  # type: ignore[arg-type]

        def make_call(events: CallEvents) -> FakeCall:
            self.call = FakeCall(events, self.connect)
            return self.call

        self.session = SenderSession(self.config, pipeline, self.source.live, make_call, self.lines, self.trace)
        self.setup(self)
        start = time.monotonic()
        try:
            await self.session.run()
        except UserError as e:
            self.error = e
        self.took = time.monotonic() - start

    @property
    def ticks(self) -> list[int]:
        return [tick for _, _, tick in self.call.packets]


def test_a_film_is_sent_whole_and_in_real_time() -> None:
    run = Run(FakeSource(30))
    assert run.ticks == list(range(30))
    assert 1.15 <= run.took <= 4
    sent = run.call.packets[-1][0] - run.call.packets[0][0]
    assert sent >= 29 * 0.04 - 0.15  # paced, not dumped
    assert run.call.left == "the sender has ended" and run.source.closed
    assert run.session.report.ticks == 30 and run.session.report.frames == 30
    assert run.call.messages[0] == HELLO


def test_the_capture_clock_is_the_wall_clock() -> None:
    begin = time.time() * 1000
    run = Run(FakeSource(3))
    clock = run.call.packets[0][1].clock_ms
    assert clock is not None
    assert (clock - int(begin)) % 65536 < 3000


def test_a_films_picture_is_worked_on_from_its_capture_time_on_and_sent_at_once(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    began = time.time() - time.monotonic()
    run = Run(FakeSource(30), trace=SenderTrace(path, print))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["tick"] for line in lines] == list(range(30)) and all(line["pictured"] for line in lines)
    for line, (handed, _, _) in zip(lines, run.call.packets, strict=True):
        assert line["captured"] <= line["began"] < line["cropped"] < line["encoded"] < line["sent"]
        assert line["encoded"] - 1e-6 < handed < line["sent"] + 1e-6
    # The clock on the wire is the tick's start, its picture is captured at its end.
    clock = run.call.packets[0][1].clock_ms
    start = (lines[0]["captured"] - 0.04 + began) * 1000
    assert clock == lines[0]["clock"] and abs((clock - start + 32768) % 65536 - 32768) < 20
    captured = [line["captured"] for line in lines]
    assert all(b - a == pytest.approx(0.04, abs=1e-5) for a, b in pairwise(captured))


def test_a_trace_of_two_ticks_in_a_packet_at_five_frames_a_second(tmp_path: Path) -> None:
    trace = SenderTrace(tmp_path / "trace", print)
    Run(FakeSource(9), hello=Hello(5, "full", True, 80, "test"), fps=5, trace=trace)
    lines = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    assert [line["position"] for line in lines] == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert [line["tick"] for line in lines if line["pictured"]] == [0, 5]
    assert all("cropped" in line for line in lines)  # for the hints
    assert [line["sent"] for line in lines[:8:2]] == [line["sent"] for line in lines[1:8:2]]


def test_two_ticks_in_a_packet() -> None:
    run = Run(FakeSource(9), hello=Hello(25, "full", True, 80, "test"))
    assert run.ticks == [0, 2, 4, 6, 8]
    assert [len(p.faces) for _, p, _ in run.call.packets] == [2, 2, 2, 2, 1]
    assert len(run.call.packets[2][1].redundant) == 2
    assert run.session.report.packets == 5


def test_five_frames_a_second() -> None:
    run = Run(FakeSource(11), hello=Hello(5, "full", True, 40, "test"), fps=5)
    assert run.ticks == list(range(11))
    decoder = FaceDecoder()
    faces = [decoder.decode(p.faces[0]) for _, p, _ in run.call.packets]
    assert [k for k, face in enumerate(faces) if face.picture is not None] == [0, 5, 10]
    assert run.session.report.frames == 3


def test_the_length_is_bounded() -> None:
    run = Run(FakeSource(None), seconds=0.5)
    assert 10 <= len(run.ticks) <= 14 and run.took < 5


def test_stalls_skip_ticks_and_send_no_burst() -> None:
    run = Run(FakeSource(40, stall={5: 0.5}), late_ticks=3)
    assert run.session.report.skipped >= 9
    ticks = run.ticks
    assert ticks == sorted(set(ticks)) and ticks[-1] == 39
    gap = next(k for k in range(1, len(ticks)) if ticks[k] - ticks[k - 1] > 3)
    after_gap = [t for t, _, _ in run.call.packets][gap : gap + 12]
    assert after_gap[-1] - after_gap[0] > 0.28  # 11 ticks are 440 ms, less what may be caught up
    assert run.call.packets[gap][1].redundant == ()


def test_a_live_source_sets_the_pace() -> None:
    run = Run(FakeSource(12, live=True))
    assert run.ticks == list(range(12))


def test_one_still_goes_out_and_decodes() -> None:
    def setup(run: Run) -> None:
        when(lambda: run.call.of(Still), lambda: after(0.3, run.session.stop))

    run = Run(FakeSource(None), setup=setup)
    (still,) = run.call.of(Still)
    assert isinstance(still, Still) and still.number == 0
    decoded = decode_still(still.data)
    assert decoded.picture.shape == (256, 256, 3) and decoded.points is not None
    assert run.session.report.identities == 1 and run.session.report.identity_bytes == len(still.data)


def test_a_new_receiver_gets_hello_and_still_again() -> None:
    def setup(run: Run) -> None:
        def away() -> None:
            run.call.unplug()
            after(0.2, run.call.plug)

        when(lambda: run.call.of(Still), away)
        when(lambda: len(run.call.of(Still)) == 2, lambda: after(0.1, run.session.stop))

    run = Run(FakeSource(None), setup=setup)
    assert run.call.of(Hello) == [HELLO, HELLO]
    assert len(run.call.of(Still)) == 2
    resumed = next(k for k in range(1, len(run.ticks)) if run.ticks[k] - run.ticks[k - 1] > 1)
    assert run.call.packets[resumed][1].clock_ms is not None
    assert any("back" in line for line in run.lines.said)


def test_requests_are_answered_without_flooding() -> None:
    def setup(run: Run) -> None:
        def ask() -> None:
            for _ in range(50):
                run.call.events.control(NeedStill())
                run.call.events.control(Refresh())

        when(lambda: run.call.of(Still), ask)  # these have crossed the still on its way
        when(lambda: run.call.of(Still), lambda: after(1.1, ask))
        when(lambda: len(run.call.of(Still)) == 2, lambda: after(0.2, run.session.stop))

    run = Run(FakeSource(None), setup=setup)
    assert len(run.call.of(Still)) == 2
    assert run.session.report.refreshes == 2


def test_it_waits_for_a_receiver_and_ctrl_c_ends_the_wait() -> None:
    run = Run(FakeSource(30), connect=False, setup=lambda run: after(0.2, run.session.stop))
    assert run.took < 2 and run.call.packets == [] and run.call.left is not None and run.source.made == 0


@pytest.mark.parametrize("live", [False, True])
def test_ctrl_c_ends_a_call_soon(live: bool) -> None:
    run = Run(FakeSource(None, live=live), setup=lambda run: after(0.5, run.session.stop))
    assert run.took < 2 and len(run.ticks) >= 5 and run.source.closed


def test_a_refused_join_is_passed_on() -> None:
    def setup(run: Run) -> None:
        run.call.join_error = UserError("no such room")

    run = Run(FakeSource(30), setup=setup)
    assert str(run.error) == "no such room" and run.session.failure == "no such room"


def test_a_source_that_fails_ends_the_call_in_order() -> None:
    class Broken(FakeSource):
        def __iter__(self):  # type: ignore[no-untyped-def]
            for tick in super().__iter__():
                if tick.index == 5:
                    raise UserError("the film is damaged")
                yield tick

    run = Run(Broken(30))
    assert str(run.error) == "the film is damaged" and run.call.left == "the film is damaged"
    assert run.session.report.ticks == 5


def test_the_receiver_leaving_is_no_failure() -> None:
    run = Run(FakeSource(20), setup=lambda run: after(0.3, lambda: run.call.events.control(Bye("done"))))
    assert run.error is None and len(run.ticks) == 20


def test_a_live_line_comes_every_second() -> None:
    run = Run(FakeSource(None), setup=lambda run: when(lambda: run.lines.lines, run.session.stop))
    assert len(run.lines.lines) == 1
    assert all(word in run.lines.lines[0] for word in ("fps", "face", "voice", "wire", "kb/s"))
