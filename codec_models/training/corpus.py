"""Face clips in the memory of the training device, as bytes: luma in full, colour in half resolution as H.264 has it.

83 thousand frames of 256x256 take 9 GB. Pictures become floats only when a batch asks for them.
"""

from __future__ import annotations

import io
import json
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..landmarks import POINTS
from .labels import Labels, voice_of

SIDE, SMALL, SMALLEST = 256, 64, 32
MEL_BEFORE = 16
"""Rows of silence kept before a clip: with them, rows 4 t to 4 t + 15 are the 160 ms up to picture t."""
_SHORTEST = 30
_DOMINATED = ("GRID",)
_DOMINATED_SHARE = 0.04
"""One camera and one background: all such clips together get at most this share of the draws."""
_LOW_RESOLUTION_WEIGHT = 0.4
# BT.601, video range, as the decoders assume where a clip does not say.
_TO_RGB = torch.tensor([[1.164384, 0.0, 1.596027], [1.164384, -0.391762, -0.812968], [1.164384, 2.017232, 0.0]])


@dataclass(frozen=True, slots=True)
class ClipRow:
    """What the manifest says of a clip."""

    path: Path
    identity: str
    dataset: str
    lowres: bool
    own_voice: bool


@dataclass(frozen=True, slots=True)
class Clip:
    """Where a clip lies in the corpus: frames [start, start + frames), its mel rows from mel_start."""

    row: ClipRow
    start: int
    frames: int
    mel_start: int
    voiced: bool


@dataclass(frozen=True, slots=True)
class _Read:
    luma: NDArray[np.uint8]  # (n, 256, 256)
    chroma: NDArray[np.uint8]  # (n, 2, 128, 128)
    points: NDArray[np.float32]  # (n, 110, 2)
    mel: NDArray[np.uint8] | None  # (rows, 80), where the voice is the face's own
    stills: list[tuple[int, NDArray[np.uint8]]]  # frame, its picture after a real still codec


def read_manifest(folder: Path) -> list[ClipRow]:
    """Rows of FOLDER/manifest.json whose clips are there; those of kind "uncertain" are left out."""
    path = folder / "manifest.json"
    try:
        rows = json.loads(path.read_text())
    except FileNotFoundError:
        raise UserError(f"no manifest.json in {folder}: give a folder of face clips with one") from None
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read {path}: {e}") from e
    if not isinstance(rows, list) or not all(isinstance(r, dict) and "clip_id" in r for r in rows):
        raise UserError(f"{path} is not a list of clips with a clip_id each")
    result = [
        ClipRow(
            path=clip,
            identity=str(r.get("identity") or r["clip_id"]),
            dataset=str(r.get("dataset") or ""),
            lowres=bool(r.get("lowres")),
            own_voice=r.get("audio_own") is True,
        )
        for r in rows
        if r.get("kind") != "uncertain" and (clip := folder / f"{r['clip_id']}.mp4").is_file()
    ]
    if not result:
        raise UserError(f"none of the clips that {path} names is in {folder}")
    return result


def most_varied(rows: list[ClipRow], count: int | None) -> list[ClipRow]:
    """At most count clips, of as many people as possible."""
    turns: dict[str, int] = defaultdict(int)
    keyed = []
    for k, row in enumerate(rows):
        keyed.append((turns[row.identity], crc32(row.path.stem.encode()), k))
        turns[row.identity] += 1
    return [rows[k] for _, _, k in sorted(keyed)[:count]]


class Corpus:
    """All frames, landmarks and log-mels of a list of clips, on one device.

    luma (F, 256, 256), chroma (F, 2, 128, 128), small (F, 3, 64, 64) RGB: uint8. points (F, 110, 2) in [-1, 1].
    mel (M, 80) uint8. weight (C,): how often to draw each clip, adds up to 1.
    pool (P, 3, 256, 256) uint8: frames as a still codec gives them back; pool_frames[clip] lists (frame, slot).

    pictures: without them there is no luma and no chroma, and small is (F, 3, 32, 32): enough for landmarks, in a
    thirtieth of the memory.
    """

    def __init__(
        self,
        rows: list[ClipRow],
        labels: Labels,
        device: torch.device,
        stills_per_clip: int = 1,
        pictures: bool = True,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.device = device
        self.clips: list[Clip] = []
        self.pool_frames: list[list[tuple[int, int]]] = []
        workers = min(16, os.cpu_count() or 1)
        with ThreadPoolExecutor(workers) as executor:
            counts = executor.map(lambda row: _frames_of(row, labels), rows)
            known = [(row, found) for row, found in zip(rows, counts, strict=True) if found >= _SHORTEST]
        room = sum(found for _, found in known)
        if not room:
            raise UserError("no clip of 30 frames or more has landmarks: check that the labels belong to these clips")
        kept, side = (room, SMALL) if pictures else (0, SMALLEST)
        _check_memory(kept * SIDE * SIDE * 3 // 2 + room * (3 * side * side + len(POINTS) * 8), device)
        self.luma = torch.empty(kept, SIDE, SIDE, dtype=torch.uint8, device=device)
        self.chroma = torch.empty(kept, 2, SIDE // 2, SIDE // 2, dtype=torch.uint8, device=device)
        self.small = torch.empty(room, 3, side, side, dtype=torch.uint8, device=device)
        points: list[Tensor] = []
        mels: list[Tensor] = []
        pool: list[Tensor] = []
        at = mel_at = 0
        with ThreadPoolExecutor(workers) as executor:
            # A few clips are read ahead, never all of them: they would not fit a second time.
            ahead = [executor.submit(_read, row, labels, stills_per_clip) for row, _ in known[:workers]]
            for k, (row, _) in enumerate(known):
                read = ahead.pop(0).result()
                if k + workers < len(known):
                    ahead.append(executor.submit(_read, known[k + workers][0], labels, stills_per_clip))
                progress(k + 1, len(known))
                if read is None:
                    continue
                n = len(read.luma)
                span = slice(at, at + n)
                luma, chroma = torch.from_numpy(read.luma).to(device), torch.from_numpy(read.chroma).to(device)
                if pictures:
                    self.luma[span], self.chroma[span] = luma, chroma
                for part in torch.split(torch.arange(n, device=device), 64):
                    self.small[at + part] = _bytes(_rgb(luma[part], chroma[part], side))
                points.append(torch.from_numpy(read.points[:n] * 2 - 1))
                mel = torch.zeros(4 * n + MEL_BEFORE + 4, 80, dtype=torch.uint8)
                if read.mel is not None:
                    voice = torch.from_numpy(read.mel)[: 4 * n]
                    mel[MEL_BEFORE : MEL_BEFORE + len(voice)] = voice
                mels.append(mel)
                self.pool_frames.append([(frame, len(pool) + j) for j, (frame, _) in enumerate(read.stills)])
                pool += [torch.from_numpy(picture).permute(2, 0, 1) for _, picture in read.stills]
                self.clips.append(Clip(row, at, n, mel_at, read.mel is not None))
                at, mel_at = at + n, mel_at + len(mel)
        if not self.clips:
            raise UserError("not one clip could be read: are they 256x256 videos?")
        self.frames = at
        self.points = torch.cat(points).to(device)
        self.mel = torch.cat(mels).to(device)
        self.pool = (
            torch.stack(pool).to(device) if pool else torch.empty(0, 3, SIDE, SIDE, dtype=torch.uint8, device=device)
        )
        self.weight = torch.from_numpy(draw_weights(self.clips))

    def pictures(self, index: Tensor, resolution: int) -> Tensor:
        """Frames (K,) of the corpus -> RGB (K, 3, resolution, resolution) in [-1, 1], area averaged; 64, 128 or 256."""
        if resolution == SMALL:
            return self.small[index].float() / 127.5 - 1
        return _rgb(self.luma[index], self.chroma[index], resolution)


def _rgb(luma: Tensor, chroma: Tensor, resolution: int) -> Tensor:
    """(K, 256, 256) and (K, 2, 128, 128) bytes -> RGB (K, 3, resolution, resolution) in [-1, 1]."""
    y, colour = luma.float()[:, None], chroma.float()
    if resolution < SIDE:
        y = F.avg_pool2d(y, SIDE // resolution)
    if resolution < SIDE // 2:
        colour = F.avg_pool2d(colour, SIDE // 2 // resolution)
    elif resolution > SIDE // 2:
        colour = F.interpolate(colour, size=(resolution, resolution), mode="bilinear", align_corners=False)
    planes = torch.cat([y - 16, colour - 128], 1)
    rgb = torch.einsum("rc,kcyx->kryx", _TO_RGB.to(luma.device), planes)
    return (rgb / 127.5 - 1).clamp(-1, 1)


def draw_weights(clips: list[Clip]) -> NDArray[np.float64]:
    """Square root of the length, shared among the clips of one person; GRID-style and blurry footage counts less."""
    people: dict[str, int] = defaultdict(int)
    for clip in clips:
        people[clip.row.identity] += 1
    weight = np.array(
        [np.sqrt(c.frames / people[c.row.identity]) * (_LOW_RESOLUTION_WEIGHT if c.row.lowres else 1.0) for c in clips]
    )
    dominated = np.array([c.row.dataset in _DOMINATED for c in clips])
    rest, theirs = weight[~dominated].sum(), weight[dominated].sum()
    if rest > 0 and theirs > 0:
        allowed = rest * _DOMINATED_SHARE / (1 - _DOMINATED_SHARE)
        weight[dominated] *= min(1.0, allowed / theirs)
    return np.asarray(weight / weight.sum(), np.float64)


def _frames_of(row: ClipRow, labels: Labels) -> int:
    found = labels.of(row.path)
    return 0 if found is None else len(found)


def _read(row: ClipRow, labels: Labels, stills: int) -> _Read | None:
    """Decode one clip; None where it is shorter than a second or not of the expected size."""
    found = labels.of(row.path)
    if found is None:
        return None
    luma, chroma = [], []
    try:
        with av.open(str(row.path)) as container:
            for frame in container.decode(video=0):
                if (frame.width, frame.height) != (SIDE, SIDE):
                    return None
                planes = frame.to_ndarray(format="yuv420p")
                luma.append(planes[:SIDE])
                chroma.append(planes[SIDE:].reshape(2, SIDE // 2, SIDE // 2))
                if len(luma) == len(found):
                    break
    except (av.FFmpegError, OSError):
        return None
    if len(luma) < _SHORTEST:
        return None
    rng = np.random.default_rng(crc32(row.path.stem.encode()))
    kept = []
    for k in rng.choice(len(luma), stills, replace=False).tolist():
        planes = np.concatenate([luma[k], chroma[k].reshape(SIDE // 2, SIDE)])
        rgb = av.VideoFrame.from_ndarray(planes, format="yuv420p").to_ndarray(format="rgb24")
        kept.append((k, recompressed(np.asarray(rgb, np.uint8), rng)))
    voice = voice_of(row.path) if row.own_voice else None
    return _Read(np.stack(luma), np.stack(chroma), found, voice, kept)


def recompressed(picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture (H, W, 3) uint8 after AVIF (as the identity layer has it) or, sometimes, JPEG, at a random quality."""
    buffer = io.BytesIO()
    if rng.random() < 0.75:
        quality = int(rng.integers(12, 60))
        Image.fromarray(picture).save(buffer, "AVIF", quality=quality, speed=9, subsampling="4:2:0", max_threads=1)
    else:
        Image.fromarray(picture).save(buffer, "JPEG", quality=int(rng.integers(20, 85)))
    return np.array(Image.open(buffer).convert("RGB"), np.uint8)


def _bytes(pictures: Tensor) -> Tensor:
    return ((pictures + 1) * 127.5).round().to(torch.uint8)


def _check_memory(need: int, device: torch.device) -> None:
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        try:
            lines = Path("/proc/meminfo").read_text().splitlines()
            free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
        except (OSError, StopIteration):
            return
    if need > 0.9 * free:
        raise UserError(
            f"the clips need {need / 1e9:.1f} GB and {free / 1e9:.1f} GB are free: use fewer clips (--max-clips)"
        )
