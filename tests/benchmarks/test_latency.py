"""The latency benchmark: what it writes and prints, honest failures, and short real calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import latency
from benchmarks.h264.call import H264Call, H264Config
from benchmarks.latency import Measured, comparisons, measure, stage_rows
from benchmarks.latency_plot import draw
from benchmarks.link import Link, Unavailable, open_link
from benchmarks.loopback import CallConfig, CallResult
from benchmarks.report import Row
from codec_models.errors import UserError

FIGURES = {"p50_ms", "p95_ms", "p99_ms", "mean_ms", "max_ms", "stages", "ticks", "missing", "pictures", "kbps"}
ORDER: list[str] = []


def lines(ticks: int, ms: float, lost: tuple[int, ...] = ()) -> tuple[list[Row], list[Row]]:
    """Both sides of an H.264 call whose pictures take `ms`, half of it in the jitter buffer."""
    sent = [{"timestamp": 3600 * k, "captured": k / 25, "cropped": k / 25, "bytes": 100} for k in range(ticks)]
    received = [
        {"timestamp": 3600 * k, "arrived": k / 25 + ms / 2000, "left": k / 25 + ms / 1000, "shown": k / 25 + ms / 1000}
        for k in range(ticks)
        if k not in lost
    ]
    return sent, received


def fake_h264(config: H264Config, link: Link | None = None, listener: Any = None) -> H264Call:
    """50 ms at the default rate, 44 at the lowest, 12 with the buffer that does not wait; two pictures are lost."""
    ORDER.append(f"h264-{config.rate.value}-{config.buffering.value}")
    ms = 12 if config.buffering.value == "nowait" else 50 if config.rate.value == "default" else 44
    sent, received = lines(round(config.seconds * 25), ms, lost=(3, 30))
    return H264Call(sent, received, [30.0, 32.0], {"wire_kbps": 200.0}, ["python x"])


def fake_ours(config: CallConfig, listener: Any = None, terminal: bool = False, link: Link | None = None) -> CallResult:
    """Ticks that take 40 ms; at 5 fps every fifth has a picture, and those take 45 ms."""
    ORDER.append(f"ours-{config.fps}")
    sender, receiver = Path(config.sender_arguments[1]), Path(config.receiver_arguments[1])
    count = round((config.seconds or 0) * 25)
    pictured = [config.fps == 25 or k % 5 == 0 for k in range(count)]
    with sender.open("w") as file:
        for k in range(count):
            sent = {"clock": 40 * k, "pictured": pictured[k], "captured": k / 25, "encoded": k / 25 + 0.01}
            file.write(json.dumps(sent) + "\n")
    with receiver.open("w") as file:
        for k in range(count):
            took = 0.045 if config.fps == 5 and pictured[k] else 0.040
            shown = {"clock": 40 * k, "pictured": pictured[k], "arrived": k / 25 + 0.02, "shown": k / 25 + took}
            file.write(json.dumps(shown) + "\n")
    report = {"face_kbps": 2.0, "wire_kbps": {"sent": 1.0, "received": 16.0}}
    return CallResult(report, {}, {}, commands=["python y"])


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    ORDER.clear()
    monkeypatch.setattr(latency, "run_call", fake_ours)
    monkeypatch.setattr(latency, "run_h264", fake_h264)


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_every_codec_gets_its_row_and_its_bar(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target, plot = tmp_path / "latency.json", tmp_path / "latency.png"
    arguments = ["demo", "--ticks", "40", "--rounds", "2", "--json", str(target), "--plot", str(plot)]
    assert latency.main(arguments) == 0
    written = json.loads(target.read_text())
    rows = {row["codec"]: row for row in written["rows"]}
    assert list(rows) == list(latency.CODECS)
    for row in rows.values():
        assert set(row) >= FIGURES and row["ticks"] >= 40 and row["link"] == "none" and row["clip"] == "demo"
        stages = row["stages"].values()
        assert sum(stage["mean"] for stage in stages) == pytest.approx(row["mean_ms"], abs=1e-3)
        assert all(set(stage) == {"p50", "p95", "p99", "mean"} for stage in stages)
    assert rows["h264-default"]["p50_ms"] == pytest.approx(50)
    assert rows["h264-default"]["stages"]["jitter_buffer"]["p95"] == pytest.approx(25)
    assert rows["h264-default"]["missing"] == 2  # one a call; the other one was in the first second
    assert rows["h264-lowest"]["kbps"] == pytest.approx(20) and rows["h264-lowest"]["psnr"] == pytest.approx(31)
    slow = rows["ours-5"]
    assert slow["pictures"] < slow["ticks"] / 4 and slow["p50_ms_pictures"] == pytest.approx(45)
    assert slow["p50_ms"] == pytest.approx(40) and rows["ours-25"]["pictures"] == rows["ours-25"]["ticks"]
    assert written["settings"]["processes"]["ours-25"] == ["python y"] and "cpu" in written["machine"]
    assert plot.read_bytes().startswith(b"\x89PNG")
    told = capsys.readouterr().out
    assert "ours-25 beside h264-default: p50 40.0 to 50.0 ms (at or below)" in told
    assert "ours-25 beside h264-default-nowait: p50 40.0 to 12.0 ms (above)" in told
    assert f"ours-5: {slow['pictures']} of the ticks carry an 8x8 frame, of those 45.0 / 45.0 / 45.0 ms" in told


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_the_codecs_take_turns() -> None:
    measure(["ours-25", "ours-5", "h264-default"], "demo", 60, 3, None)
    a, b, c = "ours-25", "ours-5", "h264-default-stock"
    assert [a, b, c, b, c, a, c, a, b] == ORDER


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_a_codec_that_lacks_ticks_is_called_again_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def poor(config: H264Config, link: Link | None = None, listener: Any = None) -> H264Call:
        return fake_h264(H264Config(config.source, 1.6, config.rate, config.buffering))

    monkeypatch.setattr(latency, "run_h264", poor)
    ours, theirs = measure(["ours-25", "h264-default"], "demo", 60, 2, None)
    a, b = "ours-25", "h264-default-stock"
    assert [a, b, b, a, b, b] == ORDER
    assert len(ours.ticks) >= 60 and 0 < len(theirs.ticks) < 60 and theirs.failure is None


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_a_codec_that_fails_is_told_of_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def dies(config: H264Config, link: Link | None = None, listener: Any = None) -> H264Call:
        if ORDER.count("h264-default-stock") == 1:
            raise UserError("receiver: killed")
        return fake_h264(config, link)

    def dies_once(config: H264Config, link: Link | None = None, listener: Any = None) -> H264Call:
        ORDER.append("tried")
        if ORDER.count("tried") == 1:
            raise UserError("receiver: killed")
        return fake_h264(config, link)

    def absent() -> None:
        raise UserError("this PyAV has no libx264")

    target = tmp_path / "latency.json"
    arguments = ["demo", "--codecs", "h264-default,ours-25", "--ticks", "40", "--rounds", "2", "--json", str(target)]
    monkeypatch.setattr(latency, "run_h264", dies)
    assert latency.main(arguments) == 1
    cut, ours = json.loads(target.read_text())["rows"]
    assert cut["failure"] == "receiver: killed" and 0 < cut["ticks"] < 40 and "failure" not in ours
    assert "h264-default: cut short: receiver: killed" in capsys.readouterr().out
    monkeypatch.setattr(latency, "run_h264", dies_once)
    assert latency.main(arguments) == 0
    again = json.loads(target.read_text())["rows"][0]
    assert again["failed_calls"] == ["receiver: killed"] and again["ticks"] >= 40 and "failure" not in again
    assert "h264-default: a call failed and was made again: receiver: killed" in capsys.readouterr().out
    monkeypatch.setattr(latency, "check_h264", absent)
    assert latency.main([*arguments, "--plot", str(tmp_path / "a.png")]) == 1
    row = json.loads(target.read_text())["rows"][0]
    assert row["not_measured"] == "this PyAV has no libx264" and "p50_ms" not in row
    assert "h264-default: not measured: this PyAV has no libx264" in capsys.readouterr().out


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_no_common_tick_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def strangers(config: H264Config, link: Link | None = None, listener: Any = None) -> H264Call:
        call = fake_h264(config)
        return H264Call(call.sent, [{**r, "timestamp": r["timestamp"] + 1} for r in call.received], [30.0], {})

    monkeypatch.setattr(latency, "run_h264", strangers)
    (measured,) = measure(["h264-default"], "demo", 40, 1, None)
    assert measured.row("demo", "none")["not_measured"].startswith("no tick was written down by both sides")


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_an_interrupt_keeps_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> CallResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(latency, "run_call", interrupted)
    first, second = measure(["h264-default", "ours-25"], "demo", 40, 2, None)
    assert first.ticks and first.failure == second.failure == "interrupted"
    with pytest.raises(KeyboardInterrupt):
        measure(["ours-25"], "demo", 40, 2, None)


@pytest.mark.unit
@pytest.mark.usefixtures("fakes")
def test_without_namespaces_the_link_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.link.os.geteuid", lambda: 1000, raising=False)
    monkeypatch.setattr("benchmarks.link.sys.platform", "linux")
    target = tmp_path / "latency.json"
    assert latency.main(["demo", "--link", "delay", "--json", str(target)]) == 1
    rows = json.loads(target.read_text())["rows"]
    assert {row["not_measured"] for row in rows} == {"no link with delay: network namespaces need root"}
    assert all("p50_ms" not in row for row in rows) and not ORDER
    assert "ours-25: not measured: no link with delay" in capsys.readouterr().out


@pytest.mark.unit
def test_stages_stand_beside_each_other() -> None:
    rows = [
        {"codec": "a", "stages": {"network": {"p50": 1.0, "p95": 2.0, "p99": 3.04}}},
        {"codec": "b", "stages": {"teeth": {"p50": 4.0, "p95": 5.0, "p99": 6.0}}},
        {"codec": "c", "not_measured": "x"},
    ]
    expected = [{"stage": "network", "a": "1.0 / 2.0 / 3.0"}, {"stage": "teeth", "b": "4.0 / 5.0 / 6.0"}]
    assert stage_rows(rows) == expected
    assert comparisons(rows) == []


@pytest.mark.unit
def test_bad_arguments_are_one_line_and_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(latency, "measure", lambda *_: pytest.fail("started"))
    for wrong in (["nowhere.mp4"], ["demo", "--ticks", "3"], ["demo", "--rounds", "0"], ["demo", "--rounds", "51"]):
        with pytest.raises(UserError):
            latency.main(wrong)
    with pytest.raises(UserError, match="more --rounds"):
        latency.main(["demo", "--ticks", "90000", "--rounds", "2"])
    for wrong in (["demo", "--codecs", "ours-25,vp8"], ["demo", "--link", "slow"], ["demo", "--ticks", "many"]):
        with pytest.raises(SystemExit):
            latency.main(wrong)
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(UserError, match=r"choose another --plot file"):
        draw(tmp_path / "a.bogus", [Measured("ours-25").row("demo", "none")], "nothing")


@pytest.mark.slow
@pytest.mark.net
def test_real_calls_on_loopback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "latency.json"
    codecs = "ours-25,h264-default,h264-lowest,h264-default-nowait"
    arguments = ["demo", "--codecs", codecs, "--ticks", "25", "--rounds", "1", "--json", str(target)]
    assert latency.main(arguments) == 0, capfd.readouterr().out
    rows = {row["codec"]: row for row in json.loads(target.read_text())["rows"]}
    for row in rows.values():
        assert row["ticks"] > 0
        assert sum(stage["mean"] for stage in row["stages"].values()) == pytest.approx(row["mean_ms"], abs=0.01)
        assert {"crop", "encode", "network", "jitter_buffer", "decode"} <= set(row["stages"])
    assert rows["h264-lowest"]["kbps"] < 0.2 * rows["h264-default"]["kbps"]
    assert rows["h264-default"]["psnr"] > rows["h264-lowest"]["psnr"] > 18
    # The stock buffer holds each picture until the next one comes, the other one does not.
    stock, nowait = (rows[codec]["stages"]["jitter_buffer"]["p50"] for codec in ("h264-default", "h264-default-nowait"))
    assert stock > nowait
    assert rows["ours-25"]["wire_kbps"] < rows["h264-lowest"]["wire_kbps"]


@pytest.mark.slow
@pytest.mark.net
def test_real_calls_over_the_link_have_its_delay() -> None:
    try:
        with open_link() as link:
            measured = measure(["ours-25", "h264-lowest"], "demo", 25, 1, link)
    except Unavailable as e:
        pytest.skip(str(e))
    for codec in measured:
        assert codec.failure is None and codec.ticks, codec.failure
        assert min(t.latency for t in codec.ticks) >= 0.030
        # what came with a later packet alone has no time of arrival of its own
        assert all(t.stages["network"] >= 0.030 for t in codec.ticks if t.stages["network"])
