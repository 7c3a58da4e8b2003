"""A headless Chromium that takes a clip for its camera and microphone."""

from __future__ import annotations

import shutil
import wave
from pathlib import Path

import cv2
import numpy as np

from codec_models.errors import UserError

from .clips import Clip

SIDE = 320
"""Pixels of the camera's picture: a face crop with nothing cut off, large enough that a crop of it is not blurred."""
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--autoplay-policy=no-user-gesture-required",
    "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream",
)  # fmt: skip


def find_chromium() -> str:
    """Raises UserError where there is none."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise UserError("no Chromium on this machine: install it (Debian: apt install chromium)")
    return found


def fake_devices(folder: Path, clip: Clip) -> tuple[str, str]:
    """Write the clip as Motion JPEG and WAV -> the flags that make them camera and microphone. Both are repeated."""
    video, sound = folder / "camera.mjpeg", folder / "microphone.wav"
    with video.open("wb") as out:
        for frame in clip.frames:
            large = cv2.resize(frame[..., ::-1], (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            out.write(np.asarray(cv2.imencode(".jpg", large, (cv2.IMWRITE_JPEG_QUALITY, 95))[1]).tobytes())
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(clip.voice.tobytes())
    return f"--use-file-for-fake-video-capture={video}", f"--use-file-for-fake-audio-capture={sound}"
