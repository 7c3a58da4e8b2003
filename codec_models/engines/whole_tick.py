"""A whole tick of several calls as one network: upsampler, mouth, teeth, the change added, bytes; nothing is read back.

It does what `NetworkReconstructor` does a call, step by step, on an engine: in float32 the pictures are the same to a
level of 255. Each row of the batch belongs to another call; whether a call restores its mouth and whether it has a
reference mouth are inputs, so calls of all kinds go together.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from ..bitstream.timing import PICTURE
from ..layers import CrossAttention
from ..mouth import MOUTH
from ..teeth import Teeth
from .engine import IDENTITY, NETWORKS, Signature
from .graphs import MouthGraph, TeethGraph, TickGraph

_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
_TICK, _TEETH = NETWORKS["tick"].inputs, NETWORKS["teeth"].inputs

WHOLE = Signature(
    {
        **{name: shape for name, shape in _TICK.items() if name not in IDENTITY},
        # the gate of the tick before, below 0 where a stream begins; restore: 1 where the mouth is restored
        "gate": (),
        "restore": (),
        # a reference mouth, where known is 1; elsewhere `absent_reference` and zeros
        "redness": (),
        "yaw": (),
        "known": (),
        "reference": _TEETH["reference"],
        **IDENTITY,
    },
    ("picture", "new_gate", "points"),
)
"""As in `engine.NETWORKS`; sizes are those of the live networks."""


class WholeTick(nn.Module):
    """Inputs and outputs in the order of `WHOLE`. graphs: of `graphs.upsampler_graphs` and `graphs.teeth_graphs`, which
    are taken over; dtype: float32, or 16 bits for convolutions and products, never for coordinates of pictures.
    """

    def __init__(self, graphs: Mapping[str, nn.Module], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.tick = cast(TickGraph, graphs["tick"])
        self.mouth = cast(MouthGraph, graphs["mouth"])
        self.teeth = cast(TeethGraph, graphs["teeth"])
        self.dtype = dtype
        _look_where_known(self.teeth.model)
        if dtype is not torch.float32:
            for graph in (self.tick, self.teeth):
                round_weights_to(graph, dtype)

    def forward(
        self,
        window: Tensor,
        mel: Tensor,
        hints: Tensor,
        has: Tensor,
        gate: Tensor,
        restore: Tensor,
        redness: Tensor,
        yaw: Tensor,
        known: Tensor,
        reference: Tensor,
        *identity: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        with self._reduced(window.device):
            picture, points = self.tick(window, mel, hints, has, *identity)
        crop, planes, share, corner, gate = self.mouth(picture, points, gate, redness, yaw, known)
        with self._reduced(window.device):
            change = self.teeth(crop, planes, share * restore[:, None, None, None], reference)
        return added(picture, change.float(), corner), gate, points

    def _reduced(self, device: torch.device) -> torch.autocast:
        reduced = self.dtype is not torch.float32
        # nothing to keep: the weights have the type already
        return torch.autocast(device.type, self.dtype if reduced else None, enabled=reduced, cache_enabled=False)


class _LookWhereKnown(CrossAttention):
    """Tokens that are all zero are those of a call without a reference: what it looks for passes unchanged."""

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        known = memory.abs().amax((1, 2)) > 0
        return torch.where(known[:, None, None, None], super().forward(x, memory), x)


def _look_where_known(model: Teeth) -> None:
    look = _LookWhereKnown(model.config.deep)
    old = cast(CrossAttention, model.mouth.glass.look)
    look.load_state_dict(old.state_dict())
    look.q.weight.data = old.q.weight.data  # their layout
    model.mouth.glass.look = look.to(old.q.weight.device).eval().requires_grad_(False)


def absent_reference(model: Teeth) -> Tensor:
    """What stands for the reference (n,) of a call that has none: the feature learned for that, and no tokens."""
    width, side = model.config.width, MOUTH // 2
    kept = model.unknown.detach().float().expand(1, width, side, side).flatten()
    tokens = kept.new_zeros((MOUTH // 8) ** 2 * 2 * model.config.deep)
    return torch.cat([kept, tokens, kept.new_tensor([0.0, 0.0, 1.0, 1.0])])


def added(picture: Tensor, change: Tensor, corner: Tensor) -> Tensor:
    """As `mouth.put`, everywhere by gathering: no place is known to the host, and none is written twice.

    picture (B, 3, 256, 256), change (B, 3, 96, 96), corner (B, 2) int64 -> (B, 3, 256, 256).
    """
    b, c = picture.shape[:2]
    away = torch.arange(PICTURE, device=picture.device)[None, None] - corner[..., None]
    inside = ((away >= 0) & (away < MOUTH)).to(change.dtype)
    x, y = away.clamp(0, MOUTH - 1).unbind(1)
    rows = change.gather(2, y[:, None, :, None].expand(b, c, PICTURE, MOUTH))
    both = rows.gather(3, x[:, None, None].expand(b, c, PICTURE, PICTURE))
    return picture + both * (inside[:, 1, :, None] * inside[:, 0, None])[:, None]


def shown(picture: Tensor) -> Tensor:
    """(B, 3, n, n) in [-1, 1] -> (B, n, n, 3) uint8, rounded and clipped, as `Engine.shown`."""
    return picture.mul(127.5).add(128.0).clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def round_weights_to(model: nn.Module, dtype: torch.dtype) -> None:
    """As `precision.round_weights`, to any 16-bit type."""
    for module in model.modules():
        if isinstance(module, _LAYERS):
            module.to(dtype)
