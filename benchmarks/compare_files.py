"""What the page of the signaling server shows under "Compare", written by `python -m benchmarks.bpp --compare FOLDER`.

    compare.json       {"settings", "machine", "clip": {"name", "frames", "shown_frames"}, "over", "rows", "videos"}
    picture.png        quality against rate, as `--plot` draws it
    side_by_side.mp4   as `--video` writes it, the first clip
    CODEC.mp4          what a codec decoded of the first clip, 256x256 at 25 fps, H.264 at CRF 12; all equally long

rows: one a codec, means over the clips: codec, name, kbps, bpp, bpp_with_still, psnr, ssim, vmaf where measured,
settings. videos: codec, name, kbps, psnr, still_bytes, file; figures of the first clip, null where there are none. The
videos stop after ten seconds, the figures are those of the whole clip. All files appear together, compare.json last.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from codec_models.bitstream.timing import PICTURE, TICKS_PER_SECOND
from codec_models.errors import UserError

from . import ours
from .anchors.codec import video_frame
from .anchors.colour import to_yuv420
from .clips import DEMO, Clip
from .report import Row, machine

MAX_SHOWN = 10 * TICKS_PER_SECOND
SHOWN = re.compile(r"ours-(25|5)|h264-.*|av1-floor|vvc-lowdelay-.*")
"""Codecs whose pictures are kept."""
FIGURES = ("kbps", "bpp", "bpp_with_still", "psnr", "ssim", "vmaf")
_LOSSLESS = {"preset": "medium", "crf": "12", "bf": "0", "g": str(TICKS_PER_SECOND)}
"""To the eye, that is; a key picture a second, so that a player finds any place at once."""
_FAMILIES = {"h264": "H.264", "h265": "H.265", "vp9": "VP9", "av1": "AV1", "vvc": "VVC"}
_ANCHOR = re.compile(r"(h264|h265|vp9|av1|vvc)-(?:(64|128)-)?(?:(\w+)-)?(floor|(crf|qp)(\d+))")


class CompareFiles:
    """`with CompareFiles(folder) as files`: `start` with the first clip, `add` a codec, `finish`. What was written is
    thrown away where the block is left before that. Raises UserError where the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parts: list[str] = []
        self._videos: list[Row] = []
        self._clip: Clip | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / "part-probe"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as e:
            raise _refused(folder, e.strerror or str(e)) from e

    def __enter__(self) -> CompareFiles:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for name in self._parts:
            (self.folder / f"part-{name}").unlink(missing_ok=True)

    def part(self, name: str) -> Path:
        """Where to write a file that `finish` will call `name`."""
        if name not in self._parts:
            self._parts.append(name)
        return self.folder / f"part-{name}"

    def start(self, clip: Clip) -> None:
        """The clip that is shown, and its own pictures."""
        self._clip = clip
        self._video("original", "original", clip.frames, {})

    def add(self, codec: str, frames: NDArray[np.uint8], row: Row) -> None:
        """What a codec made of the clip of `start`, frames (N, 256, 256, 3), and its row with kbps and psnr. Codecs
        that the page does not show are left out.
        """
        if SHOWN.fullmatch(codec):
            self._video(codec, people_name(codec), frames, row)

    def finish(self, mean: Mapping[str, Row], settings: Mapping[str, Any], over: str) -> None:
        """Write compare.json and give all files their names. mean: codec -> figures; settings: as `report.settings`
        with a line a codec under "codecs"; over: what the means are over.
        """
        assert self._clip is not None
        lines = settings["codecs"]
        rows = [
            {
                "codec": codec,
                "name": people_name(codec),
                **{key: figures[key] for key in FIGURES if key in figures},
                "settings": lines[codec],
            }
            for codec, figures in mean.items()
        ]
        count = len(self._clip.frames)
        clip = {"name": clip_name(self._clip.name), "frames": count, "shown_frames": min(count, MAX_SHOWN)}
        content = {"settings": dict(settings), "machine": machine(), "clip": clip, "over": over, "rows": rows}
        text = json.dumps({**content, "videos": self._videos}, indent=1, allow_nan=False) + "\n"
        try:
            self.part("compare.json").write_text(text, encoding="utf-8")
            for name in self._parts:
                (self.folder / f"part-{name}").replace(self.folder / name)
        except OSError as e:
            raise _refused(self.folder, e.strerror or str(e)) from e
        self._parts.clear()

    def _video(self, codec: str, name: str, frames: NDArray[np.uint8], row: Row) -> None:
        assert self._clip is not None
        if len(frames) != len(self._clip.frames):
            raise ValueError(f"{codec}: {len(frames)} frames of {len(self._clip.frames)}")
        file = f"{codec}.mp4"
        try:
            write_video(self.part(file), frames[:MAX_SHOWN])
        except (av.error.FFmpegError, OSError) as e:
            raise _refused(self.folder, str(e)) from e
        figures: Row = {key: round(row[key], 6) if key in row else None for key in ("kbps", "psnr")}
        figures["still_bytes"] = row.get("identity_bytes")
        self._videos.append({"codec": codec, "name": name, **figures, "file": file})


def write_video(path: Path, frames: Iterable[NDArray[np.uint8]]) -> None:
    """Frames (256, 256, 3) uint8 RGB as an mp4 that any browser plays, in the colours of `anchors.colour`."""
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream: Any = container.add_stream("libx264", rate=TICKS_PER_SECOND, options=_LOSSLESS)
        stream.width, stream.height, stream.pix_fmt = PICTURE, PICTURE, "yuv420p"
        context = stream.codec_context
        context.color_range = 1  # limited
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        for index, picture in enumerate(frames):
            frame = video_frame(to_yuv420(picture))
            frame.pts, frame.time_base = index, Fraction(1, TICKS_PER_SECOND)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def people_name(codec: str) -> str:
    """What the page calls a codec, such as "H.264, CRF 44" for "h264-zerolatency-crf44"."""
    if (match := _ANCHOR.fullmatch(codec)) is not None:
        family, side, mode, rate, scale, number = match.groups()
        offline = "" if mode or rate == "floor" else ", offline"
        size = f" at {side}×{side}" if side else ""
        return f"{_FAMILIES[family]}{size}, {'its floor' if rate == 'floor' else f'{scale.upper()} {number}'}{offline}"
    if codec in ours.BASELINES:
        return {"bicubic": "8×8 enlarged", "still": "Still alone", "still-colour": "Still in 8×8 colours"}[codec]
    variant = ours.Variant.named(codec)
    words = [f"Pinhole, {variant.fps} fps"]
    words += [f"without {what}" for what in ("hints", "audio", "teeth") if not getattr(variant, what)]
    if codec.endswith("-hold") or "-hold-" in codec:
        words.append("frames held")
    elif "-lookahead" in codec:
        words.append(f"look-ahead {variant.lookahead}")
    return ", ".join([*words, *([f"{variant.stills} stills"] if variant.stills > 1 else [])])


def clip_name(source: str) -> str:
    return "the built-in source" if source == DEMO else source


def _refused(folder: Path, why: str) -> UserError:
    return UserError(f"{folder} cannot be written ({why}): choose another --compare folder, such as out/compare")
