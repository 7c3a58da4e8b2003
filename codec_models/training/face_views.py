"""Faces to find: frames of clips in many places, sizes, lights and qualities, and pictures without a face.

No changed picture is ever made: the steps of the network take few samples each, and where those lie is traced back to
the frame (`ChangedView`). A change is an affine map p = A p' + c from the changed picture's coordinates p' to the
frame's p, both in [-1, 1].
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from zlib import crc32

import av
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import UserError
from ..face_points import WHOLE
from ..hint_measure import SCALE, head_of, in_head, measured, placed
from ..landmarks import POINTS
from .augment import random_colours
from .corpus import SIDE, Clip, ClipRow, draw_weights
from .draws import Dice
from .face_points import MIRROR
from .labels import Labels

# BT.601, video range: RGB in [0, 255] of luma - 16 and chroma - 128.
_TO_RGB = torch.tensor([[1.164384, 0.0, 1.596027], [1.164384, -0.391762, -0.812968], [1.164384, 2.017232, 0.0]])
_OFFSET = torch.tensor([16.0, 128.0, 128.0])
_EDGE = 1 - 1 / SIDE
_RECOMPRESSED = 0.25
"""Share of the frames that are kept as a JPEG encoder leaves them."""


class FacePool:
    """Every `every`-th frame of the clips that have landmarks, as bytes: luma (N, 256, 256), chroma (N, 2, 128, 128);
    points (N, 110, 2) in [-1, 1]; clip (N,): of which clip; weight (N,): how often to draw each: rare faces more.
    """

    def __init__(
        self,
        rows: list[ClipRow],
        labels: Labels,
        device: torch.device,
        every: int = 3,
        recompressed: bool = True,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.device = device
        known = [(row, found) for row in rows if (found := labels.of(row.path)) is not None and len(found) >= every]
        if not known:
            raise UserError("no clip has landmarks: check that the labels belong to these clips")
        room = sum(-(-len(found) // every) for _, found in known)
        self.luma = torch.empty(room, SIDE, SIDE, dtype=torch.uint8, device=device)
        self.chroma = torch.empty(room, 2, SIDE // 2, SIDE // 2, dtype=torch.uint8, device=device)
        self.points = torch.empty(room, len(POINTS), 2, device=device)
        self.clips: list[Clip] = []
        at = 0
        with ThreadPoolExecutor(min(4, torch.get_num_threads())) as executor:
            # A few clips are read ahead, never all of them: they would not fit a second time.
            ahead = [executor.submit(_read, *pair, every, recompressed) for pair in known[:4]]
            for k, (row, _) in enumerate(known):
                read = ahead.pop(0).result()
                if k + 4 < len(known):
                    ahead.append(executor.submit(_read, *known[k + 4], every, recompressed))
                progress(k + 1, len(known))
                if read is None:
                    continue
                luma, chroma, points = map(torch.from_numpy, read)
                span = slice(at, at + len(luma))
                self.luma[span], self.chroma[span], self.points[span] = luma, chroma, points * 2 - 1
                self.clips.append(Clip(row, at, len(luma), 0, False))
                at += len(luma)
        if not self.clips:
            raise UserError("not one clip could be read: are they 256x256 videos?")
        self.luma, self.chroma, self.points = self.luma[:at], self.chroma[:at], self.points[:at]
        counts = torch.tensor([c.frames for c in self.clips])
        self.clip = torch.arange(len(self.clips)).repeat_interleave(counts)
        hints = measured(self.points).cpu() * torch.tensor(SCALE)
        rare = 1 + (hints - hints.median(0).values)[:, [0, 2, 3, 4, 5, 9, 10, 11]].abs().clamp(max=3).mean(1)
        share = torch.from_numpy(draw_weights(self.clips)).float()[self.clip]
        within = torch.zeros(len(self.clips)).index_add_(0, self.clip, rare)[self.clip]
        self.weight = share * rare / within

    def __len__(self) -> int:
        return len(self.luma)

    def planes(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Luma (B, 1, 256, 256) and luma and chroma at half the size (B, 3, 128, 128) of frames (B,), 0 to 255."""
        index = index.to(self.device)
        luma = self.luma[index].float()[:, None]
        return luma, torch.cat([F.avg_pool2d(luma, 2), self.chroma[index].float()], 1)


def _read(
    row: ClipRow, points: NDArray[np.float32], every: int, recompressed: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float32]] | None:
    rng = np.random.default_rng(crc32(row.path.stem.encode()))
    luma, chroma, kept = [], [], []
    try:
        with av.open(str(row.path)) as container:
            for k, frame in enumerate(container.decode(video=0)):
                if (frame.width, frame.height) != (SIDE, SIDE):
                    return None
                if k == len(points):
                    break
                if k % every:
                    continue
                if recompressed and rng.random() < _RECOMPRESSED:
                    buffer = io.BytesIO()
                    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
                    picture.save(buffer, "JPEG", quality=int(rng.integers(15, 80)))
                    frame = av.VideoFrame.from_ndarray(np.array(Image.open(buffer).convert("RGB")), format="rgb24")
                planes = frame.to_ndarray(format="yuv420p")
                luma.append(planes[:SIDE])
                chroma.append(planes[SIDE:].reshape(2, SIDE // 2, SIDE // 2))
                kept.append(k)
    except (av.FFmpegError, OSError):
        return None
    return (np.stack(luma), np.stack(chroma), points[kept]) if kept else None


class ChangedView:
    """What `face_points.View` says, of frames (luma, half: see `FacePool.planes`) seen through changes.

    linear (B, 2, 2), centre (B, 2): the map. wrapped (B,) bool: the four quarters of the picture change places.
    walls (B,) bool: beyond the frame's edges is a close look at a corner of the next frame in the batch; elsewhere the
    frame mirrored (reflected) or its edge.
    """

    def __init__(
        self,
        luma: Tensor,
        half: Tensor,
        linear: Tensor,
        centre: Tensor,
        reflected: bool = True,
        wrapped: Tensor | None = None,
        walls: Tensor | None = None,
        look: Look | None = None,
        dice: Dice | None = None,
    ) -> None:
        self._luma, self._half = luma, half
        self._linear, self._centre = linear, centre
        self._padding = "reflection" if reflected else "border"
        self._wrapped, self._look, self._dice = wrapped, look, dice
        self._walls = walls.nonzero()[:, 0] if walls is not None else None

    def whole(self) -> Tensor:
        w, h = (2 * n for n in WHOLE)
        x, y = ((torch.arange(n, device=self._luma.device) + 0.5) / n * 2 - 1 for n in (w, h))
        where = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1)
        return self._seen(where.expand(len(self._luma), -1, -1, -1), False, 0.25, pooled=2)

    def patch(self, where: Tensor, fine: bool) -> Tensor:
        return self._seen(where, fine, 0.7 if fine else 0.4)

    def _seen(self, where: Tensor, fine: bool, noisy: float, pooled: int = 1) -> Tensor:
        """noisy: share of the noise that averaging leaves; pooled: average over so many samples both ways."""
        p = where.clamp(-_EDGE, _EDGE)
        if self._wrapped is not None:
            turned = torch.where(p < 0, p + 1, p - 1)
            p = torch.where(self._wrapped[:, None, None, None], turned, p)
        b, h, w, _ = p.shape
        source = (p.reshape(b, h * w, 2) @ self._linear.mT + self._centre[:, None]).view(b, h, w, 2)
        planes = F.grid_sample(self._half, source, padding_mode=self._padding, align_corners=False)
        if fine:
            luma = F.grid_sample(self._luma, source, padding_mode=self._padding, align_corners=False)
            planes = torch.cat([luma, planes[:, 1:]], 1)
        if self._walls is not None and len(self._walls):
            k = self._walls
            corner = 0.25 * p[k] + 0.75 * self._centre[k, None, None].sign()
            wall = F.grid_sample(self._half.roll(1, 0)[k], corner, padding_mode="border", align_corners=False)
            beyond = (source[k].abs() > 1).any(-1)[:, None]
            planes[k] = torch.where(beyond, wall, planes[k])
        if pooled > 1:
            planes = F.avg_pool2d(planes, pooled)
            p = F.avg_pool2d(p.movedim(3, 1), pooled).movedim(1, 3)
        matrix, offset = _TO_RGB.to(planes) / 127.5, _OFFSET.to(planes)
        rgb = torch.einsum("rc,bcyx->bryx", matrix, planes - offset[:, None, None]) - 1
        rgb = rgb.clamp(-1, 1)
        if self._look is None or self._dice is None:
            return rgb
        return self._look.changed(rgb, p, noisy, self._dice)


@dataclass(frozen=True, slots=True)
class Look:
    """Light, colour and noise of B pictures. colours (B, 3, 4): see `augment`; gamma (B,); slope (B, 2): light from one
    side; noise (B,): standard deviation; cover (B, 7): a rectangle (middle, half width and height) in one colour lies
    over the picture.
    """

    colours: Tensor
    gamma: Tensor
    slope: Tensor
    noise: Tensor
    cover: Tensor

    def changed(self, rgb: Tensor, p: Tensor, noisy: float, dice: Dice) -> Tensor:
        """Samples (B, 3, h, w) that lie at p (B, h, w, 2); noisy: share of the noise that averaging leaves."""
        b, _, h, w = rgb.shape
        covers = ((p - self.cover[:, None, None, :2]).abs() < self.cover[:, None, None, 2:4]).all(-1)[:, None]
        rgb = torch.where(covers, self.cover[:, 4:7, None, None], rgb)
        x = torch.baddbmm(self.colours[:, :, 3:], self.colours[:, :, :3], rgb.reshape(b, 3, h * w)).view(b, 3, h, w)
        light = ((x.clamp(-1, 1) + 1) / 2 + 1e-4) ** self.gamma[:, None, None, None]
        ramp = 1 + (p * self.slope[:, None, None]).sum(-1)[:, None]
        x = light * 2 * ramp - 1
        grain = torch.randn(x.shape, generator=dice.device_generator, device=x.device)
        return (x + grain * (noisy * self.noise)[:, None, None, None]).clamp(-1, 1)


@dataclass(frozen=True, slots=True)
class Faces:
    """A batch. points (B, 110, 2) in [-1, 1] of the changed pictures; there (B,) bool: whether there is a face."""

    view: ChangedView
    points: Tensor
    there: Tensor


@dataclass(frozen=True, slots=True)
class FaceConfig:
    """faceless: share of pictures without a face. wide: of faces anywhere in the picture and of any size, the rest lies
    about where a sender's crop has it. Lengths are fractions of the picture's side.
    """

    faceless: float = 0.12
    wide: float = 0.3
    place: float = 0.08
    size: float = 0.2
    roll: float = 0.25
    wide_place: tuple[float, float] = (0.28, 0.72)
    wide_size: tuple[float, float] = (0.07, 0.33)
    wide_roll: float = 0.6
    squeezed: float = 0.07
    covered: float = 0.12
    walls: float = 0.5
    soft: float = 0.4


class FaceSampler:
    """Draws batches from a pool."""

    def __init__(self, pool: FacePool, config: FaceConfig = FaceConfig(), seed: int = 0) -> None:
        self.pool = pool
        self.dice = Dice(seed, pool.device)
        self._config = config

    def plain(self, index: Tensor) -> Faces:
        """Frames as they are."""
        luma, half = self.pool.planes(index)
        eye = torch.eye(2, device=self.pool.device).expand(len(index), 2, 2)
        view = ChangedView(luma, half, eye, torch.zeros(len(index), 2, device=self.pool.device))
        there = torch.ones(len(index), dtype=torch.bool, device=self.pool.device)
        return Faces(view, self.pool.points[index.to(self.pool.device)], there)

    def draw(self, count: int) -> Faces:
        """Frames in another place and light. The last ones have no face."""
        dice, config = self.dice, self._config
        index = dice.choice(self.pool.weight, count)
        luma, half = self._softened(*self.pool.planes(index))
        points = self.pool.points[index.to(self.pool.device)].cpu()
        mirror = dice.chances(0.5, count)
        points = torch.where(mirror[:, None, None], points[:, MIRROR] * torch.tensor([-1.0, 1.0]), points)
        head = head_of(points)
        aim = self._heads(head)
        squeeze = torch.exp(dice.uniform(-config.squeezed, config.squeezed, count, 1, 2))
        moved = placed(in_head(points, head) * squeeze, aim)
        linear, centre = _affine(lambda p: placed(in_head(p, aim) / squeeze, head), count)
        flip = torch.where(mirror, -1.0, 1.0)
        linear = torch.stack([linear[:, 0] * flip[:, None], linear[:, 1]], 1)
        centre = torch.stack([centre[:, 0] * flip, centre[:, 1]], 1)
        there = torch.arange(count) < count - round(config.faceless * count)
        wrapped = self._hide(
            linear, centre, head_of(points * torch.stack([flip, torch.ones(count)], 1)[:, None]), there
        )
        device = self.pool.device
        view = ChangedView(
            luma,
            half,
            linear.to(device),
            centre.to(device),
            dice.chance(0.3),
            wrapped.to(device),
            (there & dice.chances(config.walls, count)).to(device),
            self._look(count, ~there),
            dice,
        )
        return Faces(view, moved.to(device), there.to(device))

    def _heads(self, head: Tensor) -> Tensor:
        """Where to put heads (B, 4)."""
        dice, config, n = self.dice, self._config, len(head)
        near = head + torch.cat(
            [
                dice.uniform(-config.place, config.place, n, 2),
                dice.uniform(-config.size, config.size, n, 1),
                dice.uniform(-config.roll, config.roll, n, 1),
            ],
            1,
        )
        low, high = (torch.tensor(v).log() for v in config.wide_size)
        size = dice.uniform(0, 1, n, 1) * (high - low) + low
        roll = dice.uniform(-config.wide_roll, config.wide_roll, n, 1)
        wide = torch.cat([dice.uniform(*config.wide_place, n, 2), size, roll], 1)
        return torch.where(dice.chances(config.wide, n, 1), wide, near)

    def _hide(self, linear: Tensor, centre: Tensor, head: Tensor, there: Tensor) -> Tensor:
        """Change the maps of pictures that shall have no face; whether quarters change places, (B,)."""
        dice, n = self.dice, len(head)
        wrapped = torch.zeros(n, dtype=torch.bool)
        kinds = dice.integers(0, 4, n)
        for k in (~there).nonzero()[:, 0].tolist():
            kind = int(kinds[k])
            if kind == 0:
                wrapped[k] = True
                continue
            angle = dice.uniform(-0.5, 0.5, 1)
            if kind == 1:  # lying or upside down
                turn = (angle + torch.pi * (0.6 + 0.8 * dice.uniform(0, 1, 1)))[0]
                spun = torch.stack([turn.cos(), -turn.sin(), turn.sin(), turn.cos()]).view(2, 2)
                linear[k] = linear[k] @ spun
                continue
            # a close look at some place: beside the face, or (kind 3) anywhere, skin and hair too
            zoom = float(dice.uniform(0.12, 0.3, 1))
            linear[k] = zoom * torch.eye(2)
            for _ in range(20):
                centre[k] = dice.uniform(-1 + zoom, 1 - zoom, 2)
                away = torch.linalg.vector_norm(centre[k] - (2 * head[k, :2] - 1))
                if kind == 3 or away > 2 * 1.5 * float(head[k, 2].exp()) + zoom:
                    break
        return wrapped

    def _softened(self, luma: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
        """Some frames softer, and a few sharper, than they are."""
        some = self.dice.chances(self._config.soft, len(luma)).nonzero()[:, 0]
        if not len(some):
            return luma, half
        amount = self.dice.uniform(-0.5, 1.0, len(some)).to(luma.device)[:, None, None, None]
        some = some.to(luma.device)

        def soft(x: Tensor) -> Tensor:
            small = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear", align_corners=False)
            return torch.lerp(x, small, amount)

        luma[some], half[some] = soft(luma[some]), soft(half[some])
        return luma, half

    def _look(self, count: int, empty: Tensor) -> Look:
        dice, config, device = self.dice, self._config, self.pool.device
        cover = torch.cat(
            [
                dice.uniform(-0.8, 0.8, count, 2),
                dice.uniform(0.05, 0.4, count, 2) * dice.chances(config.covered, count, 1),
                dice.uniform(-1, 1, count, 3),
            ],
            1,
        )
        blank = empty & dice.chances(0.1, count)  # one colour and noise
        cover = torch.where(blank[:, None], cover * torch.tensor([0, 0, 0, 0, 1, 1, 1.0]), cover)
        cover[blank, 2:4] = 2
        noise = dice.uniform(0, 1, count) ** 3 * 0.2
        noise = torch.where(blank, dice.uniform(0, 1.5, count), noise)
        return Look(
            random_colours(dice, count).to(device),
            torch.exp(dice.uniform(-0.5, 0.5, count)).to(device),
            (dice.uniform(-0.5, 0.5, count, 2) * dice.chances(0.5, count, 1)).to(device),
            noise.to(device),
            cover.to(device),
        )


def _affine(move: Callable[[Tensor], Tensor], count: int) -> tuple[Tensor, Tensor]:
    """linear (B, 2, 2) and centre (B, 2) of an affine map of points (B, 3, 2)."""
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]).expand(count, 3, 2)
    mapped = move(corners)
    centre = mapped[:, 0]
    return torch.stack([mapped[:, 1] - centre, mapped[:, 2] - centre], 2), centre.clone()
