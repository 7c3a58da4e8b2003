"""Sample inputs for every network: soft pictures and face-like landmarks, the same on every machine.

With noise, the last digit of a motion becomes a difference that is seen, so the pictures are smooth. The networks run
in a chain, as in a call: what one gives another one takes.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

from ..landmarks import BROWS, EYES, IRISES, LIPS, NOSE, OUTLINE, POINTS, hints_of
from .engine import NETWORKS, Arrays, Engine

Inputs = dict[str, NDArray[np.float32]]


def face_points() -> NDArray[np.float32]:
    """Landmarks (110, 2) of a drawn face in picture fractions: ovals for outline, eyes and lips, lines for the rest."""
    parts: dict[int, tuple[float, float]] = {}

    def oval(meshes: tuple[int, ...], x: float, y: float, a: float, b: float, start: float = 0.0) -> None:
        for k, mesh in enumerate(meshes):
            angle = start + 2 * np.pi * k / len(meshes)
            parts[mesh] = (x + a * float(np.cos(angle)), y + b * float(np.sin(angle)))

    oval(OUTLINE, 0.5, 0.5, 0.22, 0.3, -np.pi / 2)
    # lips: the lower line from the left corner, then the upper one back, outer and inner; see `landmarks.LIPS`
    for first, a, b in ((0, 0.09, 0.045), (20, 0.06, 0.02)):
        meshes = LIPS[first : first + 20]
        for k, mesh in enumerate(meshes[:11]):
            parts[mesh] = (0.5 - a * float(np.cos(np.pi * k / 10)), 0.66 + b * float(np.sin(np.pi * k / 10)))
        for k, mesh in enumerate(meshes[11:], 1):
            parts[mesh] = (0.5 - a * float(np.cos(np.pi * k / 10)), 0.66 - b * float(np.sin(np.pi * k / 10)))
    for meshes, x in ((EYES[:6], 0.41), (EYES[6:], 0.59)):
        # from the left corner over the upper lid to the right one and back below
        for mesh, angle in zip(meshes, (180, 240, 300, 0, 60, 120), strict=True):
            parts[mesh] = (x + 0.04 * np.cos(np.deg2rad(angle)), 0.44 + 0.013 * np.sin(np.deg2rad(angle)))
    for k, mesh in enumerate(BROWS):
        parts[mesh] = (0.35 + 0.3 * k / (len(BROWS) - 1), 0.39)
    for k, mesh in enumerate(NOSE):
        parts[mesh] = (0.5 + 0.01 * ((k % 3) - 1), 0.46 + 0.012 * k)
    parts[IRISES[0]], parts[IRISES[1]] = (0.41, 0.44), (0.59, 0.44)
    return np.array([parts[mesh] for mesh in POINTS], np.float32)


def soft(rng: np.random.Generator, count: int, size: int, cells: int) -> NDArray[np.float32]:
    """Smooth colours (count, 3, size, size) in about [-0.8, 0.8]."""
    rough = rng.uniform(-0.8, 0.8, (count, cells, cells, 3)).astype(np.float32)
    large = [cv2.resize(picture, (size, size), interpolation=cv2.INTER_CUBIC) for picture in rough]
    return np.ascontiguousarray(np.stack(large).transpose(0, 3, 1, 2), np.float32)


def host_inputs(batch: int = 1, seed: int = 0) -> dict[str, Inputs]:
    """What comes from outside to each network: inputs that no other network gives, float32 with a batch axis."""
    rng = np.random.default_rng(seed)
    face = face_points()
    points = np.stack([face + rng.uniform(-0.03, 0.03, 2) for _ in range(batch)]).astype(np.float32)
    pictures = soft(rng, batch, 256, 20)
    low = pictures.reshape(batch, 3, 8, 32, 8, 32).mean((3, 5))
    window = low[:, None] + rng.uniform(-0.05, 0.05, (batch, 5, 3, 8, 8))
    hints = np.stack([_hints(p) for p in points]) + rng.uniform(-0.01, 0.01, (batch, 12))
    frames = low[:, None] + np.cumsum(rng.uniform(-0.04, 0.04, (batch, 5, 3, 8, 8)), 1)
    ones = np.ones((batch, 1))
    made: dict[str, dict[str, NDArray[np.floating]]] = {
        "still": {"picture": pictures, "low": low, "points": 2 * points - 1, "has_points": ones},
        "tick": {
            "window": window,
            "mel": rng.uniform(-1, 0.5, (batch, 80, 16)),
            "hints": hints,
            "has": np.ones((batch, 2)),
        },
        "teeth_still": {"picture": pictures, "points": 2 * points - 1},
        "mouth": {"gate": np.full(batch, -1.0), "known": np.ones(batch)},
        "teeth": {},
        "teeth_alone": {},
        "interpolation_encode": {
            "frames": frames,
            "times": np.tile(np.arange(5) * 5.0, (batch, 1)),
            "key_hints": np.repeat(hints[:, None], 5, 1) + rng.uniform(-0.02, 0.02, (batch, 5, 12)),
            "key_has": np.ones((batch, 5)),
        },
        "interpolation_at": {"at": np.full((batch, 1), 17.0), "hints": hints[:, None], "has": ones},
    }
    return {
        network: {name: np.ascontiguousarray(v, np.float32) for name, v in inputs.items()}
        for network, inputs in made.items()
    }


def chain(engine: Engine, given: Mapping[str, Inputs]) -> tuple[dict[str, Arrays], dict[str, Arrays]]:
    """Run every network in turn -> inputs and outputs of each, arrays of the engine."""
    pool: Arrays = {}
    inputs: dict[str, Arrays] = {}
    results: dict[str, Arrays] = {}
    for network, signature in NETWORKS.items():
        own = {name: engine.array(value) for name, value in given[network].items()}
        inputs[network] = {name: own[name] if name in own else pool[name] for name in signature.inputs}
        results[network] = engine.run(network, inputs[network])
        pool |= own | results[network]
    return inputs, results


def _hints(points: NDArray[np.float32]) -> NDArray[np.float64]:
    hints = hints_of(points)
    return np.array([getattr(hints, name) for name in type(hints).__dataclass_fields__])
