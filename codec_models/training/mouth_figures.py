"""How good restored mouths are: fidelity, sharpness and steadiness beside those of the drawn and the true ones."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..hint_measure import measured
from ..mouth import feather, lip_distance, lip_planes
from ..teeth import Teeth
from .losses import luma
from .mouths import Mouths

_OPEN = 0.05
"""Opening, in distances of the outer eye corners, from which a mouth counts as open."""
_BATCH = 32


@dataclass(frozen=True, slots=True)
class MouthFigures:
    """Of some mouths. psnr: of whole crops, psnr_lips: within the feather, dB, means over mouths; *_drawn: as the
    upsampler left them. brenner, energy: sums of squared differences over two rows, and to both neighbours, of luma
    (hdtr-net section 4.1), over those of the drawn mouths; *_truth: the truth's. flicker: mean change from one tick to
    the next within the feather, over that of the truth.
    """

    mouths: int
    psnr: float
    psnr_drawn: float
    psnr_lips: float
    psnr_lips_drawn: float
    brenner: float
    brenner_truth: float
    energy: float
    energy_truth: float
    flicker: float
    flicker_drawn: float

    def __str__(self) -> str:
        gain, lips = self.psnr - self.psnr_drawn, self.psnr_lips - self.psnr_lips_drawn
        return (
            f"psnr {gain:+.2f} to {self.psnr:.2f}, lips {lips:+.2f} to {self.psnr_lips:.2f}, brenner "
            f"x{self.brenner:.2f} (truth x{self.brenner_truth:.2f}), energy x{self.energy:.2f} (truth "
            f"x{self.energy_truth:.2f}), flicker {self.flicker:.2f} of the truth's (drawn {self.flicker_drawn:.2f}), "
            f"{self.mouths} mouths"
        )


def unit(crops: Tensor) -> Tensor:
    """uint8 -> [-1, 1], float32."""
    return crops.float() / 127.5 - 1


def brenner(grey: Tensor) -> Tensor:
    """(B,) of grey pictures (B, 1, H, W)."""
    return (grey[..., 2:, :] - grey[..., :-2, :]).square().sum((1, 2, 3))


def energy(grey: Tensor) -> Tensor:
    """(B,) of grey pictures (B, 1, H, W)."""
    inside = grey[..., :-1, :-1]
    return ((grey[..., 1:, :-1] - inside).square() + (grey[..., :-1, 1:] - inside).square()).sum((1, 2, 3))


@torch.no_grad()
def restored(network: Teeth, mouths: Mouths, known: bool = True) -> tuple[Tensor, Tensor]:
    """Crops (B, 3, 96, 96) in [-1, 1] as a screen shows them, rounded to whole levels, and the feather (B, 1, 96, 96).

    known: whether there is a reference.
    """
    memory = None
    if known:
        planes = lip_planes(mouths.reference_points, mouths.reference_corner)
        memory = network.remember(unit(mouths.reference), planes)
    distance = lip_distance(mouths.points, mouths.corner)
    soft = feather(mouths.points, mouths.corner, distance)
    drawn = unit(mouths.drawn)
    whole = drawn + soft * network(drawn, lip_planes(mouths.points, mouths.corner, distance), memory)
    return ((whole.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1, soft


def mouth_figures(network: Teeth, pool: Mouths, known: bool = True) -> dict[str, MouthFigures]:
    """Of all mouths of a pool of pairs (`harvest_pairs`), and of the open and the closed ones where there are any."""
    device = next(network.parameters()).device
    rows = []
    for k in range(0, len(pool), _BATCH):
        part = pool.take(slice(k, k + _BATCH))
        part = Mouths(*(getattr(part, f.name).to(device) for f in fields(Mouths)))
        made, soft = restored(network, part, known)
        drawn, truth = unit(part.drawn), unit(part.truth)
        columns = [measured(part.points)[:, 0]]
        for crop in (made, drawn):
            wrong = (crop - truth).square()
            columns.append(_decibels(wrong.mean((1, 2, 3))))
            columns.append(_decibels((wrong * soft).sum((1, 2, 3)) / (3 * soft.sum((1, 2, 3))).clamp_min(1)))
        for crop in (made, drawn, truth):
            grey = luma(crop) * 127.5
            change = (grey[1::2] - grey[::2]).abs() * soft[::2]
            columns += [brenner(grey), energy(grey), change.mean((1, 2, 3)).repeat_interleave(2)]
        rows.append(torch.stack(columns, 1).double().cpu())
    table = torch.cat(rows)
    opened = table[:, 0] > _OPEN
    groups = {"all": torch.ones_like(opened), "open": opened, "closed": ~opened}
    return {name: _summed(table[mask]) for name, mask in groups.items() if bool(mask.any())}


def _decibels(error: Tensor) -> Tensor:
    return 10 * torch.log10(4 / error.clamp_min(1e-10))


def _summed(table: Tensor) -> MouthFigures:
    means: list[float] = table.mean(0).tolist()
    _, psnr, lips, psnr_drawn, lips_drawn, b, e, f, b_drawn, e_drawn, f_drawn, b_true, e_true, f_true = means
    return MouthFigures(
        mouths=len(table),
        psnr=psnr,
        psnr_drawn=psnr_drawn,
        psnr_lips=lips,
        psnr_lips_drawn=lips_drawn,
        brenner=b / max(b_drawn, 1e-9),
        brenner_truth=b_true / max(b_drawn, 1e-9),
        energy=e / max(e_drawn, 1e-9),
        energy_truth=e_true / max(e_drawn, 1e-9),
        flicker=f / max(f_true, 1e-9),
        flicker_drawn=f_drawn / max(f_true, 1e-9),
    )
