"""Does the drawn face stay this person's: the identity cosine by our own embedding network.

Every fifth drawn frame against the true one of the same tick. Both faces are cut where the landmarks of the TRUE frame
are. To find them anew in what is drawn would leave out just the frames in which no face is found any more, would move
with the face mesh's opinion of soft faces, and would set right a face that is drawn in the wrong place; so a face that
stands beside where it should counts as less alike, as it does for who sees it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

WEIGHTS = Path(__file__).parents[1] / "codec_models" / "weights" / "identity.safetensors"
EVERY = 5


class IdentityCosine:
    """Loads the network on first use; torch is needed only then."""

    def __init__(self, weights: Path) -> None:
        self._weights = weights
        self._network: object = None

    def of(self, true: NDArray[np.uint8], drawn: NDArray[np.uint8], points: NDArray[np.float32]) -> float | None:
        """Mean cosine of frames (N, 256, 256, 3) RGB; points (N, 110, 2): the true landmarks in picture fractions, NaN
        where there is no face. None where no fifth frame has one. Raises UserError on other weights.
        """
        import torch

        from codec_models.training.aligned_faces import as_floats, cut_faces
        from codec_models.training.identity import Identity

        ticks = np.arange(0, len(true), EVERY)
        ticks = ticks[~np.isnan(points[ticks]).any((1, 2))]
        if not len(ticks):
            return None
        if self._network is None:
            self._network = Identity.load(self._weights)
        assert isinstance(self._network, Identity)
        where = torch.from_numpy(points[ticks] * 2 - 1)
        with torch.inference_mode():
            a, b = (self._network(cut_faces(as_floats(frames[ticks]), where)) for frames in (true, drawn))
        return float((a * b).sum(1).mean())
