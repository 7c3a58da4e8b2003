"""The processes of one training: a single one, or several started by torchrun, one per GPU."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ..errors import UserError


@dataclass(frozen=True, slots=True)
class World:
    """rank of size processes, on device."""

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Only the first process measures, prints and writes."""
        return self.rank == 0

    def agreed(self, value: float) -> float:
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared)

    def leave(self) -> None:
        if self.size > 1:
            dist.destroy_process_group()


def join_world(device: str = "auto") -> World:
    """Join the processes that torchrun started, or be the only one. device: auto, cpu or cuda."""
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("no CUDA device here: leave --device out, or use --device cpu")
    gpu = torch.cuda.is_available() if device == "auto" else device == "cuda"
    size, local = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("LOCAL_RANK", "0"))
    if gpu:
        torch.cuda.set_device(local)
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    where = torch.device("cuda", local) if gpu else torch.device("cpu")
    if size == 1:
        return World(where)
    dist.init_process_group("nccl" if gpu else "gloo")
    return World(where, dist.get_rank(), dist.get_world_size())
