"""The network that finds the face landmarks in a 256x256 picture, small enough for plain JavaScript on one core.

Written for the browser's page (`signaling/static/source/points.js` runs the same weights), trained by
`codec_models/training/finding.py`. Three steps, each of which sees the face straighter and closer than the one before:

1. the whole picture as 64x64: where the head is, how large, how it is rolled.
2. the face as 80x80, upright and in its size: all landmarks, and whether there is a face at all.
3. each eye as 32x24 (the right one mirrored: one network for both) and the mouth as 40x32: eyelids, irises and lips
   anew.

Inputs are RGB in [-1, 1], each patch freed of its mean and contrast. 0.26 M parameters, 12 million multiplications a
picture. Landmarks are in [-1, 1] here, as `grid_sample` has them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bitstream.timing import PICTURE
from .hint_measure import in_head, placed
from .landmarks import EYES, IRISES, LIPS, POINTS
from .layers import conv
from .weight_files import filled

DEFAULT_WEIGHTS = Path(__file__).parent / "weights" / "face_points.safetensors"

_AT = {mesh: k for k, mesh in enumerate(POINTS)}
LEFT_EYE = [_AT[p] for p in (*EYES[:6], IRISES[0])]
RIGHT_EYE = [_AT[p] for p in (263, 387, 385, 362, 380, 373, IRISES[1])]
"""Each the mirror image of the one in its place in `LEFT_EYE`."""
MOUTH = [_AT[p] for p in LIPS]
_CORNERS = [_AT[33], _AT[263]]

WHOLE, FACE, EYE_PATCH, MOUTH_PATCH = (64, 64), (80, 80), (32, 24), (40, 32)
"""Width and height of what each step sees, in samples."""
FACE_REACH = (1.85, 1.85)
"""From the middle of a patch to its edges: here in units of the landmarks' root mean square distance, below in
distances of the outer eye corners."""
EYE_REACH, MOUTH_REACH = (0.27, 0.2025), (0.52, 0.416)
USUAL_HEAD, HEAD_SCALE = (0.5, 0.53, -1.55, 0.0), (0.1, 0.1, 0.2, 0.2)
"""A head (see `hint_measure.head_of`) is the usual one plus what step 1 answers in these units."""
OFFSET = 0.1
"""Unit of the answers of steps 2 and 3."""


class View(Protocol):
    """What the steps see of a batch of pictures (B, 3, 256, 256)."""

    def whole(self) -> Tensor:
        """(B, 3, 64, 64), area averaged."""

    def patch(self, where: Tensor, fine: bool) -> Tensor:
        """RGB (B, 3, h, w) at where (B, h, w, 2), bilinear; beyond the edges their nearest pixels. fine: of the picture
        itself, else of its average over 2x2 pixels.
        """


class PictureView:
    """Pictures (B, 3, 256, 256) in [-1, 1] as they are."""

    def __init__(self, pictures: Tensor) -> None:
        if pictures.shape[1:] != (3, PICTURE, PICTURE):
            raise ValueError(f"pictures are (B, 3, {PICTURE}, {PICTURE}), not {tuple(pictures.shape)}")
        self._fine, self._half = pictures, F.avg_pool2d(pictures, 2)

    def whole(self) -> Tensor:
        return F.avg_pool2d(self._half, 2)

    def patch(self, where: Tensor, fine: bool) -> Tensor:
        return F.grid_sample(
            self._fine if fine else self._half, where, mode="bilinear", padding_mode="border", align_corners=False
        )


class Found(NamedTuple):
    """head (B, 4): of step 1. rough, points (B, 110, 2): of step 2 and of all. logit (B,): of the confidence."""

    head: Tensor
    rough: Tensor
    points: Tensor
    logit: Tensor


class Block(nn.Module):
    """relu(x + conv(relu(conv(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a, self.b = conv(channels, channels), conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.b(F.relu(self.a(x))))


class _Step(nn.Module):
    """Convolutions, the first at the stride given and the others at stride 2, then two dense layers.

    blocks: after which of the convolutions a block follows. flat: samples left at the end; extra: numbers (B, extra)
    that the dense layers see too.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        blocks: tuple[int, ...],
        squeezed: int,
        flat: int,
        dense: int,
        outputs: int,
        extra: int = 0,
        stride: int = 2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for k, c in enumerate(channels):
            layers += [conv(before, c, 3, stride if k == 0 else 2), nn.ReLU()]
            if k in blocks:
                layers.append(Block(c))
            before = c
        layers += [conv(before, squeezed, 1), nn.ReLU()]
        self.see = nn.Sequential(*layers)
        self.think = nn.Linear(squeezed * flat + extra, dense)
        self.tell = nn.Linear(dense, outputs)

    def forward(self, patch: Tensor, extra: Tensor | None = None) -> Tensor:
        x = self.see(evened(patch)).flatten(1)
        x = x if extra is None else torch.cat([x, extra], 1)
        told: Tensor = self.tell(F.relu(self.think(x)))
        return told


def evened(patch: Tensor) -> Tensor:
    """Patches (B, 3, h, w) without their mean, in units of their standard deviation (plus a little, for flat ones)."""
    patch = patch - patch.mean((1, 2, 3), keepdim=True)
    return patch / (patch.square().mean((1, 2, 3), keepdim=True).sqrt() + 0.05)


class FacePoints(nn.Module):
    """See the module. forward: pictures (B, 3, 256, 256) -> landmarks (B, 110, 2) and confidence (B,), 0 to 1."""

    def __init__(self) -> None:
        super().__init__()
        self.whole = _Step((12, 20, 32, 48), (), 24, 16, 32, 4)
        self.face = _Step((16, 24, 36, 48), (2, 3), 24, 25, 48, 2 * len(POINTS) + 1)
        self.eye = _Step((12, 20, 32, 40), (), 20, 12, 48, 14, extra=14, stride=1)
        self.mouth = _Step((16, 28, 40), (1,), 20, 20, 48, 80, extra=80)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        found = self.look(PictureView(pictures))
        return found.points, found.logit.sigmoid()

    def look(self, view: View, head: Tensor | None = None, near: Tensor | None = None) -> Found:
        """All steps. In training step 2 may be sent to another head (B, 4) than step 1 has found, and step 3 to eyes
        and mouth of other landmarks near (B, 110, 2) than those of step 2; no step learns from the next one's error.
        """
        own = self.find_head(view)
        rough, logit = self.find_face(view, own.detach() if head is None else head)
        near = rough.detach() if near is None else near
        return Found(own, rough, self.refine(view, rough, near), logit)

    def find_head(self, view: View) -> Tensor:
        told: Tensor = self.whole(view.whole())
        return told * told.new_tensor(HEAD_SCALE) + told.new_tensor(USUAL_HEAD)

    def find_face(self, view: View, head: Tensor) -> tuple[Tensor, Tensor]:
        """Landmarks (B, 110, 2) and logit (B,) around a head (B, 4)."""
        told: Tensor = self.face(view.patch(grid(head, FACE, FACE_REACH), fine=False))
        shape = told[:, :-1].reshape(-1, len(POINTS), 2) * OFFSET
        return placed(shape, head), told[:, -1]

    def refine(self, view: View, rough: Tensor, near: Tensor) -> Tensor:
        """Rough landmarks (B, 110, 2) with eyes and mouth found anew, where near has them."""
        unit = eye_unit(near)
        points = rough.clone()
        for index, reach, size, step, mirrored, fine in (
            (LEFT_EYE, EYE_REACH, EYE_PATCH, self.eye, False, True),
            (RIGHT_EYE, EYE_REACH, EYE_PATCH, self.eye, True, True),
            (MOUTH, MOUTH_REACH, MOUTH_PATCH, self.mouth, False, False),
        ):
            frame = torch.cat([(near[:, index].mean(1) + 1) / 2, unit], 1)
            patch = view.patch(grid(frame, size, reach, mirrored), fine)
            known = in_head(near[:, index], frame)
            if mirrored:
                known = known * known.new_tensor([-1.0, 1.0])
            told = step(patch, known.flatten(1) / OFFSET).view_as(known) * OFFSET + known
            if mirrored:
                told = told * told.new_tensor([-1.0, 1.0])
            points[:, index] = placed(told, frame)
        return points


def eye_unit(points: Tensor) -> Tensor:
    """Logarithm of the distance of the outer eye corners, as a fraction of the picture's side, and the roll: (B, 2)."""
    axis = points[:, _CORNERS[1]] - points[:, _CORNERS[0]]
    size = (axis.square().sum(-1) + 1e-6).log() / 2 - torch.log(axis.new_tensor(2.0))
    return torch.stack([size, torch.atan2(axis[:, 1], axis[:, 0])], 1)


def grid(frame: Tensor, size: tuple[int, int], reach: tuple[float, float], mirrored: bool = False) -> Tensor:
    """Where a patch of size (width, height) lies: (B, height, width, 2). frame (B, 4): place, size and roll as of a
    head, in whose size reach is measured.
    """
    (w, h), (across, down) = size, reach
    x = ((torch.arange(w, device=frame.device) + 0.5) / w * 2 - 1) * (-across if mirrored else across)
    y = ((torch.arange(h, device=frame.device) + 0.5) / h * 2 - 1) * down
    shape = torch.stack([x.expand(h, w), y[:, None].expand(h, w)], -1).reshape(1, h * w, 2)
    return placed(shape.expand(frame.shape[0], -1, -1), frame).reshape(-1, h, w, 2)


def load_face_points(path: Path | None = None) -> FacePoints:
    """The network with trained weights, those that come with the program by default. Raises UserError."""
    return filled(FacePoints(), path or DEFAULT_WEIGHTS)
