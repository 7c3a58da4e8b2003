"""The page's pure modules in Node: links, stills, crop, report. Where Python has the same rules, beside those."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from codec_models.bitstream.hints import Hints
from codec_models.landmarks import OUTLINE, POINTS
from sender.crop import FaceTracker
from sender.still_policy import StillPolicy, View, drift
from tests.signaling.browser.test_coder import node_path

HERE = Path(__file__).parent
STATIC = HERE.parents[2] / "signaling" / "static"
NODE = node_path()
TOKEN = "Zm9v-_bar123"
GOOD = f"room=lab&place=a/sender&token={TOKEN}"
Ask = Callable[..., Any]

pytestmark = [pytest.mark.unit, pytest.mark.skipif(NODE is None, reason="no Node on this machine")]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Calls one function of modules.js."""
    folder = tmp_path_factory.mktemp("modules")
    for name in ("call", "coder", "source", "view"):
        shutil.copytree(STATIC / name, folder / "static" / name)
    shutil.copy(HERE / "modules.js", folder)
    (folder / "package.json").write_text('{"type": "module"}')

    def run(call: str, **request: Any) -> Any:
        assert NODE is not None
        done = subprocess.run(
            [NODE, str(folder / "modules.js")],
            input=json.dumps({"call": call, **request}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


# Links


def test_links(ask: Ask) -> None:
    link = {"room": "lab", "direction": "a", "role": "sender", "token": TOKEN}
    viewer = {"room": "x-1_Y", "direction": "b", "role": "viewer", "token": "a+b"}
    texts = [
        f"https://host.example:8443/#{GOOD}",
        f"#{GOOD}",
        GOOD,
        f"  https://host.example/#{GOOD}  ",
        f"https://host.example/?x=1#token={TOKEN}&place=a%2Fsender&room=lab&more=1",
        "#room=x-1_Y&place=b/viewer&token=a%2Bb",
    ]
    assert ask("parseLink", texts=texts) == [link] * 5 + [viewer]
    broken = [
        "",
        "#",
        "#room=lab",
        f"#room=lab&place=a/sender&token={TOKEN[:0]}",
        f"#room=lab&place=c/sender&token={TOKEN}",
    ]
    broken += [f"#room=a/b&place=a/sender&token={TOKEN}", f"#room=lab&place=a/receiver&token={TOKEN}"]
    broken += [
        f"#room={'x' * 65}&place=a/sender&token={TOKEN}",
        "#room=lab&place=a/sender&token=a b",
        "nonsense",
        "#%%%",
    ]
    assert ask("parseLink", texts=broken) == [None] * len(broken)
    assert ask("looksLikeLink", texts=["#room=lab", "#x&token=", "#compare", "", "#mushroom=1"]) == [
        True, True, False, False, False,
    ]  # fmt: skip


def test_links_of_other_servers(ask: Ask) -> None:
    own = "https://host.example"
    texts = [
        f"{own}/#{GOOD}",
        GOOD,
        f"https://other.example/#{GOOD}",
        "javascript:alert(1)#room=x",
        "file:///etc/passwd",
    ]
    assert ask("foreignAddress", texts=texts, origin=own) == [
        None, None, f"https://other.example/#{GOOD}", None, None,
    ]  # fmt: skip


def test_the_link_leaves_the_address_bar_and_stays_for_a_reload(ask: Ask) -> None:
    taken = ask("takeLink", hash=f"#{GOOD}")
    assert taken["link"]["token"] == TOKEN and taken["replaced"] == ["/"] and not taken["broken"]
    again = ask("takeLink", hash="", kept={"pinhole-link": taken["kept"]})
    assert again["link"] == taken["link"] and again["replaced"] == []
    broken = ask("takeLink", hash="#room=lab&place=a/sender")
    assert broken["link"] is None and broken["broken"] and broken["replaced"] == ["/"]
    other = ask("takeLink", hash="#compare")
    assert other["fragment"] == "#compare" and not other["broken"]
    blocked = ask("takeLink", hash=f"#{GOOD}", storage=False)
    assert blocked["link"]["room"] == "lab" and blocked["kept"] is None
    odd = {"room": "lab", "direction": "b", "role": "viewer", "token": "a+b&c=%"}
    assert ask("keepAndTake", link=odd) == odd


def test_a_tab_is_one_member_and_its_copy_another(ask: Ask) -> None:
    members = ask("memberOf", held=True)
    assert members["first"] == members["again"] != members["other"] != "held-member-0001"
    assert all(16 <= len(m) <= 64 and m.replace("-", "").replace("_", "").isalnum() for m in members.values())
    assert ask("memberOf", held=False)["other"] == "held-member-0001"


# Stills and crop, as the native sender does them


def face(rng: np.random.Generator, move: float = 0.0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A stand-in for a face: fixed points, moved and turned a little."""
    fixed = np.random.default_rng(7).normal(0, 0.09, (len(POINTS), 2)) + 0.5
    turn = rng.normal(0, 0.1 * move)
    c, s = math.cos(turn), math.sin(turn)
    moved = (fixed - 0.5) @ np.array([[c, s], [-s, c]]) * math.exp(rng.normal(0, 0.3 * move))
    return (moved + 0.5 + rng.normal(0, 0.1 * move, 2) + rng.normal(0, 0.01 * move, fixed.shape)).astype(np.float32)


def random_view(rng: np.random.Generator, found: bool, move: float) -> View:
    small = np.clip(rng.normal(120, 8 + 25 * move, (8, 8, 3)), 0, 255).astype(np.uint8)
    values = [rng.uniform(0, 0.2), 0.5, *rng.uniform(0.03, 0.2, 2), *[0.0] * 8]
    hints = Hints(*values) if found else None
    return View(small, float(rng.uniform(20, 40)), face(rng, move) if found else None, hints)


def as_json(view: View) -> dict[str, Any]:
    from dataclasses import astuple

    return {
        "small": view.small.ravel().tolist(),
        "sharpness": view.sharpness,
        "points": None if view.points is None else view.points.ravel().tolist(),
        "hints": None if view.hints is None else astuple(view.hints),
    }


def test_drift_is_the_native_senders(ask: Ask) -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (random_view(rng, k % 5 > 0, move), random_view(rng, k % 4 > 0, move))
        for k, move in enumerate(np.repeat([0.0, 0.3, 1.0], 12).tolist())
    ]
    theirs = ask("drift", pairs=[[as_json(a), as_json(b)] for a, b in pairs])
    assert theirs == pytest.approx([drift(a, b) for a, b in pairs], rel=1e-4, abs=1e-6)
    assert min(theirs) < 1 < max(theirs)


@pytest.mark.parametrize("seed", range(4))
def test_stills_go_out_as_from_the_native_sender(ask: Ask, seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy, steps, expected = StillPolicy(), [], []
    view = random_view(rng, True, 0.0)
    for k in range(1500):
        now = 0.12 * k
        if rng.random() < 0.04:  # holds still for a while, as people do
            view = random_view(rng, bool(rng.random() < 0.9), float(rng.choice([0.0, 0.2, 1.0])))
        request = bool(rng.random() < 0.01)
        if request:
            policy.request()
        expected.append([policy.decide(now, view), policy.best])
        steps.append({"now": now, "view": as_json(view), "request": request})
    assert ask("policy", landmarks=True, steps=steps) == expected
    assert sum(number is not None for number, _ in expected) > 5


def test_without_landmarks_light_alone_brings_a_new_still(ask: Ask) -> None:
    def step(now: float, level: int) -> dict[str, Any]:
        small = [level if k < 96 else 128 for k in range(192)]
        return {"now": now, "view": {"small": small, "sharpness": 30, "points": None, "hints": None}, "request": False}

    steps = [step(0.04 * k, 128) for k in range(25)]  # a first still, once the camera has had time
    steps += [step(1 + 0.04 * k, 255) for k in range(900)]  # other light for 36 s
    numbers = [number for number, _ in ask("policy", landmarks=False, steps=steps)]
    sent = [(k, number) for k, number in enumerate(numbers) if number is not None]
    assert [number for _, number in sent] == [0, 1]
    assert sent[0][0] == 15 and steps[sent[1][0]]["now"] - 0.6 >= 10


def test_sharpness_is_the_native_senders(ask: Ask) -> None:
    rng = np.random.default_rng(3)
    green = cv2.GaussianBlur(rng.integers(0, 255, (256, 256)).astype(np.uint8), (5, 5), 0)
    inside = cv2.Laplacian(green, cv2.CV_16S)[1:-1, 1:-1]
    expected = float(np.square(inside, dtype=np.float64).mean())
    assert ask("sharpness", green=green.ravel().tolist()) == pytest.approx(expected)


@pytest.mark.parametrize("size", [(480, 640), (720, 1280), (512, 512), (200, 200)])
def test_the_crop_follows_as_the_native_senders(ask: Ask, size: tuple[int, int]) -> None:
    height, width = size
    rng = np.random.default_rng(height)
    centre, tall = np.array([0.5 * width, 0.45 * height]), 0.3 * height
    meshes: list[np.ndarray[Any, Any] | None] = []
    for _ in range(400):
        if rng.random() < 0.02:  # walks elsewhere
            centre, tall = rng.uniform(0.2, 0.8, 2) * (width, height), rng.uniform(0.15, 0.7) * height
        mesh = np.zeros((478, 2), np.float32)
        angle = np.arange(len(OUTLINE)) * 2 * np.pi / len(OUTLINE)
        oval = np.stack([0.4 * np.sin(angle), -0.5 * np.cos(angle)], 1) * tall
        mesh[list(OUTLINE)] = centre + oval + rng.normal(0, 0.01 * tall, 2)
        meshes.append(mesh)
    faces = iter(meshes)
    tracker = FaceTracker(detector=lambda _: next(faces), on_warning=lambda _: None)
    picture = np.zeros((height, width, 3), np.uint8)
    expected = [[*tracker.update(picture).box, True] for _ in meshes]
    steps = []
    for mesh in meshes:
        assert mesh is not None
        outline = mesh[list(OUTLINE)].astype(float)
        steps.append({"source": [width, height], "face": [*outline.min(0).tolist(), *outline.max(0).tolist()]})
    found = ask("crop", steps=steps)
    # rounding of .5 differs by a pixel
    assert np.abs(np.array(found, float)[:, :3] - np.array(expected, float)[:, :3]).max() <= 1
    assert len({tuple(box) for box in found}) > (1 if size[0] != size[1] else 0)


def test_a_hand_on_the_square_ends_the_following(ask: Ask) -> None:
    source, face = [640, 480], [300, 100, 400, 240]
    steps: list[dict[str, Any]] = [
        {"source": source},
        {"move": [1000, -1000]},
        {"face": face},
        {"zoom": 0.5},
        {"move": [-50, 60]},
        {"zoom": 100},
        {"zoom": 1e-6},
        {"following": True, "face": face},
        {"source": [320, 240]},
    ]
    boxes = ask("crop", steps=steps)
    assert boxes[0] == [80, 0, 480, True]
    assert boxes[1] == boxes[2] == [160, 0, 480, False]
    assert boxes[3] == [280, 120, 240, False] and boxes[4] == [230, 180, 240, False]
    assert boxes[5][2] == 480 and boxes[6][2] == 48
    assert boxes[7][3] is True and boxes[8][:3] == [40, 0, 240]
    for left, top, side, _ in boxes[:-1]:
        assert left >= 0 and top >= 0 and left + side <= 640 and top + side <= 480


def test_the_outline_comes_from_the_right_points(ask: Ask) -> None:
    found = face(np.random.default_rng(1))
    first = POINTS.index(OUTLINE[0])
    assert POINTS[first : first + len(OUTLINE)] == OUTLINE
    outline = 100 + 50 * found[first : first + len(OUTLINE)]
    box = ask("outline", found=found.ravel().tolist(), box={"left": 100, "top": 100, "side": 50})
    low, high = outline.min(0), outline.max(0)
    assert [box[k] for k in ("left", "top", "right", "bottom")] == pytest.approx([*low, *high], rel=1e-4)


# Figures


def stats(sent: int, packets: int | None, voice: int = 0, frames: int = 0) -> list[dict[str, Any]]:
    counted = {} if packets is None else {"packetsSent": packets, "packetsReceived": packets}
    return [
        {"type": "candidate-pair", "id": "old", "nominated": False, "state": "failed", "bytesSent": 5},
        {"type": "candidate-pair", "id": "p", "nominated": True, "state": "succeeded", "bytesSent": sent,
         "bytesReceived": 2 * sent, "currentRoundTripTime": 0.02, **counted},
        {"type": "outbound-rtp", "kind": "audio", "bytesSent": voice, "packetsSent": 50},
        {"type": "inbound-rtp", "kind": "video", "bytesReceived": 7, "framesDecoded": frames, "packetsReceived": 9,
         "totalDecodeTime": 0.002 * frames, "jitterBufferDelay": 0.03 * frames, "jitterBufferEmittedCount": frames},
        {"type": "data-channel", "messagesSent": 100, "messagesReceived": 10},
    ]  # fmt: skip


def test_rates_are_of_all_connections(ask: Ask) -> None:
    steps: list[dict[str, Any]] = [{"connected": 0}]
    for second in range(10):
        if second == 5:
            steps.append({"connected": 5000})  # the counters of a connection begin at 0
        for tick in range(25):
            steps.append({"tick": [1000 * second + 40 * tick, 10, 16, True]})
        n = second % 5 + 1
        steps.append({"shown": 24, "sample": 1000 * (second + 1), "stats": stats(5000 * n, 40 * n, 2000 * n, 25 * n)})
    steps.append({"still": 4800, "statistics": {"latency_ms": 61.0, "fps": 24.5, "backend": "b", "device": "d"}})
    told = ask("report", steps=steps)
    summary = told["summary"]
    assert summary["connections"] == 2 and summary["ticks_sent"] == summary["frames_sent"] == 250
    assert summary["face_bytes"] == 2500 and summary["face_kbps"] == pytest.approx(2.0, rel=1e-3)
    assert summary["face_bpp"] == pytest.approx(2000 / 25 / 65536, rel=1e-3)
    assert summary["wire_bytes"] == 2 * 5 * (5000 + 40 * 28) and summary["audio_bytes"] == 20_000
    assert summary["wire_kbps"] == pytest.approx(summary["wire_bytes"] * 8 / 10_000)
    assert summary["identities"] == 1 and summary["identity_bytes"] == 4800 and summary["frames_shown"] == 240
    lately = told["lately"][-1]
    assert lately["faceKbps"] == pytest.approx(2.0) and lately["audioKbps"] == pytest.approx(16.0)
    assert lately["wireKbps"] == pytest.approx(48.96) and lately["shownFps"] == pytest.approx(24)
    # 61 ms until drawn, half of 20 ms back, 30 ms of waiting and 2 ms of decoding
    assert summary["way_back_ms"] == pytest.approx(42)
    assert told["own"]["latency_ms"] == pytest.approx(103) and told["own"]["engine"] == "b on d"
    assert told["own"]["face_kbps"] == pytest.approx(2.0) and told["own"]["fps"] == 24.5
    assert told["watched"]["face_kbps"] is None and told["own"]["lost"] is None


def test_browsers_count_differently(ask: Ask) -> None:
    counted = ask("digest", stats=stats(5000, 40))
    assert counted["wireSent"] == 5000 + 40 * 28 and not counted["estimated"] and counted["roundTrip"] == 20
    guessed = ask("digest", stats=stats(5000, None))
    assert guessed["wireSent"] == 5000 + 28 * (50 + 150) and guessed["estimated"]
    transport = [{"type": "transport", "selectedCandidatePairId": "p", "bytesSent": 9000, "bytesReceived": 1,
                  "packetsSent": 10, "packetsReceived": 1}]  # fmt: skip
    assert ask("digest", stats=transport + stats(5000, 40))["wireSent"] == 9280
    checked = stats(5000, 40)
    checked[0] |= {"requestsSent": 1, "responsesSent": 1, "responsesReceived": 1}  # of every pair that was tried
    checked[1] |= {"requestsSent": 7, "responsesSent": 2, "requestsReceived": 2, "responsesReceived": 7}
    with_checks = ask("digest", stats=checked)
    assert with_checks["wireSent"] - counted["wireSent"] == 8 * 128 + 3 * 92
    assert with_checks["wireReceived"] - counted["wireReceived"] == 2 * 128 + 8 * 92
    assert ask("digest", stats=[]) is None


def test_nothing_sent_makes_no_figures(ask: Ask) -> None:
    told = ask("report", steps=[{"sample": 0}, {"sample": 1000}])
    assert told["summary"]["face_kbps"] == 0 and told["summary"]["wire_kbps"] == 0
    assert told["own"]["latency_ms"] is None and told["own"]["engine"] == ""


def test_the_quickest_ping_tells_the_clock(ask: Ask) -> None:
    assert ask("clock", pongs=[[{"fps": 25}, 0.0]]) == [[False, False, 0, None]]
    pongs = [({"pong": 1000, "clock": 1560}, 1100), ({"pong": 2000, "clock": 2505}, 2010)]
    pongs += [({"pong": 3000, "clock": 3700}, 3400), ({"pong": 9000, "clock": 11_005}, 9010)]  # the clock was set
    pongs += [({"pong": 9000}, 9500), ({"pong": 90_000, "clock": 1}, 80_000)]
    found = ask("clock", pongs=[list(p) for p in pongs])
    assert [offset for _, _, offset, _ in found] == [510, 500, 500, 2000, 2000, 2000]
    assert [trip for *_, trip in found[:4]] == [100, 10, 400, 10] and all(pong for pong, *_ in found)


def test_lines_and_bars(ask: Ask) -> None:
    assert ask("points", values=[]) == "" and ask("points", values=[None, None]) == ""
    line = [tuple(map(float, p.split(","))) for p in ask("points", values=[0, 5, None, 10]).split()]
    assert [y for _, y in line] == [19, 10, 1] and line[-1][0] == 100 and line[0][0] < line[1][0]
    rates = ask("plainRate", rates=[[2, 25, False], [2, 25, True], [1, 5, False], [0.1, 25, True]])
    assert rates == pytest.approx([2, 1.75, 1.92, 0])


def test_every_message_says_what_to_do(ask: Ask) -> None:
    told = ask("messages")
    for kind, message in {**told["errors"], **told["notices"]}.items():
        assert message["text"].endswith("."), kind
        assert message["way"].endswith(".") or kind == "left", kind
    used = set()
    for path in STATIC.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        for kind in told["errors"]:
            if path.name != "errors.js" and f'"{kind}"' in text:
                used.add(kind)
    assert used == set(told["errors"])


def test_what_a_browser_lacks(ask: Ask) -> None:
    whole: dict[str, Any] = {"peer": True, "audio": ["audio/opus", "audio/PCMU"], "video": ["video/VP8"]}
    windows = [whole, whole | {"peer": False}, whole | {"audio": ["audio/PCMU"]}, whole | {"video": ["video/AV1"]}]
    windows += [whole | {"video": ["video/H264"]}, {"peer": True}]
    assert ask("lacking", windows=windows) == ["", "webrtc", "Opus", "VP8 and H.264", "", ""]
