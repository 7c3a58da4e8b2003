"""The clip of the browser page's demo face: ten seconds of the built-in source that end where they begin.

    python -m benchmarks.demo_clip FILE.webm

VP9, 384x384 at 25 fps (the face tracker cuts about 311 pixels out of it), and mono Opus. The loop is cut where the
voice rests on both ends; over the last second and a half head and face glide to where they stood before the first
picture, so that the motion goes on. It is the animated public-domain NASA portrait of `sender/demo_face.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.anchors.codec import video_frame
from benchmarks.anchors.colour import to_yuv420
from benchmarks.progress import Progress
from codec_models.bitstream.timing import SAMPLE_RATE, SAMPLES_PER_TICK, TICKS_PER_SECOND
from codec_models.errors import CommandParser, UserError, run_command
from sender.demo_face import DemoFace, Expression, Pose
from sender.demo_source import Actor  # its poses; DemoSource gives pictures only
from sender.demo_voice import DemoVoice

SECONDS = 10
TICKS = SECONDS * TICKS_PER_SECOND
SIDE = 384
MAX_BYTES = 350_000
SEED = 1
SEARCHED = 1200
"""Ticks of the source among which the loop is looked for."""
POSE_GLIDES, FACE_GLIDES = 38, 12
"""Ticks over which the head, and mouth and eyes, glide; these only while nothing is said."""
_SILENT = 60.0
"""Root mean square of a tick's samples below which nobody speaks."""
_VIDEO = {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "1", "g": str(TICKS), "row-mt": "0"}
_AUDIO_BPS = 24_000
_Act = tuple[Pose, Expression]
T = TypeVar("T", Pose, Expression)


def loop(seed: int = SEED) -> tuple[list[_Act], NDArray[np.int16]]:
    """Poses and expressions of TICKS ticks, and the voice (TICKS, 1920) int16; the first tick follows the last."""
    acts: list[_Act] = []
    voices, silent = [], []
    voice, actor = DemoVoice(seed), Actor(seed)
    for index in range(SEARCHED):
        samples, mouth = voice.tick()
        acts.append(actor.play(index, mouth))
        voices.append(samples)
        silent.append(not mouth.speaking and float(np.sqrt((samples.astype(np.float64) ** 2).mean())) < _SILENT)
    start = min(_rests(silent), key=lambda k: abs(acts[k][0].yaw - acts[k + TICKS][0].yaw))
    out = []
    for k in range(start, start + TICKS):
        left = start + TICKS - k
        pose, face = acts[k]
        if left <= POSE_GLIDES:
            pose = _between(pose, acts[k - TICKS][0], 1 - left / (POSE_GLIDES + 1))
        if left <= FACE_GLIDES:
            face = _between(face, acts[k - TICKS][1], 1 - left / (FACE_GLIDES + 1))
        out.append((pose, face))
    return out, np.stack(voices[start : start + TICKS])


def _rests(silent: Sequence[bool]) -> list[int]:
    """Ticks where a loop may begin: silence for FACE_GLIDES ticks before it, and before its end."""
    quiet = np.convolve(silent, np.ones(FACE_GLIDES + 1), "valid") > FACE_GLIDES  # k: ticks k .. k + FACE_GLIDES
    return [
        k
        for k in range(max(FACE_GLIDES, POSE_GLIDES), len(silent) - TICKS)
        if quiet[k - FACE_GLIDES] and quiet[k - FACE_GLIDES + TICKS]
    ]


def _between(one: T, other: T, share: float) -> T:
    """The first with share 0, the second with 1, slow at both ends."""
    weight = share * share * (3 - 2 * share)
    a, b = asdict(one), asdict(other)
    mixed = {f.name: (1 - weight) * np.array(a[f.name]) + weight * np.array(b[f.name]) for f in fields(one)}
    values: dict[str, Any] = {name: tuple(v.tolist()) if v.ndim else float(v) for name, v in mixed.items()}
    return type(one)(**values)


def pictures(acts: Sequence[_Act]) -> Iterator[NDArray[np.uint8]]:
    """(384, 384, 3) uint8 RGB of each."""
    face = DemoFace()
    for pose, expression in acts:
        large = face.render(pose, expression)
        yield np.asarray(cv2.resize(large, (SIDE, SIDE), interpolation=cv2.INTER_AREA), np.uint8)


def write_clip(path: Path, seed: int = SEED) -> None:
    """Raises UserError where the file cannot be written."""
    acts, voice = loop(seed)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # bitexact: without a random number in the file
        with av.open(str(part), "w", format="webm", options={"fflags": "+bitexact"}) as container:
            _encode(container, acts, voice)
        part.replace(path)
    except (av.error.FFmpegError, OSError) as e:
        with suppress(OSError):
            part.unlink()
        raise UserError(f"{path} cannot be written ({e}): choose another file, such as demo.webm") from e


def _encode(container: Any, acts: Sequence[_Act], voice: NDArray[np.int16]) -> None:
    video = container.add_stream("libvpx-vp9", rate=TICKS_PER_SECOND, options=_VIDEO)
    video.width = video.height = SIDE
    video.pix_fmt = "yuv420p"
    context = video.codec_context
    context.thread_count = 1
    context.color_range = 1  # limited
    context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
    audio = container.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", options={"application": "voip"})
    audio.bit_rate = _AUDIO_BPS
    with Progress(len(acts), "drawing") as bar:
        for index, (picture, samples) in enumerate(zip(pictures(acts), voice, strict=True)):
            frame = video_frame(to_yuv420(picture))
            frame.pts, frame.time_base = index, Fraction(1, TICKS_PER_SECOND)
            sound = av.AudioFrame.from_ndarray(samples[None], "s16", "mono")
            sound.sample_rate, sound.time_base = SAMPLE_RATE, Fraction(1, SAMPLE_RATE)
            sound.pts = index * SAMPLES_PER_TICK
            for stream, one in ((video, frame), (audio, sound)):
                container.mux(stream.encode(one))
            bar.step()
    for stream in (video, audio):
        container.mux(stream.encode(None))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the clip. Raises UserError."""
    parser = CommandParser(description="Write the clip of the page's demo face.")
    parser.add_argument("file", metavar="FILE", type=Path, help="where to, such as signaling/static/demo.webm")
    options = parser.parse_args(arguments)
    write_clip(options.file)
    size = options.file.stat().st_size
    print(f"{options.file}: {size} bytes, {8 * size / SECONDS / 1000:.0f} kb/s")
    return 0


def command() -> None:
    run_command(main)


if __name__ == "__main__":
    command()
