"""The sync loss: does the mouth that was drawn go with the voice? Judged by a trained sync expert (g4g, section 3.1.2).

One tick is drawn per window and the expert looks at five, so the four before it are true frames, changed as the window
is. What the expert says then depends on the drawn mouth alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .augment import lit, recoloured, transformed, transformed_points
from .corpus import MEL_BEFORE, Corpus
from .data import Draw
from .sync_expert import FRAMES, ROWS, SyncExpert, mouth_crops

_SIDE = 128


class SyncLoss:
    """Distance of drawn mouths from their voices, mean over at most `most` windows of a batch; 0 where none has both
    a voice and four frames before it.
    """

    def __init__(self, expert: SyncExpert, corpus: Corpus, most: int = 8) -> None:
        self.expert = expert.to(corpus.device).eval().requires_grad_(False)
        self._corpus, self._most = corpus, most
        self._start = torch.tensor([c.start for c in corpus.clips])
        self._mel_start = torch.tensor([c.mel_start for c in corpus.clips])
        self._voiced = torch.tensor([c.voiced for c in corpus.clips])

    def __call__(self, draw: Draw, pictures: Tensor, points: Tensor) -> Tensor:
        """pictures (B, 3, R, R) in [-1, 1], drawn for the windows of a draw; points (B, 110, 2): true landmarks."""
        heard = self._voiced[draw.clip] & draw.given[:, 1] & (draw.held_to == draw.held_from)
        usable = heard & (draw.tick >= FRAMES - 1)
        chosen = usable.nonzero()[: self._most, 0]
        if not len(chosen):
            return pictures.new_zeros(())
        device, clip, tick = pictures.device, draw.clip[chosen], draw.tick[chosen]
        before = (self._start[clip] + tick)[:, None] - torch.arange(FRAMES - 1, 0, -1)
        frames, marks = self._changed(draw, chosen, before.to(device))
        past = mouth_crops(frames, marks).unflatten(0, (len(chosen), FRAMES - 1))  # type: ignore[no-untyped-call]
        where = chosen.to(device)
        now = mouth_crops(pictures[where].float(), points[where])
        first = self._mel_start[clip] + MEL_BEFORE + 4 * (tick - FRAMES + 1)
        rows = self._corpus.mel[(first[:, None] + torch.arange(ROWS)).to(device)]
        mel = rows.float().transpose(1, 2) / 127.5 - 1
        return self.expert.distance(torch.cat([past, now[:, None]], 1), mel).mean()

    def _changed(self, draw: Draw, chosen: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """True frames (K n, 3, R, R) and landmarks of corpus frames index (K, n), as the windows `chosen` have them."""
        n, device = index.shape[1], index.device
        frames, marks = self._corpus.pictures(index.flatten(), _SIDE), self._corpus.points[index].flatten(0, 1)
        if draw.place is not None and draw.colour is not None and draw.slope is not None:
            place, colour, slope = (
                t[chosen].repeat_interleave(n, 0).to(device) for t in (draw.place, draw.colour, draw.slope)
            )
            frames = lit(recoloured(transformed(frames, place), colour), slope)
            marks = transformed_points(marks, place)
        return frames, marks
