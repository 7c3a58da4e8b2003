from __future__ import annotations

import dataclasses
from pathlib import Path

import av
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from codec_models.bitstream import colour
from codec_models.bitstream.face import FaceConfig, FaceDecoder, FaceEncoder, area_8x8
from codec_models.bitstream.hints import Hints
from codec_models.training import lattice

pytestmark = pytest.mark.unit


def moving_pictures(frames: int, seed: int = 0) -> np.ndarray:
    """Soft blobs that drift and flicker a little: (frames, 8, 8, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:8, :8]
    centres, colours = rng.uniform(1, 7, (3, 2)), rng.uniform(-90, 90, (3, 3))
    pictures = []
    for k in range(frames):
        picture = np.full((8, 8, 3), 120.0) + rng.normal(0, 0.4, (8, 8, 3))
        for j, (cy, cx) in enumerate(centres):
            blob = np.exp(-((y - cy - np.sin(k / 6 + j)) ** 2 + (x - cx - np.cos(k / 8 + j)) ** 2) / 4)
            picture += blob[:, :, None] * colours[j]
        pictures.append(np.clip(np.rint(picture), 0, 255).astype(np.uint8))
    return np.stack(pictures)


def through_the_coder(pictures: np.ndarray, config: FaceConfig) -> np.ndarray:
    encoder, decoder = FaceEncoder(config), FaceDecoder()
    decoded = []
    for picture in pictures:
        tick = decoder.decode(encoder.encode(picture))
        assert tick.picture is not None
        decoded.append(tick.picture)
        for _ in range(4 if config.fps == 5 else 0):
            decoder.decode(encoder.encode(None))
    return np.stack(decoded).astype(int)


def emulated(pictures: np.ndarray, config: FaceConfig, zone: float | None = None) -> np.ndarray:
    lean = torch.tensor([config.profile == "lean"])
    width = lattice.dead_zone(lean, torch.tensor([config.fps == 5])) if zone is None else torch.tensor([zone])
    planar = torch.from_numpy(pictures).permute(0, 3, 1, 2)[None]
    decoded = lattice.decoded_pictures(planar, torch.tensor([config.quality]), lean, width)
    return decoded[0].permute(0, 2, 3, 1).numpy()


def test_planes_are_those_of_the_bitstream() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    planes = lattice.to_planes(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    assert (planes.flatten(1).numpy() == np.stack([colour.to_planes(p) for p in pictures])).all()
    back = lattice.to_pictures(planes + 37).permute(0, 2, 3, 1).numpy()
    assert (back == np.stack([colour.to_picture(colour.to_planes(p) + 37) for p in pictures])).all()


@pytest.mark.parametrize("profile", ["full", "lean"])
@pytest.mark.parametrize("quality", [3, 9])
def test_equals_the_real_coder_where_bits_do_not_count(profile: str, quality: int) -> None:
    config = FaceConfig(profile, quality, rate_weight=0.0)  # type: ignore[arg-type]
    pictures = moving_pictures(12)
    assert (emulated(pictures, config, 0.0) == through_the_coder(pictures, config)).all()


DEFAULTS = [FaceConfig(p, fps=f) for p in ("full", "lean") for f in (25, 5)]  # type: ignore[arg-type]


def assert_alike(windows: list[np.ndarray], config: FaceConfig, decibels: float) -> None:
    """Nearer to the coder than the coder is to the pictures, and as good as it."""
    real = np.concatenate([through_the_coder(w, config) for w in windows])
    ours = np.concatenate([emulated(w, config) for w in windows])
    pictures = np.concatenate(windows)
    assert np.abs(real - ours).mean() < 0.6 * np.abs(real - pictures).mean()
    errors = [10 * np.log10(255**2 / np.mean((made - pictures) ** 2)) for made in (real, ours)]
    assert errors[0] == pytest.approx(errors[1], abs=decibels)


@pytest.mark.parametrize("config", DEFAULTS)
def test_close_to_the_real_coder_at_its_defaults(config: FaceConfig) -> None:
    assert_alike([moving_pictures(60, 1)[:: 1 if config.fps == 25 else 5]], config, 3.5)


@pytest.mark.parametrize("config", DEFAULTS)
def test_closer_still_on_real_faces(config: FaceConfig) -> None:
    folder = Path(__file__).parents[3] / "../shared/clips/dev"
    clips = sorted(folder.glob("*.mp4"))[::10]
    if not clips:
        pytest.skip("no clips in ../shared/clips/dev")
    windows = []
    for clip in clips:
        with av.open(str(clip)) as container:
            frames = [f.to_ndarray(format="rgb24") for f, _ in zip(container.decode(video=0), range(60), strict=False)]
        windows.append(np.stack([area_8x8(f) for f in frames[:: 1 if config.fps == 25 else 5]]))
    assert_alike(windows, config, 1.0)


def test_a_still_scene_keeps_its_samples() -> None:
    pictures = np.clip(moving_pictures(1)[0] + np.random.default_rng(2).integers(-1, 2, (10, 8, 8, 3)), 0, 255)
    decoded = emulated(pictures.astype(np.uint8), FaceConfig())
    assert (np.diff(decoded, axis=0) != 0).mean() < 0.05


def test_hints_equal_those_of_the_coder() -> None:
    rng = np.random.default_rng(3)
    start = np.array([0.1, 0.5, 0.15, 0.15, 0.0, 0.0, 0.5, 0.5, -1.6, 0.0, 0.1, -0.1])
    walk = np.cumsum(rng.normal(0, 0.02, (20, len(start))), 0) + start
    encoder, decoder = FaceEncoder(), FaceDecoder()
    expected = []
    grey = np.full((8, 8, 3), 128, np.uint8)  # without any picture every tick would be a refresh
    for row in walk.astype(np.float32).tolist():
        tick = decoder.decode(encoder.encode(grey, Hints(*row)))
        assert tick.hints is not None
        expected.append(dataclasses.astuple(tick.hints))
    ours = lattice.decoded_hints(torch.from_numpy(walk.astype(np.float32))[None])[0].numpy()
    assert np.abs(ours - np.array(expected)).max() < 1e-6
    held = np.diff(ours, axis=0) == 0
    assert 0.1 < held.mean() < 0.9, "some changes are small enough to be left out, some are not"
