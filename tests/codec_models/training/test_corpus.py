from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from tiny_clips import FRAMES, shape

from codec_models.errors import UserError
from codec_models.training import labels as labels_module
from codec_models.training.corpus import MEL_BEFORE, Clip, ClipRow, Corpus, draw_weights, most_varied, read_manifest
from codec_models.training.face_points import AT
from codec_models.training.labels import Labels, voice_of

pytestmark = pytest.mark.unit


def row(name: str, identity: str = "a", **more: Any) -> ClipRow:
    return ClipRow(Path(f"{name}.mp4"), identity, more.get("dataset", ""), more.get("lowres", False), True)


def test_reads_what_the_manifest_names(corpus: Corpus) -> None:
    assert [c.row.path.stem for c in corpus.clips] == ["p0-0", "p0-1", "p1-0", "p1-1"]
    assert corpus.frames == 4 * FRAMES and corpus.points.shape == (4 * FRAMES, 110, 2)
    assert [c.voiced for c in corpus.clips] == [True, False, True, False]
    assert torch.allclose(corpus.points[0].mean(0), torch.from_numpy(shape().mean(0) + 0.5) * 2 - 1, atol=0.2)
    assert corpus.pool.shape == (4, 3, 256, 256)


def test_pictures_are_those_of_the_video(corpus: Corpus, clips: Path) -> None:
    import av

    with av.open(str(clips / "p0-0.mp4")) as container:
        frame = next(container.decode(video=0)).to_ndarray(format="rgb24")
    ours = ((corpus.pictures(torch.tensor([0]), 256)[0].permute(1, 2, 0) + 1) * 127.5).numpy()
    assert np.abs(ours - frame).mean() < 2.5
    for side in (64, 128):
        small = corpus.pictures(torch.tensor([0]), side)
        area = torch.nn.functional.avg_pool2d(corpus.pictures(torch.tensor([0]), 256), 256 // side)
        assert (small - area).abs().mean() < 0.02


def test_only_a_clips_own_voice_is_heard(corpus: Corpus, clips: Path) -> None:
    for clip in corpus.clips:
        heard = corpus.mel[clip.mel_start : clip.mel_start + 4 * clip.frames + MEL_BEFORE + 4]
        assert not heard[:MEL_BEFORE].any(), "a clip begins after silence"
        if not clip.voiced:
            assert not heard.any()
            continue
        voice = voice_of(clip.row.path)
        assert voice is not None
        assert (heard[MEL_BEFORE:-4].numpy() == voice[: 4 * FRAMES]).all() and not heard[-4:].any()
        points = corpus.points[clip.start : clip.start + FRAMES]
        open_mouth = points[:, AT[14], 1] - points[:, AT[13], 1]
        loud = heard[MEL_BEFORE:-4].float().mean(1).view(FRAMES, 4).mean(1)
        assert np.corrcoef(open_mouth[3:], loud[3:])[0, 1] > 0.6, "the hum is as loud as the mouth is open"
    assert voice_of(clips / "p0-1.mp4") is None and voice_of(clips / "p1-1.mp4") is not None


def test_without_pictures_the_rest_is_the_same(corpus: Corpus, small_corpus: Corpus) -> None:
    assert small_corpus.luma.numel() == small_corpus.chroma.numel() == len(small_corpus.pool) == 0
    assert small_corpus.small.shape == (4 * FRAMES, 3, 32, 32) and corpus.small.shape == (4 * FRAMES, 3, 64, 64)
    area = torch.nn.functional.avg_pool2d(corpus.small.float(), 2)
    # colours are clipped after averaging, which shows at edges of the white dot
    assert (small_corpus.small - area).abs().mean() < 0.5 and (small_corpus.small - area).abs().max() < 8
    assert torch.equal(small_corpus.points, corpus.points) and torch.equal(small_corpus.mel, corpus.mel)
    assert small_corpus.clips == corpus.clips and torch.equal(small_corpus.weight, corpus.weight)


def test_one_camera_does_not_dominate() -> None:
    clips = [Clip(row(f"g{k}", f"speaker{k % 2}", dataset="GRID"), 0, 75, 0, True) for k in range(60)]
    clips += [Clip(row(f"x{k}", f"x{k}"), 0, 100, 0, True) for k in range(10)]
    weight = draw_weights(clips)
    assert weight.sum() == pytest.approx(1) and weight[:60].sum() < 0.05


def test_weight_is_the_root_of_the_length_and_blurry_clips_count_less() -> None:
    a = Clip(row("a", "a"), 0, 100, 0, True)
    b = Clip(row("b", "b"), 0, 400, 0, True)
    c = Clip(row("c", "c", lowres=True), 0, 100, 0, True)
    weight = draw_weights([a, b, c])
    assert weight[1] == pytest.approx(2 * weight[0]) and weight[2] < weight[0]


def test_few_clips_are_of_many_people() -> None:
    rows = [row(f"{who}{k}", who) for who in "abc" for k in range(5)]
    assert {r.identity for r in most_varied(rows, 3)} == {"a", "b", "c"}
    assert len(most_varied(rows, None)) == 15


def test_bad_folders_are_named(tmp_path: Path, clips: Path) -> None:
    with pytest.raises(UserError, match=r"no manifest\.json"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UserError, match="cannot read"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps([{"clip_id": "absent"}]))
    with pytest.raises(UserError, match="none of the clips"):
        read_manifest(tmp_path)
    with pytest.raises(UserError, match="--labels"):
        Labels()
    with pytest.raises(UserError, match="no such labels"):
        Labels(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(UserError, match="not a labels archive"):
        Labels(tmp_path / "text.npz")


def test_labels_are_made_once_and_kept(tmp_path: Path, clips: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    searched = []

    def find(path: Path) -> np.ndarray | None:
        searched.append(path.stem)
        return None if path.stem == "p1-1" else np.tile(shape() + 0.5, (FRAMES, 1, 1)).astype(np.float32)

    monkeypatch.setattr(labels_module, "find_landmarks", find)
    for name in ("p0-0.mp4", "p1-1.mp4"):
        shutil.copy(clips / name, tmp_path / name)
    for _ in range(2):
        labels = Labels(cache=tmp_path / "cache")
        found = labels.of(tmp_path / "p0-0.mp4")
        assert found is not None and found.shape == (FRAMES, 110, 2) and found.dtype == np.float32
        assert np.abs(found - shape() - 0.5).max() < 1 / 4000
        assert labels.of(tmp_path / "p1-1.mp4") is None
    assert searched == ["p0-0", "p1-1"]
