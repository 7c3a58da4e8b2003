"""Painted people: a skin-coloured disc sways over a coloured wall, a mouth opens and sounds, lids close, landmark 0 is
a white dot. The second take of the first person is silent, that of the second has another's voice."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.landmarks import BROWS, EYES, LIPS, NOSE, POINTS

FRAMES = 40
RATE = 16_000
DOT = 0
_AT = {mesh: k for k, mesh in enumerate(POINTS)}
_PLACES = {33: (-0.2, -0.12), 263: (0.2, -0.12), 133: (-0.08, -0.12), 362: (0.08, -0.12), 468: (-0.14, -0.12)}
_PLACES |= {473: (0.14, -0.12), 160: (-0.17, -0.14), 158: (-0.11, -0.14), 144: (-0.17, -0.1), 153: (-0.11, -0.1)}
_PLACES |= {385: (0.11, -0.14), 387: (0.17, -0.14), 380: (0.11, -0.1), 373: (0.17, -0.1)}
_UPPER_LIDS = [_AT[mesh] for mesh in (160, 158, 385, 387)]
_PLACES |= {78: (-0.1, 0.17), 308: (0.1, 0.17), 13: (0.0, 0.16), 14: (0.0, 0.18), POINTS[DOT]: (-0.12, 0.17)}


def shape() -> NDArray[np.float32]:
    """Landmarks (110, 2) around the middle of the face, in picture fractions."""
    angle = np.linspace(0, 2 * np.pi, len(POINTS), endpoint=False)
    points = np.stack([0.28 * np.cos(angle), 0.3 * np.sin(angle)], 1).astype(np.float32)
    groups = ((LIPS, 0.0, 0.17), (EYES[:6], -0.14, -0.12), (EYES[6:], 0.14, -0.12), (BROWS[:5], -0.14, -0.2))
    for group, x, y in (*groups, (BROWS[5:], 0.14, -0.2), (NOSE, 0.0, 0.0)):
        turn = np.linspace(0, 2 * np.pi, len(group), endpoint=False)
        for mesh, dx, dy in zip(group, 0.08 * np.cos(turn), 0.03 * np.sin(turn), strict=True):
            points[_AT[mesh]] = x + dx, y + dy
    for mesh, place in _PLACES.items():
        points[_AT[mesh]] = place
    return points


def make_clips(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    rows, labels = [], {"points": np.array(POINTS)}
    for person in range(2):
        skin, wall = rng.integers(120, 220, 3), rng.integers(20, 120, 3)
        for take in range(2):
            name = f"p{person}-{take}"
            points = np.empty((FRAMES, len(POINTS), 2), np.float32)
            with av.open(str(folder / f"{name}.mp4"), "w") as container:
                stream = container.add_stream("libx264", rate=25, options={"qp": "4", "preset": "ultrafast"})
                stream.width = stream.height = 256
                stream.pix_fmt = "yuv420p"
                voice = container.add_stream("aac", rate=RATE, layout="mono") if name != "p0-1" else None
                for k in range(FRAMES):
                    middle = np.array([0.5 + 0.06 * np.sin(k / 5 + person), 0.5 + 0.04 * np.cos(k / 7 + take)])
                    p = shape() + middle
                    p[_AT[14], 1] += 0.04 * _loudness(k, take)
                    p[_UPPER_LIDS, 1] += 0.01 * (1 + np.cos(k / 3 + take))
                    points[k] = p
                    stream_frame = av.VideoFrame.from_ndarray(_paint(p, middle, skin, wall), format="rgb24")
                    container.mux(stream.encode(stream_frame))
                container.mux(stream.encode())
                if voice is not None:
                    sound = av.AudioFrame.from_ndarray(_sound(take), format="fltp", layout="mono")
                    sound.sample_rate = RATE
                    container.mux(voice.encode(sound))
                    container.mux(voice.encode())
            whole = np.rint(points * 4096).astype(np.int16)
            labels[f"{name}.pts"] = np.diff(whole, axis=0, prepend=np.zeros_like(whole[:1]))
            rows.append({"clip_id": name, "identity": f"p{person}", "audio_own": take == 0, "kind": "real"})
    rows.append({"clip_id": "p9-0", "identity": "p9", "kind": "uncertain"})
    (folder / "manifest.json").write_text(json.dumps(rows))
    np.savez(folder / "labels.npz", **labels)
    return folder


def _loudness(frame: float | NDArray[np.floating], take: int) -> NDArray[np.float64]:
    return np.asarray(1 + np.sin(frame / 4 + take))


def _sound(take: int) -> NDArray[np.float32]:
    """A hum (1, n) as loud as the mouth is open."""
    t = np.arange(FRAMES * RATE // 25) / RATE
    hum = sum(np.sin(2 * np.pi * 180 * k * t) / k for k in range(1, 12))
    return (0.1 * _loudness(25 * t, take) * hum)[None].astype(np.float32)


def _paint(
    points: NDArray[np.float32], middle: NDArray[np.float64], skin: NDArray[np.int64], wall: NDArray[np.int64]
) -> NDArray[np.uint8]:
    picture = np.empty((256, 256, 3), np.uint8)
    picture[:] = wall
    picture[::16] = wall // 2

    def at(place: NDArray[np.floating]) -> tuple[int, int]:
        return int(place[0] * 256), int(place[1] * 256)

    cv2.ellipse(picture, at(middle), (72, 78), 0, 0, 360, skin.tolist(), -1)
    for eye in (468, 473):
        cv2.circle(picture, at(points[_AT[eye]]), 7, (30, 30, 60), -1)
    cv2.rectangle(picture, at(points[_AT[78]]), at([points[_AT[308], 0], points[_AT[14], 1]]), (120, 20, 30), -1)
    cv2.circle(picture, at(points[DOT]), 4, (255, 255, 255), -1)
    return picture
