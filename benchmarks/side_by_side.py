"""The video that shows what the figures mean: labelled panels beside each other, with the clip's sound."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from codec_models.bitstream.timing import PICTURE, SAMPLE_RATE, TICKS_PER_SECOND
from codec_models.errors import UserError

CAPTION = 40
_GAP = 4


class SideBySide:
    """`with SideBySide(path, columns) as video: video.add(panels, voice)`, once a clip."""

    def __init__(self, path: Path, columns: int) -> None:
        self._columns = columns
        self.width = columns * PICTURE + (columns - 1) * _GAP
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container: Any = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        except (av.error.FFmpegError, OSError) as e:
            raise UserError(f"{path} cannot be written ({e}): choose another --video file, such as all.mp4") from e
        self._video: Any = self._container.add_stream("libx264", rate=TICKS_PER_SECOND, options={"crf": "20"})
        self._video.width, self._video.height, self._video.pix_fmt = self.width, PICTURE + CAPTION, "yuv420p"
        self._audio: Any = self._container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        self._frames = self._samples = 0

    def __enter__(self) -> SideBySide:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for stream in (self._video, self._audio):
            for packet in stream.encode(None):
                self._container.mux(packet)
        self._container.close()

    def add(self, panels: Sequence[tuple[str, NDArray[np.uint8]]], voice: NDArray[np.int16]) -> None:
        """Append a clip. panels: caption (two lines at most) and frames (N, 256, 256, 3); voice (N, 1920) int16."""
        if len(panels) != self._columns:
            raise ValueError(f"{len(panels)} panels, the video has {self._columns}")
        canvas = np.full((PICTURE + CAPTION, self.width, 3), 255, np.uint8)
        for k, (text, _) in enumerate(panels):
            left = k * (PICTURE + _GAP)
            canvas[:CAPTION, left : left + PICTURE] = caption(text)
        for n, samples in enumerate(voice):
            for k, (_, frames) in enumerate(panels):
                left = k * (PICTURE + _GAP)
                canvas[CAPTION:, left : left + PICTURE] = frames[n]
            frame = av.VideoFrame.from_ndarray(canvas, "rgb24")
            frame.pts, frame.time_base = self._frames, Fraction(1, TICKS_PER_SECOND)
            self._frames += 1
            self._mux(self._video, frame)
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[None], "s16", "mono")
            sound.sample_rate, sound.pts, sound.time_base = SAMPLE_RATE, self._samples, Fraction(1, SAMPLE_RATE)
            self._samples += samples.size
            self._mux(self._audio, sound)

    def _mux(self, stream: Any, frame: Any) -> None:
        for packet in stream.encode(frame):
            self._container.mux(packet)


def caption(text: str) -> NDArray[np.uint8]:
    """(CAPTION, 256, 3) uint8: dark text on white, the first line larger."""
    image = Image.new("RGB", (PICTURE, CAPTION), "white")
    draw = ImageDraw.Draw(image)
    for line, (size, top, ink) in zip(text.split("\n"), ((17, 2, "black"), (13, 22, "#444444")), strict=False):
        draw.text((PICTURE / 2, top), line, fill=ink, font=ImageFont.load_default(size), anchor="ma")
    return np.asarray(image, np.uint8)


def blocks(low: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An 8x8 picture with visible pixels, (8, 8, 3) -> (256, 256, 3)."""
    return np.asarray(cv2.resize(low, (PICTURE, PICTURE), interpolation=cv2.INTER_NEAREST), np.uint8)
