"""What a call hands over for a tick, as one row of numbers: so that a batch goes to the device in one copy."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .engine import IDENTITY, NETWORKS, Arrays

PARTS = {name: shape for name, shape in NETWORKS["tick"].inputs.items() if name not in IDENTITY} | {
    "begins": (),
    "restore": (),
}
"""In the order of the row; begins: 1 where the stream begins and there is no gate yet; restore: 1 with teeth."""
ROW = sum(prod(shape) for shape in PARTS.values())


@dataclass(slots=True)
class TickRow:
    """slot: of the call. values (ROW,) float32, see `PARTS`. identity, reference: of the networks `still` and
    `teeth_still`, where they have changed since the tick before; an empty reference is none.
    """

    slot: int
    values: NDArray[np.float32]
    identity: Arrays | None = None
    reference: Arrays | None = None


def packed(parts: dict[str, Any]) -> NDArray[np.float32]:
    """Arrays of `PARTS`, whose batch axis of 1 may be there -> (ROW,). Raises ValueError on other sizes."""
    flat = [np.asarray(parts[name], np.float32).reshape(-1) for name in PARTS]
    for (name, shape), part in zip(PARTS.items(), flat, strict=True):
        if part.size != prod(shape):
            raise ValueError(f"{name} has {part.size} numbers, not {prod(shape)}")
    return np.concatenate(flat)


def divided(rows: Any) -> tuple[dict[str, Any], Any]:
    """Rows (n, ROW + 1), the slot last, tensors or arrays -> the parts (n, ...), and the slots (n,) as integers."""
    parts, start = {}, 0
    for name, shape in PARTS.items():
        size = prod(shape)
        parts[name] = rows[:, start : start + size].reshape(len(rows), *shape)
        start += size
    slots = rows[:, -1]
    return parts, slots.astype(np.int64) if isinstance(slots, np.ndarray) else slots.long()
