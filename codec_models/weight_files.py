"""Trained weights: safetensors of exactly one network's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from .errors import UserError

M = TypeVar("M", bound=nn.Module)
_DTYPES = ("F32", "F16", "BF16")


def filled(model: M, path: Path) -> M:
    """The model with weights of a safetensors file of exactly its parameters, in 32 or 16 bits, ready to run.

    Raises UserError where there is no such file or it is anything else.
    """
    mine = model.state_dict()
    again = "give weights that were trained with this version and configuration"
    if not path.is_file():
        raise UserError(f"no trained weights at {path}: train them or give the path of a safetensors file")
    try:
        with safe_open(path, "pt") as stored:
            names = set(stored.keys())
            if names != mine.keys():
                wrong = sorted(names ^ mine.keys())[0]
                verb = "lacks" if wrong in mine else "has an unknown"
                raise UserError(f"{path} {verb} {wrong} ({len(names ^ mine.keys())} such in all): {again}")
            for name, value in mine.items():
                part = stored.get_slice(name)
                if part.get_shape() != list(value.shape) or part.get_dtype() not in _DTYPES:
                    found = f"{part.get_dtype()} {part.get_shape()}, not floats {list(value.shape)}"
                    raise UserError(f"{path}: {name} is {found}: {again}")
                loaded = stored.get_tensor(name).float()
                if not bool(torch.isfinite(loaded).all()):
                    raise UserError(f"{path}: {name} is not finite: the training went wrong; give other weights")
                value.copy_(loaded)
    except (OSError, SafetensorError) as e:
        raise UserError(f"{path} is not a safetensors file ({e}): give the path of one") from e
    return model.eval().requires_grad_(False)
