"""Checkpoints to go on from, and weights to ship."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import UserError

CHECKPOINT = "last.pt"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write state (tensors, numbers, strings and containers of them) so that a crash leaves the old file or the new."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any]:
    """Raises UserError where the file is missing or no checkpoint. Runs no code from the file."""
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}")
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as e:
        raise UserError(f"{path} is not a checkpoint of this recipe") from e
    if not isinstance(state, dict) or not {"network", "step"} <= set(state):
        raise UserError(f"{path} is not a checkpoint of this recipe")
    return state


def save_weights(path: Path, network: nn.Module, metadata: dict[str, str] | None = None) -> None:
    """Half-precision safetensors of a network's state."""
    partial = path.with_suffix(".partial")
    tensors = {
        name: (t.half() if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in network.state_dict().items()
    }
    save_file(tensors, partial, metadata=metadata or {})
    os.replace(partial, path)


def load_weights(path: Path, network: nn.Module) -> None:
    """Fill a network from safetensors of exactly its names and shapes, else UserError."""
    if not path.is_file():
        raise UserError(f"no such weights file: {path}")
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError) as e:
        raise UserError(f"{path} is not a safetensors file") from e
    own = network.state_dict()
    wrong = sorted(set(tensors) ^ set(own)) + sorted(
        name for name in set(tensors) & set(own) if tensors[name].shape != own[name].shape
    )
    if wrong:
        raise UserError(f"{path} holds weights of another network: {wrong[0]} differs ({len(wrong)} tensors in all)")
    network.load_state_dict({name: t.to(own[name].dtype) for name, t in tensors.items()})


def claim_folder(folder: Path, outputs: list[str], resumed: bool) -> None:
    """Make the output folder; without --resume, refuse one that already holds a run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"cannot make the folder {folder}: {e.strerror}") from e
    there = [name for name in outputs if (folder / name).exists()]
    if there and not resumed:
        raise UserError(f"{folder / there[0]} exists: go on from it with --resume, or choose another --out")
