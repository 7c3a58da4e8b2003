"""Where landmarks lie, and what a mirror does to them."""

from __future__ import annotations

import torch
from torch import Tensor

from ..landmarks import POINTS

AT = {mesh: k for k, mesh in enumerate(POINTS)}
"""Where each mesh point lies among the landmarks."""

_PAIRS = (
    "61-291 146-375 91-321 181-405 84-314 37-267 39-269 40-270 185-409 78-308 95-324 88-318 178-402 87-317 82-312 "
    "81-311 80-310 191-415 33-263 160-387 158-385 133-362 153-380 144-373 70-300 63-293 105-334 66-296 107-336 98-327 "
    "338-109 297-67 332-103 284-54 251-21 389-162 356-127 454-234 323-93 361-132 288-58 397-172 365-136 379-150 "
    "378-149 400-176 377-148 468-473"
)


def _mirror() -> list[int]:
    other = {}
    for pair in _PAIRS.split():
        a, b = map(int, pair.split("-"))
        other[a], other[b] = b, a
    return [AT[other.get(mesh, mesh)] for mesh in POINTS]


MIRROR = torch.tensor(_mirror())
"""Index (110,) of the landmark that takes each one's place when the picture is mirrored."""


def eye_distance(points: Tensor) -> Tensor:
    """Distance of the outer eye corners, (..., 110, 2) -> (...)."""
    apart: Tensor = torch.linalg.vector_norm(points[..., AT[33], :] - points[..., AT[263], :], dim=-1)
    return apart.clamp_min(1e-6)
