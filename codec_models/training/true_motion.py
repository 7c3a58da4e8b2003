"""Where each place of a picture is found in a still, measured on the pictures: what a motion field is taught.

The error of the warped picture tells a motion field only what lies a pixel or two away; hair and shoulders move by
twenty. Dense inverse search (Kroeger et al. 2016, OpenCV's) finds them, begun from the landmarks' own motion. What is
not found again on the way back (covered, turned away, smooth) is left out.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ..motion import FLOW, SparseMotion, resized
from .losses import luma
from .windows import Windows

_TOLERANCE, _SHARE = 1.0, 0.08
"""Pixels of 256, and share of the way, by which there and back may differ."""


@torch.no_grad()
def true_motion(w: Windows) -> tuple[Tensor, Tensor]:
    """Flow (B, S, 2, 64, 64) in [-1, 1] units, as the network's own, and how far each place is known, (B, S, 64, 64)
    in 0 to 1.
    """
    b, s = w.still_low.shape[:2]
    side = w.picture.shape[-1]
    to_still, back = _first(w.points[:, None], w.still_points, side), _first(w.still_points, w.points[:, None], side)
    pictures, stills = _grey(w.picture), _grey(w.stills.flatten(0, 1)).reshape(b, s, side, side)
    fields = np.empty((b, s, 2, side, side), np.float32)
    known = np.empty((b, s, side, side), np.float32)
    for k in range(b):
        for j in range(s):
            there = _search(pictures[k], stills[k, j], to_still[k, j])
            home = _search(stills[k, j], pictures[k], back[k, j])
            fields[k, j], known[k, j] = there.transpose(2, 0, 1) * (2 / side), _consistent(there, home, side)
    mask = torch.from_numpy(known).to(w.low.device)
    field = torch.from_numpy(fields).to(w.low.device) * mask[:, :, None]
    weight = F.adaptive_avg_pool2d(mask.flatten(0, 1)[:, None], FLOW)
    flow = F.adaptive_avg_pool2d(field.flatten(0, 1), FLOW) / weight.clamp_min(1e-3)
    return flow.view(b, s, 2, FLOW, FLOW), weight.view(b, s, FLOW, FLOW)


def motion_loss(flow: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean L1 of flow (B, S, 2, 64, 64) where it is known, in [-1, 1] units."""
    apart = (flow.float() - truth).abs().mean(2)
    return (apart * known).sum() / known.sum().clamp_min(1.0)


@cache
def _sparse() -> SparseMotion:
    return SparseMotion().requires_grad_(False)


@cache
def _finder() -> Any:
    module: Any = cv2  # its types do not know this function
    return module.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)


def _first(points: Tensor, others: Tensor, side: int) -> NDArray[np.float32]:
    """The landmarks' motion from (B, S or 1, 110, 2) to (B, S or 1, 110, 2): (B, S, side, side, 2) in pixels."""
    s = max(points.shape[1], others.shape[1])
    here, there = (p.expand(-1, s, -1, -1).flatten(0, 1).float().cpu() for p in (points, others))
    field = resized(_sparse()(here, there[:, None])[:, 0], side) * (side / 2)
    return np.ascontiguousarray(field.permute(0, 2, 3, 1).reshape(-1, s, side, side, 2).numpy())


def _grey(pictures: Tensor) -> NDArray[np.uint8]:
    """(K, 3, R, R) in [-1, 1] -> (K, R, R)."""
    levels = (luma(pictures.float())[:, 0] + 1) * 127.5
    return np.asarray(levels.round().clamp(0, 255).to(torch.uint8).cpu().numpy())


def _search(one: NDArray[np.uint8], other: NDArray[np.uint8], start: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(_finder().calc(one, other, start.copy()), np.float32)


def _consistent(there: NDArray[np.float32], home: NDArray[np.float32], side: int) -> NDArray[np.bool_]:
    y, x = np.mgrid[:side, :side].astype(np.float32)
    at_x, at_y = x + there[..., 0], y + there[..., 1]
    came = cv2.remap(home, at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=1e4)
    apart = np.linalg.norm(there + came, axis=2)
    return np.asarray(apart < _TOLERANCE * side / 256 + _SHARE * np.linalg.norm(there, axis=2))
