"""Picture and voice through a whole call: what begins together in a film does so in the recording of the call, and the
traces of both sides fit together.
"""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.loopback import CallConfig, run_call

pytestmark = [pytest.mark.net, pytest.mark.slow]

SECONDS = 8
ON = 0.2
"""Seconds of light and tone at the beginning of each second."""


def film(path: Path) -> None:
    """25 pictures a second, light while there is a tone."""
    with av.open(str(path), "w") as out:
        video, sound = out.add_stream("libx264", rate=25), out.add_stream("aac", rate=48000)
        video.width = video.height = 256
        video.pix_fmt, sound.layout = "yuv420p", "mono"
        for k in range(25 * SECONDS):
            level = 200 if k % 25 < 25 * ON else 50
            frame = av.VideoFrame.from_ndarray(np.full((256, 256, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        time = np.arange(48000 * SECONDS) / 48000
        tone = np.where(time % 1 < ON, 0.4 * np.sin(2 * np.pi * 500 * time), 0).astype(np.float32)
        voice = av.AudioFrame.from_ndarray(tone[None], format="fltp", layout="mono")
        voice.sample_rate, voice.pts, voice.time_base = 48000, 0, Fraction(1, 48000)
        out.mux(sound.encode(voice))
        out.mux(sound.encode(None))


def begins(times: NDArray[np.float64], levels: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    on = levels > threshold
    return times[1:][on[1:] & ~on[:-1]]


def flashes_and_beeps(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Seconds at which light and tone begin."""
    seen: list[tuple[float, float]] = []
    parts: list[NDArray[np.float32]] = []
    start = 0.0
    with av.open(str(path)) as container:
        for frame in container.decode():
            if isinstance(frame, av.VideoFrame):
                seen.append((float(frame.time or 0), float(frame.to_ndarray(format="rgb24").mean())))
            elif isinstance(frame, av.AudioFrame):
                start = start if parts else float(frame.time or 0)
                parts.append(frame.to_ndarray().reshape(-1))
    sound = np.abs(np.concatenate(parts))
    loud = np.convolve(sound, np.ones(96) / 96, "same").astype(np.float64)
    pictures = np.array(seen)
    return begins(pictures[:, 0], pictures[:, 1], 120), begins(start + np.arange(loud.size) / 48000, loud, 0.05)


@pytest.mark.parametrize("packet_ms", [40, 80])
def test_a_flash_and_its_beep_are_recorded_together(tmp_path: Path, packet_ms: int) -> None:
    source, movie = tmp_path / "film.mp4", tmp_path / "call.mp4"
    film(source)
    before = np.subtract(*(t[:5] for t in flashes_and_beeps(source)))
    assert np.abs(before).max() < 0.005  # the film itself
    config = CallConfig(
        str(source),
        seconds=SECONDS - 1.5,
        packet_ms=packet_ms,
        output=movie,
        sender_arguments=("--crop", "centre", "--trace", str(tmp_path / "sent")),
        receiver_arguments=("--reconstruction", "still-colour", "--trace", str(tmp_path / "received")),
    )
    report = run_call(config).report
    assert report["ticks_concealed"] <= 5
    flashes, beeps = flashes_and_beeps(movie)
    assert len(flashes) >= 5
    # Each flash beside its nearest beep; a machine that is held up conceals a tick and may blur one of them.
    apart = [float(np.abs(beeps - flash).min()) for flash in flashes]
    assert np.median(apart) < 0.01
    # What the report says of pictures and voices as they were handed over: never a tick or more behind.
    assert report["av_offset_ms"]["p50"] < 40
    check_traces(tmp_path / "sent", tmp_path / "received", packet_ms)


def check_traces(sent: Path, received: Path, packet_ms: int) -> None:
    """Nothing is lost on loopback, so every tick of the receiver has one of the sender with the very same clock."""
    ticks = {line["clock"]: line for line in map(json.loads, sent.read_text().splitlines())}
    assert {line["position"] for line in ticks.values()} == ({0} if packet_ms == 40 else {0, 1})
    whole = 0
    for line in map(json.loads, received.read_text().splitlines()):
        if "arrived" not in line:
            continue
        tick = ticks[line["clock"]]
        assert line["pictured"] is tick["pictured"] is True
        assert abs(line["captured"] - tick["captured"]) < 0.02  # one clock in ms, the other exact
        if "shown" in line:
            stages = [tick[k] for k in ("captured", "began", "cropped", "encoded", "sent")]
            stages += [line[k] for k in ("arrived", "played", "decoded", "queued", "upsampled", "shown")]
            assert all(a <= b + 1e-5 for a, b in pairwise(stages))
            whole += 1
    assert whole > 20 * (SECONDS - 2)
