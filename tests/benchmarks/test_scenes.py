"""Scenes of one person's clips, put one behind the other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scenes
from benchmarks.clips import Clip
from codec_models.errors import UserError
from codec_models.landmarks import POINTS

pytestmark = pytest.mark.unit


def make_clip(count: int, first: int = 0) -> Clip:
    """Frame k is all k; its voice counts on from sample to sample, so that what is heard with what can be told."""
    numbers = np.arange(first, first + count)
    frames = np.broadcast_to(numbers[:, None, None, None], (count, 256, 256, 3)).astype(np.uint8)
    voice = (10 * numbers[:, None] + np.linspace(0, 9.99, 1920)).astype(np.int16)
    points = np.broadcast_to(numbers[:, None, None], (count, len(POINTS), 2)).astype(np.float32)
    return Clip("one", frames, voice, points)


def test_to_and_fro_turns_without_a_cut_and_keeps_voice_with_its_frames() -> None:
    scene = scenes.to_and_fro(make_clip(4), 11 / 25)
    shown = [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2]
    assert scene.frames[:, 0, 0, 0].tolist() == shown and scene.points[:, 0, 0].tolist() == shown
    # forwards the 40 ms that end with a frame; backwards those that followed it, the other way round
    assert scene.voice[2, 0] == 20 and scene.voice[2, -1] == 29
    assert scene.voice[5, 0] == 39 and scene.voice[5, -1] == 30
    assert not scene.voice[4].any()  # after the last frame there was nothing


def test_clips_are_chained_in_order() -> None:
    scene = scenes.chained("both", [make_clip(3), make_clip(2, 50)])
    assert scene.name == "both" and scene.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 50, 51]
    assert scene.voice.shape == (5, 1920) and scene.points.shape == (5, len(POINTS), 2)
    assert scenes.to_and_fro(scene, 3 / 25).frames[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_people_with_most_clips_come_first(tmp_path: Path) -> None:
    entries = [("b_1", "b", True), ("b_0", "b", True), ("a_0", "a", True), ("c_0", "c", False), ("d_0", "d", True)]
    for name, _, _ in entries[:-1]:
        (tmp_path / f"{name}.mp4").touch()
    told = [{"clip_id": c, "identity": who, "audio_own": own} for c, who, own in entries]
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    found = scenes.people(tmp_path, 5)
    assert [(p.name, [f.name for f in p.files]) for p in found] == [("b", ["b_0.mp4", "b_1.mp4"]), ("a", ["a_0.mp4"])]
    assert len(scenes.people(tmp_path, 1)) == 1


@pytest.mark.parametrize("content", [None, "{", "[]", '[{"identity": "a"}]', '{"a": 1}'])
def test_a_folder_that_cannot_be_used(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json"):
        scenes.people(tmp_path, 3)
