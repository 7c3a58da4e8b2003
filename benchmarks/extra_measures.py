"""Measures that need packages or weights which do not come with Pinhole. Nothing is downloaded: what is not on the
machine is left out, and the benchmark says what would bring it.

- csim: cosine between identity vectors of OpenCV's SFace (Zhong et al. 2021), mean over frames; `--sface FILE.onnx`.
- id_cosine: the same by a small network of our own (`codec_models.training.identity`), where `identity_measure` says.
- lpips: Zhang et al. 2018, AlexNet (package lpips). dists: Ding et al. 2020 (package DISTS-pytorch).
- fid: Heusel et al. 2017 over all frames of all clips (package pytorch-fid). Frames of a video are alike, so it
  compares codecs of one run with each other, not with papers.
- lse_d, lse_c, av_offset: Prajwal et al. 2020, by our own sync expert (`codec_models.training.sync_expert`).
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from codec_models.errors import UserError
from codec_models.landmarks import POINTS
from codec_models.mel import LogMel, normalised

from .clips import Clip
from .identity_measure import WEIGHTS as IDENTITY_WEIGHTS
from .identity_measure import IdentityCosine
from .landmark_metrics import Track
from .report import Row

Frames = NDArray[np.uint8]
_BATCH = 16


class Measure(ABC):
    """One or more figures of drawn frames against a clip."""

    names: tuple[str, ...]

    @abstractmethod
    def missing(self) -> str | None:
        """Why it cannot be measured on this machine, or None when it can. Quick; loads and downloads nothing."""

    @abstractmethod
    def figures(self, codec: str, clip: Clip, drawn: Frames, truth: Track | None, found: Track | None) -> Row:
        """Figures of one clip. truth, found: landmarks of the clip and of the drawn frames, where they are known."""

    def pooled(self) -> dict[str, Row]:
        """Codec -> figures over all clips so far, of measures that are no mean over clips."""
        return {}


def measures(sface: Path | None) -> list[Measure]:
    """All of them, whether they can run or not. Raises UserError where `sface` is no file."""
    if sface is not None and not sface.is_file():
        raise UserError(f"no file at {sface}: check --sface")
    return [Identity(sface), OwnIdentity(), lpips(), dists(), InceptionDistance(), Sync()]


class Identity(Measure):
    names = ("csim",)

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._net: Any = None

    def missing(self) -> str | None:
        return None if self._path is not None else "needs OpenCV's SFace weights: --sface FILE.onnx"

    def figures(self, codec: str, clip: Clip, drawn: Frames, truth: Track | None, found: Track | None) -> Row:
        if truth is None or found is None:
            return {}
        both = np.flatnonzero(~np.isnan(truth).any((1, 2)) & ~np.isnan(found).any((1, 2)))
        if not len(both):
            return {}
        if self._net is None:
            try:
                self._net = cv2.FaceRecognizerSF.create(str(self._path), "")
            except cv2.error as e:
                raise UserError(f"{self._path} is no SFace network: check --sface") from e
        pairs = [(self._vector(clip.frames[k], truth[k]), self._vector(drawn[k], found[k])) for k in both]
        return {"csim": float(np.mean([a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]))}

    def _vector(self, picture: Frames, points: NDArray[np.float32]) -> NDArray[np.float32]:
        at = {mesh: points[k] for k, mesh in enumerate(POINTS)}
        marks = [at[468], at[473], at[1], at[61], at[291]]  # eyes, nose, corners of the mouth
        low, high = points.min(0), points.max(0)
        box = np.concatenate([low, high - low, *marks, [1.0]]).astype(np.float32)
        crop = self._net.alignCrop(np.ascontiguousarray(picture[..., ::-1]), box)
        return np.asarray(self._net.feature(crop), np.float32).ravel()


class OwnIdentity(Measure):
    """By our own embedding network; how well it tells people apart is in `codec_models/weights/README.md`."""

    names = ("id_cosine",)
    weights = IDENTITY_WEIGHTS

    def __init__(self) -> None:
        self._cosine = IdentityCosine(self.weights)

    def missing(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "needs the package torch"
        return None if self.weights.is_file() else "there are no weights of the identity network yet"

    def figures(self, codec: str, clip: Clip, drawn: Frames, truth: Track | None, found: Track | None) -> Row:
        cosine = self._cosine.of(clip.frames, drawn, clip.points)
        return {} if cosine is None else {"id_cosine": cosine}


class TorchDistance(Measure):
    """A distance of picture pairs by a pretrained network of a package."""

    def __init__(
        self, name: str, package: str, module: str, weights: str, scale: tuple[float, float], make: Callable[[Any], Any]
    ) -> None:
        """weights: file in torch's hub cache that the package would download. scale: factor and shift of 0 to 1."""
        self.names = (name,)
        self._package, self._module, self._weights, self._scale, self._make = package, module, weights, scale, make
        self._net: Any = None

    def missing(self) -> str | None:
        return _missing(self._package, self._module, self._weights)

    def figures(self, codec: str, clip: Clip, drawn: Frames, truth: Track | None, found: Track | None) -> Row:
        import torch

        if self._net is None:
            self._net = self._make(importlib.import_module(self._module)).eval()
        factor, shift = self._scale
        values: list[NDArray[np.float32]] = []
        with torch.inference_mode():
            for a, b in zip(_batches(clip.frames), _batches(drawn), strict=True):
                value = self._net(torch.from_numpy(a) * factor + shift, torch.from_numpy(b) * factor + shift)
                values.append(value.reshape(-1).numpy())
        return {self.names[0]: float(np.concatenate(values).mean())}


def lpips() -> TorchDistance:
    return TorchDistance(
        "lpips", "lpips", "lpips", "alexnet-owt-7be5be79.pth", (2.0, -1.0), lambda m: m.LPIPS(net="alex", verbose=False)
    )


def dists() -> TorchDistance:
    return TorchDistance(
        "dists", "DISTS-pytorch", "DISTS_pytorch", "vgg16-397923af.pth", (1.0, 0.0), lambda m: m.DISTS()
    )


class InceptionDistance(Measure):
    names = ("fid",)

    def __init__(self) -> None:
        self._net: Any = None
        self._true: dict[str, NDArray[np.float64]] = {}
        self._drawn: dict[str, dict[str, NDArray[np.float64]]] = {}

    def missing(self) -> str | None:
        return _missing("pytorch-fid", "pytorch_fid", "pt_inception-2015-12-05-6726825d.pth")

    def figures(self, codec: str, clip: Clip, drawn: Frames, truth: Track | None, found: Track | None) -> Row:
        if clip.name not in self._true:
            self._true[clip.name] = self._features(clip.frames)
        self._drawn.setdefault(codec, {})[clip.name] = self._features(drawn)
        return {}

    def _features(self, frames: Frames) -> NDArray[np.float64]:
        import torch

        if self._net is None:
            self._net = importlib.import_module("pytorch_fid.inception").InceptionV3([3]).eval()
        with torch.inference_mode():
            return np.concatenate([self._net(torch.from_numpy(b))[0][..., 0, 0].numpy() for b in _batches(frames)])

    def pooled(self) -> dict[str, Row]:
        out: dict[str, Row] = {}
        for codec, clips in self._drawn.items():
            true = np.concatenate([self._true[name] for name in clips])
            out[codec] = {"fid": frechet(true, np.concatenate(list(clips.values())))}
        return out


def frechet(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Frechet distance of Gaussians fitted to features (N, D) and (M, D).

    The trace of (A B)^(1/2) is that of the singular values of the product of the centred features' factors, so no
    matrix root is needed.
    """
    x, y = (f.astype(np.float64) for f in (a, b))
    x0, y0 = ((f - f.mean(0)) / np.sqrt(max(len(f) - 1, 1)) for f in (x, y))
    x1, y1 = (np.asarray(np.linalg.qr(f, "r")) for f in (x0, y0))
    mixed = float(np.linalg.norm(x1 @ y1.T, "nuc"))
    return float(np.square(x.mean(0) - y.mean(0)).sum() + np.square(x0).sum() + np.square(y0).sum() - 2 * mixed)


class Sync(Measure):
    """By the sync expert of `codec_models.training.sync_expert`, where its weights are."""

    names = ("lse_d", "lse_c", "av_offset")
    weights = Path(__file__).parents[1] / "codec_models" / "weights" / "sync_expert.safetensors"

    def missing(self) -> str | None:
        if importlib.util.find_spec("torch") is None:
            return "needs the package torch"
        return None if self.weights.is_file() else "there are no weights of the sync expert yet"

    def figures(self, codec: str, clip: Clip, drawn: Frames, truth: Track | None, found: Track | None) -> Row:
        if np.isnan(clip.points).any():
            return {}
        import torch

        from codec_models.training.sync_expert import SyncExpert, mouth_crops, sync_figures

        front = LogMel()
        rows = np.concatenate([front.push(voice) for voice in clip.following_voice])
        mel = torch.from_numpy(normalised(rows))
        points = torch.from_numpy(clip.points[: len(drawn)] * 2 - 1)
        mouths = [
            mouth_crops(torch.from_numpy(batch * 2 - 1), where)
            for batch, where in zip(_batches(drawn), torch.split(points, _BATCH), strict=True)
        ]
        try:
            figures = sync_figures(SyncExpert.load(self.weights), torch.cat(mouths), mel)
        except ValueError:  # too short for the offsets
            return {}
        return {"lse_d": figures.lse_d, "lse_c": figures.lse_c, "av_offset": float(figures.offset)}


def _missing(package: str, module: str, weights: str) -> str | None:
    for needed, name in (("torch", "torch"), (module, package)):
        if importlib.util.find_spec(needed) is None:
            return f"needs the package {name}"
    home = Path(os.environ.get("TORCH_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "torch")
    if not (home.expanduser() / "hub" / "checkpoints" / weights).is_file():
        return f"needs the weights {weights} in torch's hub cache"
    return None


def _batches(frames: Frames) -> Iterator[NDArray[np.float32]]:
    """(B, 3, H, W) float32 in 0 to 1."""
    for k in range(0, len(frames), _BATCH):
        batch = np.ascontiguousarray(frames[k : k + _BATCH].transpose(0, 3, 1, 2), np.float32)
        yield np.asarray(batch / 255, np.float32)
