"""Random numbers of the training, all from two seeded generators, so that a run can be repeated and resumed."""

from __future__ import annotations

import torch
from torch import Tensor


class Dice:
    """Draws on the CPU; device_generator serves what is large (noise)."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.device_generator = torch.Generator(device).manual_seed(seed + 1)

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """From low to high - 1."""
        return torch.randint(low, high, shape, generator=self.generator)

    def below(self, limit: Tensor, *more: int) -> Tensor:
        """Integers from 0 to limit - 1, for each of limit (B,) and each of more."""
        shape = (*limit.shape, *more)
        draw = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (draw * limit.view(-1, *(1,) * len(more))).long()

    def chance(self, share: float) -> bool:
        return bool(torch.rand((), generator=self.generator) < share)

    def chances(self, share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator) < share

    def choice(self, weight: Tensor, count: int) -> Tensor:
        """count indices into weight (C,), with replacement."""
        return torch.multinomial(weight, count, replacement=True, generator=self.generator)

    def state(self) -> dict[str, Tensor]:
        return {"host": self.generator.get_state(), "device": self.device_generator.get_state()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.generator.set_state(state["host"].cpu())
        self.device_generator.set_state(state["device"].cpu())
