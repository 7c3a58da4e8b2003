"""Scenes that are longer than clips: what one person's clips give when they are put one behind the other.

A scene is all clips of one person in the order of their names, forwards, then backwards, then forwards again and so on,
until it is long enough. Where two clips meet there is a cut, as far as their footage has one; where the direction turns
there is none. What is played backwards is heard backwards, so that lips and voice stay together. Nothing in a scene is
made up, but after the first pass nothing in it is new either: the head comes back to every place where it has been.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from codec_models.bitstream.timing import TICKS_PER_SECOND
from codec_models.errors import UserError

from .clips import Clip, load_clip

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Person:
    """Of a folder's manifest. files: of the clips, in the order of their names."""

    name: str
    files: list[Path]


def people(folder: Path, count: int) -> list[Person]:
    """Those with the most clips that have their own voice, most first, `count` at the most.

    The folder has `manifest.json`, a list of {"clip_id": ..., "identity": ..., "audio_own": true}, and CLIP_ID.mp4.
    Raises UserError.
    """
    path = folder / MANIFEST
    try:
        entries = json.loads(path.read_text())
        by_name: dict[str, list[Path]] = {}
        for entry in entries:
            file = folder / f"{entry['clip_id']}.mp4"
            if entry.get("audio_own", True) and file.is_file():
                by_name.setdefault(str(entry["identity"]), []).append(file)
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise UserError(f"{path} cannot be read ({e!r}): choose a folder of clips with its manifest") from e
    if not by_name:
        raise UserError(f"{path} names no clip that is there: choose another folder")
    most_first = sorted(by_name.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Person(name, sorted(files)) for name, files in most_first[:count]]


def scene(person: Person, seconds: float) -> Clip:
    """What they have, to and fro. Raises UserError."""
    return to_and_fro(chained(person.name, [load_clip(str(file)) for file in person.files]), seconds)


def chained(name: str, clips: Sequence[Clip]) -> Clip:
    """One behind the other."""
    frames, voice, points = ([getattr(c, part) for c in clips] for part in ("frames", "voice", "points"))
    return Clip(name, np.concatenate(frames), np.concatenate(voice), np.concatenate(points))


def backwards(clip: Clip) -> Clip:
    """From its last frame to its first. The 40 ms up to a frame are those that followed it."""
    return Clip(clip.name, clip.frames[::-1], clip.following_voice[::-1, ::-1], clip.points[::-1])


def to_and_fro(clip: Clip, seconds: float) -> Clip:
    """Forwards, backwards, forwards ..., cut off after so many seconds."""
    count = round(seconds * TICKS_PER_SECOND)
    passes = -(-count // len(clip.frames))
    back = backwards(clip)
    whole = chained(clip.name, [back if k % 2 else clip for k in range(max(passes, 1))])
    return Clip(clip.name, whole.frames[:count], whole.voice[:count], whole.points[:count])
