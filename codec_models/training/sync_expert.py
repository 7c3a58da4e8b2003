"""The sync expert: do these lips say this? (g4g section 3.1.2: diagonal contrastive alignment.)

Two small encoders, one for the mouth in five frames, one for the 200 ms of voice beside them. In a batch every mouth is
compared with every voice; the pairs on the diagonal belong together, all others do not (eq. 6 to 10 and 16). Some of
the others are of the same clip a little earlier or later, so that the face alone does not give the answer away.

`python -m codec_models.training sync-expert` trains it; LSE-D, LSE-C and the offset are measured as SyncNet's are:
the mean distance at the best offset, the median over all offsets less that, and the best offset in ticks.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..landmarks import LIPS
from .checkpoint import load_weights, save_weights
from .corpus import MEL_BEFORE, Corpus
from .draws import Dice
from .face_points import AT, eye_distance
from .progress import Progress

FRAMES, ROWS = 5, 20
HEIGHT, WIDTH = 48, 96
_SHORTEST = 40
_LIPS = [AT[p] for p in LIPS]


def mouth_crops(pictures: Tensor, points: Tensor) -> Tensor:
    """Mouths (N, 3, 48, 96) of pictures (N, 3, R, R) in [-1, 1] with landmarks (N, 110, 2); differentiable."""
    middle, half = points[:, _LIPS].mean(1), 0.55 * eye_distance(points)
    where = torch.zeros(len(points), 2, 3, device=points.device)
    where[:, 0, 0], where[:, 1, 1] = half, half * HEIGHT / WIDTH
    where[:, :, 2] = middle
    grid = F.affine_grid(where, [len(points), 3, HEIGHT, WIDTH], align_corners=False)
    return F.grid_sample(pictures, grid.to(pictures.dtype), padding_mode="border", align_corners=False)


def _stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1), nn.GroupNorm(8, outputs), nn.SiLU())


class SyncExpert(nn.Module):
    """Embeds mouths and voices on one sphere."""

    def __init__(self, width: int = 32, size: int = 128) -> None:
        super().__init__()
        w = width
        self.mouth = nn.Sequential(
            _stage(3 * FRAMES, w, 2), _stage(w, 2 * w, 2), _stage(2 * w, 4 * w, 2), _stage(4 * w, 4 * w, 2)
        )
        self.voice = nn.Sequential(
            _stage(1, w, 2), _stage(w, 2 * w, 2), _stage(2 * w, 4 * w, 2), _stage(4 * w, 4 * w, 1)
        )
        self.mouth_out, self.voice_out = nn.Linear(4 * w * 3 * 6, size), nn.Linear(4 * w * 10 * 3, size)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    @classmethod
    def load(cls, path: Path) -> SyncExpert:
        """Raises UserError where the file does not hold such an expert."""
        expert = cls()
        load_weights(path, expert)
        return expert.eval().requires_grad_(False)

    def forward(self, mouths: Tensor, mel: Tensor) -> tuple[Tensor, Tensor]:
        """mouths (N, 5, 3, 48, 96), mel (N, 80, 20), both in [-1, 1] -> embeddings (N, d) of length 1."""
        seen = self.mouth_out(self.mouth(mouths.flatten(1, 2)).flatten(1))
        heard = self.voice_out(self.voice(mel[:, None]).flatten(1))
        return F.normalize(seen.float(), dim=1), F.normalize(heard.float(), dim=1)

    def distance(self, mouths: Tensor, mel: Tensor) -> Tensor:
        """How far mouths and voices are apart, (N,), 0 to 2; differentiable: the sync loss."""
        seen, heard = self(mouths, mel)
        apart: Tensor = torch.linalg.vector_norm(seen - heard + 1e-7, dim=1)
        return apart

    def contrast(self, mouths: Tensor, mel: Tensor) -> Tensor:
        """Cross-entropy of the diagonal, over rows and over columns."""
        seen, heard = self(mouths, mel)
        scores = self.log_scale.clamp(max=4).exp() * seen @ heard.T
        diagonal = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2


@dataclass(frozen=True, slots=True)
class SyncFigures:
    """lse_d: mean distance at the best offset; lse_c: median over offsets less that; offset: ticks the voice lags."""

    lse_d: float
    lse_c: float
    offset: int


@torch.no_grad()
def sync_figures(expert: SyncExpert, mouths: Tensor, mel: Tensor, reach: int = 12) -> SyncFigures:
    """Figures of one clip: mouths (T, 3, 48, 96) of its ticks, mel (4 T, 80) its rows, in [-1, 1]; T >= 6 + 2 reach."""
    ticks = min(len(mouths), len(mel) // 4)
    if ticks < FRAMES + 1 + 2 * reach:
        raise ValueError(f"{ticks} ticks are too few for offsets up to {reach}")
    seen, heard = [], []
    for last in range(FRAMES - 1, ticks):
        a, b = expert(mouths[last - FRAMES + 1 : last + 1][None], mel[4 * (last - FRAMES + 1) : 4 * (last + 1)].T[None])
        seen.append(a)
        heard.append(b)
    v, s = torch.cat(seen), torch.cat(heard)
    inner = v[reach : len(v) - reach]
    means = torch.stack(
        [
            torch.linalg.vector_norm(inner - s[reach + k : len(s) - reach + k], dim=1).mean()
            for k in range(-reach, reach + 1)
        ]
    )
    best = int(means.argmin())
    return SyncFigures(float(means[best]), float(means.median() - means[best]), best - reach)


@dataclass(frozen=True, slots=True)
class SyncRecipe:
    """minutes of training; clips a batch and windows of each; steps: end after so many, for tests."""

    minutes: float = 10.0
    steps: int | None = None
    clips: int = 12
    windows: int = 4
    learning_rate: float = 1e-3
    seed: int = 0


class SyncSampler:
    """Mouths and voices of the voiced clips of a corpus, several windows of each clip drawn."""

    def __init__(self, corpus: Corpus, seed: int = 0) -> None:
        self.corpus, self.dice = corpus, Dice(seed, corpus.device)
        self._voiced = torch.tensor([c.voiced and c.frames >= _SHORTEST for c in corpus.clips])

    @property
    def clips(self) -> int:
        return int(self._voiced.sum())

    def batch(self, clips: int, windows: int) -> tuple[Tensor, Tensor]:
        """mouths (clips * windows, 5, 3, 48, 96), mel (clips * windows, 80, 20)."""
        weight = self.corpus.weight * self._voiced
        chosen = torch.multinomial(weight, min(clips, self.clips), generator=self.dice.generator)
        frames, rows = [], []
        for k in chosen.tolist():
            clip = self.corpus.clips[k]
            slots = (clip.frames - FRAMES) // windows
            for j in range(windows):
                first = j * slots + int(self.dice.integers(0, max(1, slots - 2), 1))
                frames.append(clip.start + first)
                rows.append(clip.mel_start + MEL_BEFORE + 4 * first)
        device = self.corpus.device
        index = (torch.tensor(frames)[:, None] + torch.arange(FRAMES)).flatten().to(device)
        mouths = mouth_crops(self.corpus.pictures(index, 128), self.corpus.points[index])
        gain = self.dice.uniform(0.7, 1.3, len(frames), 1, 1, 1, 1).to(device)
        flip = self.dice.chances(0.5, len(frames))[:, None, None, None, None].to(device)
        mouths = mouths.unflatten(0, (len(frames), FRAMES))  # type: ignore[no-untyped-call]
        mouths = torch.where(flip, mouths.flip(-1), mouths) * gain
        places = torch.tensor(rows)[:, None] + torch.arange(ROWS)
        mel = self.corpus.mel[places.to(device)].float().transpose(1, 2) / 127.5 - 1
        return mouths, mel


@torch.no_grad()
def accuracy(expert: SyncExpert, sampler: SyncSampler, batches: int = 4) -> float:
    """Share of mouths whose own voice is the nearest among those of their clip."""
    hits = []
    for _ in range(batches):
        seen, heard = expert(*sampler.batch(8, 4))
        scores = (seen @ heard.T).view(len(seen), -1, 4)
        own = scores[torch.arange(len(seen)), torch.arange(len(seen)) // 4]
        hits.append((own.argmax(1) == torch.arange(len(seen), device=own.device) % 4).float().mean())
    return float(torch.stack(hits).mean())


def train_sync(corpus: Corpus, dev: Corpus | None, recipe: SyncRecipe, out: Path) -> float:
    """Train for the recipe's time and write `sync_expert.safetensors`; -> accuracy on dev, chance is 0.25."""
    begin, line = time.monotonic(), Progress()
    torch.manual_seed(recipe.seed)
    expert, sampler = SyncExpert().to(corpus.device), SyncSampler(corpus, recipe.seed)
    optimiser = torch.optim.AdamW(expert.parameters(), recipe.learning_rate, weight_decay=0.01)
    step, progress = 0, 0.0
    while progress < 1:
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * min(1.0, (step + 1) / 50, max(0.02, (1 - progress) / 0.3))
        loss = expert.contrast(*sampler.batch(recipe.clips, recipe.windows))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(expert.parameters(), 1.0)
        optimiser.step()
        step += 1
        spent = time.monotonic() - begin
        progress = step / recipe.steps if recipe.steps is not None else spent / (60 * recipe.minutes)
        if line.due:
            line.show(f"step {step}  loss {loss.item():.3f}  {max(0.0, recipe.minutes - spent / 60):.1f} min left")
    expert.eval()
    found = accuracy(expert, SyncSampler(corpus if dev is None else dev, 1))
    save_weights(out / "sync_expert.safetensors", expert)
    line.say(f"{step} steps: {100 * found:.0f} % of the voices found among four of the same clip (chance 25 %)")
    return found
