"""The page's landmark finder (signaling/static/source/points.js) against the network in torch, in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from safetensors.torch import load_file, save_file

from codec_models.face_points import DEFAULT_WEIGHTS, FacePoints, load_face_points
from codec_models.landmarks import hints_of
from codec_models.training.checkpoint import save_weights
from tests.signaling.browser.test_coder import node_path

pytestmark = pytest.mark.unit
STATIC = Path(__file__).parents[3] / "signaling" / "static"
ASK = """
import { readFileSync } from "node:fs";
import { FacePoints, hintsOf } from "./source/points.js";
const [weights, pictures] = process.argv.slice(2);
const read = (path) => new Uint8Array(readFileSync(path));
try {
  const network = FacePoints.load(read(weights).buffer);
  const answers = [];
  const rgba = new Uint8ClampedArray(read(pictures).buffer);
  for (let at = 0; at < rgba.length; at += 4 * 256 * 256) {
    const { points, confidence } = network.find(rgba.subarray(at, at + 4 * 256 * 256));
    answers.push({ points: [...points], confidence, hints: [...hintsOf(points)] });
  }
  console.log(JSON.stringify(answers));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
"""


@pytest.fixture(scope="module")
def node() -> str:
    found = node_path()
    if found is None:
        pytest.skip("needs Node: install it, or the package playwright")
    return found


def ask(node: str, folder: Path, weights: Path, pictures: np.ndarray) -> Any:
    """What the page finds in pictures (N, 256, 256, 3) uint8."""
    for name in ("source/points.js", "source/layers.js", "coder/safetensors.js"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(STATIC / name, folder / name)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "ask.js").write_text(ASK)
    alpha = np.full((*pictures.shape[:3], 1), 255, np.uint8)
    np.concatenate([pictures, alpha], 3).tofile(folder / "pictures")
    words = [node, str(folder / "ask.js"), str(weights), str(folder / "pictures")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def pictures() -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (3, 16, 16, 3), np.uint8).repeat(16, 1).repeat(16, 2)
    flat = np.full((1, 256, 256, 3), 90, np.uint8)
    return np.concatenate([coarse, rng.integers(0, 256, (1, 256, 256, 3), np.uint8), flat])


def compare(network: FacePoints, seen: np.ndarray, found: list[Any]) -> np.ndarray:
    with torch.no_grad():
        points, confidence = network(torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1)
    made = np.array([f["points"] for f in found]).reshape(-1, 110, 2)
    np.testing.assert_allclose(made, (points.numpy() + 1) / 2, atol=1e-5, rtol=0)
    np.testing.assert_allclose([f["confidence"] for f in found], confidence.numpy(), atol=1e-4)
    for p, f in zip(made, found, strict=True):
        np.testing.assert_allclose(f["hints"], astuple(hints_of(p)), atol=1e-6)
    return made


def test_untrained_it_finds_the_same_wherever_the_steps_look(node: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = FacePoints()
    with torch.no_grad():  # heads at the edge and rolled; eyes apart
        model.whole.tell.bias.copy_(torch.tensor([2.5, -2.0, 1.0, 3.0]))
        model.whole.tell.weight.mul_(10)
        model.face.tell.bias[:-1] = torch.randn(220) * 8
        model.face.tell.weight.mul_(10)
        model.eye.tell.weight.mul_(5)
    save_weights(tmp_path / "weights.safetensors", model)
    seen = pictures()
    found = ask(node, tmp_path, tmp_path / "weights.safetensors", seen)
    made = compare(load_face_points(tmp_path / "weights.safetensors"), seen, found)
    assert float(np.abs(made[0] - made[1]).max()) > 0.003, "it looks at the picture"


def test_the_shipped_weights_find_the_same_in_a_face(node: str, tmp_path: Path) -> None:
    pytest.importorskip("skimage", reason="the built-in face needs scikit-image")
    from sender.demo_source import DemoSource

    large = np.stack([tick.picture for tick in DemoSource(0.08)])
    face = large.reshape(-1, 256, 2, 256, 2, 3).mean((2, 4)).round().astype(np.uint8)
    found = ask(node, tmp_path, DEFAULT_WEIGHTS, face)
    compare(load_face_points(), face, found)
    assert found[0]["confidence"] > 0.5


def test_other_weights_are_refused(node: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = tmp_path / "weights.safetensors"
    save_weights(path, FacePoints())
    stored = load_file(path)
    for change, message in (
        ({"eye.tell.bias": None}, "the weights lack eye.tell.bias"),
        ({"eye.more": torch.zeros(3).half()}, "the weights have an unknown eye.more"),
        ({"eye.tell.bias": torch.zeros(15).half()}, "eye.tell.bias is [15], not [14]"),
        ({"eye.tell.bias": torch.zeros(14)}, "eye.tell.bias is of type F32, not F16"),
        ({"eye.tell.bias": torch.full((14,), float("inf")).half()}, "eye.tell.bias is not finite"),
    ):
        save_file({k: t for k, t in (stored | change).items() if t is not None}, path)
        assert ask(node, tmp_path, path, pictures()[:1]) == {"error": message}
    for data in (b"", b"landmarks", b"\xff" * 64, path.read_bytes()[:-10]):
        path.write_bytes(data)
        assert "error" in ask(node, tmp_path, path, pictures()[:1])
    assert "256x256" in ask(node, tmp_path, DEFAULT_WEIGHTS, pictures()[:1, :128])["error"]
