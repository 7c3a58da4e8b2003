"""A patch discriminator at two scales, conditioned on the still (pix2pixHD's, slim)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """Says which patches of a picture are real, given the still; its features serve the feature-matching loss."""

    def __init__(self, width: int = 32, scales: int = 2) -> None:
        super().__init__()
        w = width
        self.scales = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.Conv2d(6, w, 4, 2, 1),
                    nn.Conv2d(w, 2 * w, 4, 2, 1),
                    nn.Conv2d(2 * w, 4 * w, 4, 2, 1),
                    nn.Conv2d(4 * w, 4 * w, 3, 1, 1),
                    nn.Conv2d(4 * w, 1, 3, 1, 1),
                ]
            )
            for _ in range(scales)
        )

    def forward(self, picture: Tensor, still: Tensor) -> list[list[Tensor]]:
        """picture, still (B, 3, R, R) in [-1, 1] -> per scale the features of each layer; the last is the score map."""
        result = []
        for k, layers in enumerate(self.scales):
            assert isinstance(layers, nn.ModuleList)
            h = torch.cat([picture, still], 1)
            if k:
                h = F.avg_pool2d(h, 2**k)
            features = []
            for j, layer in enumerate(layers):
                h = layer(h)
                if j < len(layers) - 1:
                    h = F.leaky_relu(h, 0.2)
                features.append(h)
            result.append(features)
        return result


def critic_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """Least-squares loss of the discriminator."""
    terms = [((r[-1].float() - 1) ** 2).mean() + (m[-1].float() ** 2).mean() for r, m in zip(real, made, strict=True)]
    return torch.stack(terms).mean() / 2


def adversarial_loss(made: list[list[Tensor]]) -> Tensor:
    """Least-squares loss of the generator."""
    return torch.stack([((m[-1].float() - 1) ** 2).mean() for m in made]).mean()


def feature_matching_loss(real: list[list[Tensor]], made: list[list[Tensor]]) -> Tensor:
    """L1 between the discriminator's features of the real and of the made picture."""
    terms = [
        F.l1_loss(m.float(), r.detach().float())
        for reals, mades in zip(real, made, strict=True)
        for r, m in zip(reals[:-1], mades[:-1], strict=True)
    ]
    return torch.stack(terms).mean()
