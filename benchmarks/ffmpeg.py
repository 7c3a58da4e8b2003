"""The static ffmpeg of imageio-ffmpeg: vvenc and libvmaf, which PyAV's libraries do not have."""

from __future__ import annotations

import subprocess
from functools import cache


@cache
def ffmpeg_path() -> str | None:
    """Path of the program, or None where imageio-ffmpeg is not installed."""
    try:
        import imageio_ffmpeg

        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        return None


@cache
def ffmpeg_version() -> str:
    """Such as `n9.0.2-17-g2a571b6068`."""
    path = ffmpeg_path()
    if path is None:
        return "not installed"
    run = subprocess.run([path, "-version"], capture_output=True, text=True, check=False)
    words = run.stdout.split()
    return words[2] if len(words) > 2 else "unknown"
