"""The loss map: regions and bands that add up, oracles that do what they say, and the tables of a small clip."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the networks need torch: pip install -e '.[training]'")

from benchmarks import loss_map
from benchmarks.clips import Clip
from benchmarks.loss_ablations import ABLATIONS, Made, Painter
from benchmarks.loss_cases import APART, FIRST, NEAR_APART, SPREAD, Case, make_case, measured_ticks, spread, unit
from benchmarks.loss_regions import FACE, REGIONS, SIDES, band_errors, person, regions
from benchmarks.metrics import psnr
from benchmarks.ours import code_faces
from codec_models.bitstream.face import FaceConfig
from codec_models.engines.torch_engine import torch_network
from codec_models.errors import UserError, run_command
from codec_models.landmark_head import StillLandmarks
from codec_models.landmarks import POINTS
from codec_models.upsampler import load_upsampler

pytestmark = pytest.mark.unit

COUNT = 70
FACE_POINTS = ((StillLandmarks(8).mean.detach().numpy() + 1) / 2).astype(np.float32)


def make_clip(faces: bool = True, count: int = COUNT) -> Clip:
    """A wall, and a face that goes a pixel to the right a tick, with the average landmarks."""
    rng = np.random.default_rng(0)
    wall = cv2.GaussianBlur(rng.integers(0, 256, (256, 256, 3)).astype(np.uint8), (0, 0), 4)
    skin = cv2.GaussianBlur(rng.integers(120, 256, (256, 256, 3)).astype(np.uint8), (0, 0), 3)
    frames, points = [], []
    for k in range(count):
        now = FACE_POINTS + np.array([(k - count / 2) / 256, 0], np.float32)
        shape = np.zeros((256, 256), np.uint8)
        cv2.fillConvexPoly(shape, cv2.convexHull(np.rint(now * 256).astype(np.int32)), 1)
        moved = np.roll(skin, k - count // 2, 1)
        frames.append(np.where(shape[..., None] > 0, moved, wall))
        points.append(now if faces else np.full_like(now, np.nan))
    voice = rng.integers(-3000, 3000, (count, 1920)).astype(np.int16)
    return Clip("synthetic.mp4", np.stack(frames), voice, np.stack(points).astype(np.float32))


@pytest.fixture(scope="module")
def painter() -> Painter:
    return Painter(load_upsampler(), make_case(make_clip(), every=9))


def test_regions_cover_the_picture_once() -> None:
    still = FACE_POINTS - np.array([0.1, 0], np.float32)
    masks = regions(FACE_POINTS, still)
    assert tuple(masks) == REGIONS
    assert (np.sum(list(masks.values()), 0) == 1).all()
    for name in ("lips", "eyes", "brows", "nose"):
        assert 0.002 < masks[name].mean() < 0.08, name
    at = {mesh: tuple(np.floor(256 * FACE_POINTS[POINTS.index(mesh)]).astype(int)[::-1]) for mesh in (13, 468, 105, 4)}
    for mesh, name in ((13, "lips"), (468, "eyes"), (105, "brows"), (4, "nose")):
        assert masks[name][at[mesh]], name
    # the person stood to the left in the still: what is uncovered lies there
    where = np.argwhere(masks["uncovered"])[:, 1]
    assert len(where) > 100 and where.mean() < 256 * FACE_POINTS[:, 0].mean() - 30
    assert not regions(FACE_POINTS, FACE_POINTS)["uncovered"].any()


def test_a_person_has_a_neck_and_shoulders_down_to_the_edge() -> None:
    points = FACE_POINTS * 0.4 + np.array([0.3, 0.1], np.float32)
    mask = person(points)
    face = np.any([regions(points, points)[name] for name in FACE], 0)
    assert (mask | ~face).all() and mask.sum() > 2 * face.sum()
    wide = mask.sum(1)
    chin = int(np.flatnonzero(face.any(1)).max())
    neck = wide[chin : chin + 30].min()
    assert 0 < neck < wide[:chin].max() < wide[255] == wide[200] and not mask[:2].any()


def test_bands_of_errors_of_known_size() -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(50, 200, (256, 256, 3)).astype(np.float32)
    parts = {side: rng.normal(0, 4, (side, side, 3)).astype(np.float32) for side in (8, 64)}
    zero_mean = parts[64] - parts[64].reshape(8, 8, 8, 8, 3).mean((1, 3)).repeat(8, 0).repeat(8, 1)
    coarse, fine = (part.repeat(256 // len(part), 0).repeat(256 // len(part), 1) for part in (parts[8], zero_mean))
    squares, smooth = band_errors(truth + coarse + fine, truth)
    assert tuple(squares) == tuple(smooth) == SIDES
    assert all(squares[b] <= squares[a] for a, b in pairwise(SIDES))
    assert squares[8] == pytest.approx(np.square(fine).mean(), rel=1e-3)
    assert squares[64] == pytest.approx(0, abs=1e-3)
    assert smooth[64] < 0.4 * squares[8]


def test_smooth_averages_take_away_a_smooth_error() -> None:
    truth = np.full((256, 256, 3), 100, np.float32)
    ramp = np.linspace(-10, 10, 256, dtype=np.float32)[None, :, None]
    squares, smooth = band_errors(truth + ramp, truth)
    assert smooth[16] < 0.3 * squares[16] < 0.3 * float(np.square(ramp).mean())


def test_measured_ticks_keep_away_from_the_stills() -> None:
    clip = make_clip(count=90)
    for every in (None, 4, 1000):
        ticks = measured_ticks(clip, every)
        assert ticks == sorted(set(ticks)) and ticks[0] >= FIRST
        for count in SPREAD:
            assert len(spread(clip, count)) == count and spread(clip, count)[0] == 0
            assert all(abs(t - s) >= APART for t in ticks for s in spread(clip, count))
    assert len(measured_ticks(clip, 1000)) == 1 < len(measured_ticks(clip, 4))


def test_a_tick_without_a_face_is_neither_measured_nor_a_still() -> None:
    clip = make_clip()
    clip.points[:3] = np.nan
    clip.points[30:36] = np.nan
    case = make_case(clip, every=1)
    assert case.first == 3 and not set(case.ticks) & set(range(30, 36))
    assert case.exact.hints.shape == (len(case.ticks), 12)


def test_the_nearest_still_is_near_but_not_too_near(painter: Painter) -> None:
    case = painter.case
    for tick, still in zip(case.ticks, case.nearest(), strict=True):
        assert NEAR_APART <= abs(still - tick) <= NEAR_APART + 4  # candidates are 3 or 4 ticks apart
    assert (np.diff(case.drifts) > 0).all()


def test_the_usual_row_is_what_the_receiver_draws(painter: Painter) -> None:
    case = painter.case
    network = torch_network(bfloat16=False, teeth=False)
    network.set_identity(case.still(case.first))
    last = case.ticks[1]
    for k, face in enumerate(code_faces(case.clip, FaceConfig()).ticks[: last + 1]):
        voice = case.clip.voice[k]
        if k not in case.ticks:
            network.take(face, voice)
            continue
        shown, made = network.tick(face, voice), painter.usual.shown[case.ticks.index(k)]
        assert np.abs(shown.astype(int) - made).max() <= 1 and (shown != made).mean() < 1e-3


def test_exact_inputs_are_those_of_the_pictures(painter: Painter) -> None:
    case = painter.case
    mean = case.frames.astype(np.float64).reshape(-1, 8, 32, 8, 32, 3).mean((2, 4)).transpose(0, 3, 1, 2)
    assert np.abs((case.exact.low[:, -1].numpy() + 1) * 127.5 - mean).max() < 1e-3
    coded = (case.decoded.low[:, -1].numpy() + 1) * 127.5 - mean
    assert 0.3 < np.abs(coded).mean() < 12
    away = (case.exact.hints - case.decoded.hints).abs()
    assert 0 < float(away.max()) < 0.2


def test_oracles_take_the_place_of_what_is_predicted_and_leave_no_trace(painter: Painter) -> None:
    case, before = painter.case, painter.usual.pictures
    made = painter.draw(case.decoded, painter.still, painter.true_points)
    assert made.points is not None and torch.equal(made.points, painter.true_points)
    assert not torch.equal(made.pictures, before)
    nowhere = torch.zeros(1, 1, 256, 256).expand(len(case.ticks), -1, -1, -1)
    same = painter.draw(case.decoded, painter.still, flow=painter.flow, where=nowhere)
    assert torch.allclose(same.pictures, before, atol=1e-5)
    stands = painter.draw(case.decoded, painter.still, flow=torch.zeros_like(painter.flow), refined=False)
    assert stands.warped is not None
    # nothing moves, so what is warped is the still itself
    assert psnr(np.repeat(case.still(0).picture[None], len(case.ticks), 0), Made(stands.warped).shown) > 45
    assert torch.equal(painter.draw(case.decoded, painter.still).pictures, before)


def test_optical_flow_finds_the_face_in_the_still(painter: Painter) -> None:
    case = painter.case
    for flow, frame, points, tick in zip(painter.flow, case.frames, case.points, case.ticks, strict=True):
        skin = regions(points, case.clip.points[0])["skin"]
        assert frame.shape == (256, 256, 3)
        assert float(flow[0][torch.from_numpy(skin)].median()) * 128 == pytest.approx(-tick, abs=1.5)


def test_pulling_and_composing(painter: Painter) -> None:
    case = painter.case
    pulled = painter.pulled(painter.own()).pictures
    average = torch.nn.functional.avg_pool2d(pulled, 32)
    low, own = case.decoded.low[:, -1], torch.nn.functional.avg_pool2d(painter.own(), 32)
    assert (average - low).abs().mean() < 0.5 * (own - low).abs().mean()
    made = painter.composed(painter.own()).pictures
    outside = ~torch.from_numpy(np.stack([person(p) | person(case.clip.points[0]) for p in case.points]))[:, None]
    there = outside.expand_as(made)
    assert torch.equal(made[there], painter.own()[there]) and torch.equal(made[~there], painter.usual.pictures[~there])


def test_what_is_shown_is_rounded_as_the_receiver_does() -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (1, 256, 256, 3)).astype(np.uint8)
    assert np.array_equal(Made(unit(pictures)).shown, pictures)


def test_tables_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(loss_map, "load_clip", lambda source, limit: make_clip())
    out = tmp_path / "l.json"
    assert loss_map.main(["--every", "30", "--json", str(out)]) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    tables = written["tables"]
    where = {row["codec"]: row for row in tables["where"]}
    assert sum(where[name]["area"] for name in REGIONS) == pytest.approx(1)
    assert sum(where[name]["share"] for name in REGIONS) == pytest.approx(1)
    picture = where["the picture"]["inside"]
    assert all(where[name]["perfect"] >= picture for name in REGIONS)
    sizes = [row["psnr"] for row in tables["sizes"]]
    assert sizes == sorted(sizes) and sizes[0] == pytest.approx(picture)
    why = {row["codec"].strip(): row for row in tables["why"]}
    assert tuple(why) == tuple(ablation.name.strip() for ablation in ABLATIONS) and len(why) == len(ABLATIONS)
    assert why["as it is"]["gain"] == 0 and why["as it is"]["psnr"] == pytest.approx(picture)
    assert why["landmarks true"]["lmd"] < 1e-6 < why["hints exact"]["lmd"] < why["hints off"]["lmd"]
    assert why["still"]["psnr"] < why["still by optical flow, pulled"]["psnr"] < why["AVIF of the very frame"]["psnr"]
    assert why["still"]["psnr"] < why["still-colour"]["psnr"] < picture and "lmd" not in why["bicubic"]
    drifts = [row["drift"] for row in tables["pose"]]
    assert drifts == sorted(drifts) and sum(row["frames"] for row in tables["pose"]) == written["settings"]["pictures"]
    assert {row["clip"] for row in written["rows"]} == {"synthetic.mp4"}
    told = capsys.readouterr().out
    assert "PSNR if perfect" in told and "optical flow" in told and "pictures of 1 clips" in told


def test_psnr_and_regions_of_known_errors(painter: Painter) -> None:
    case: Case = painter.case
    masks = np.stack([list(regions(p, case.clip.points[0]).values()) for p in case.points])
    wrong = case.frames.astype(int)
    wrong = np.where(masks[:, REGIONS.index("lips"), ..., None], np.where(wrong > 127, wrong - 20, wrong + 20), wrong)
    r = loss_map.rated(case, Made(unit(wrong.astype(np.uint8))), masks)
    area = masks.mean((2, 3))
    assert r.inside(("lips",), area) == pytest.approx(10 * np.log10(255**2 / 20**2), abs=1e-6)
    assert r.inside(("background",), area) == 100 and np.isnan(r.lmd).all()
    assert float(r.psnr.mean()) == pytest.approx(psnr(case.frames, wrong.astype(np.uint8)), abs=1e-4)


def test_errors_are_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(arguments: list[str], word: str) -> None:
        with pytest.raises(SystemExit) as exit_:
            run_command(lambda: loss_map.main(arguments))
        assert exit_.value.code == 1
        (line,) = [t for t in capsys.readouterr().err.strip().splitlines() if not t.startswith("measuring")]
        assert line.startswith("error: ") and word in line

    fails(["nowhere.mp4"], "nowhere.mp4")
    fails(["--every", "0"], "--every")
    fails(["--weights", str(tmp_path / "none.safetensors")], "none.safetensors")
    monkeypatch.setattr(loss_map, "load_clip", lambda source, limit: make_clip(faces=False))
    fails([], "no face")
    monkeypatch.setattr(loss_map, "load_clip", lambda source, limit: make_clip(count=FIRST))
    fails([], "too few")
    with pytest.raises(UserError, match="no face"):
        make_case(make_clip(faces=False))
