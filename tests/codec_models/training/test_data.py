from __future__ import annotations

import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch: pip install -e '.[training]'")

from tiny_clips import DOT, FRAMES

from codec_models.bitstream.face import FaceDecoder, FaceEncoder, area_8x8
from codec_models.bitstream.hints import DEAD_ZONES, STEPS
from codec_models.hint_measure import HEAD, measured
from codec_models.landmarks import hints_of
from codec_models.training.augment import revoiced
from codec_models.training.corpus import Corpus
from codec_models.training.data import WindowConfig, WindowSampler
from codec_models.training.face_points import AT, MIRROR

pytestmark = pytest.mark.unit

CLEAN = WindowConfig(slow=0, lost=0, poor_still=0, coded_still=0, lean=0, hints=1, voice=1, side_light=0)


def brightest(picture: torch.Tensor, points: torch.Tensor) -> float:
    """Distance from landmark DOT (or its mirror image) to the white dot, in pixels; picture (3, R, R)."""
    grey = torch.nn.functional.avg_pool2d(picture.mean(0)[None], 3, 1, 1)[0]
    side = grey.shape[-1]
    y, x = divmod(int(grey.argmax()), side)
    place = (points + 1) / 2 * side
    return float(min(torch.hypot(place[k, 0] - x - 0.5, place[k, 1] - y - 0.5) for k in (DOT, int(MIRROR[DOT]))))


def test_shapes_and_ranges(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus, seed=1)
    for side in (64, 128, 256):
        w = sampler.batch(6, side)
        s = w.stills.shape[1]
        assert 1 <= s <= 3 and w.low.shape == (6, 5, 3, 8, 8) and w.stills.shape == (6, s, 3, side, side)
        assert w.still_low.shape == (6, s, 3, 8, 8) and w.still_points.shape == (6, s, 110, 2)
        assert w.mel.shape == (6, 80, 16) and w.hints.shape == (6, 12) and w.has.shape == (6, 2)
        assert w.picture.shape == (6, 3, side, side) and w.points.shape == (6, 110, 2)
        for name, tensor in w.tensors().items():
            assert tensor.dtype == torch.float32 and torch.isfinite(tensor).all(), name
            assert tensor.abs().max() <= (1 if name not in ("points", "still_points", "hints") else 2.5), name


def test_landmarks_stay_on_the_picture(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus, CLEAN, seed=2)
    apart = []
    for _ in range(4):
        w = sampler.batch(8, 256)
        apart += [brightest(w.picture[k], w.points[k]) for k in range(8)]
        apart += [brightest(w.stills[k, 0], w.still_points[k, 0]) for k in range(8)]
    assert np.median(apart) < 2 and np.mean(np.array(apart) < 5) > 0.9


def test_a_mirrored_face_swaps_its_sides(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus, dataclasses.replace(CLEAN, mirror=1.0), seed=2)
    w = sampler.batch(4, 64)
    assert (w.points[:, [10, 40]].isfinite()).all()
    assert (w.points[:, AT[33], 0] < w.points[:, AT[263], 0]).all()  # the eye on the left of the picture stays there


def test_the_plain_window_is_what_the_call_decodes(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus)
    tick = 20
    w = sampler.render(sampler.plain(0, [tick], [0]), 256)
    pictures = ((corpus.pictures(torch.arange(FRAMES), 256).permute(0, 2, 3, 1) + 1) * 127.5).round().byte().numpy()
    encoder, decoder = FaceEncoder(), FaceDecoder()
    decoded = []
    for k in range(tick - 7, tick + 1):
        hints = hints_of(((corpus.points[k] + 1) / 2).numpy())
        face = decoder.decode(encoder.encode(area_8x8(pictures[k]), hints))
        decoded.append(face)
    assert face.hints is not None and face.picture is not None
    apart = np.abs(w.hints[0].numpy() - np.array(dataclasses.astuple(face.hints)))
    assert (apart < 1.01 * np.array(STEPS)).all()
    real = np.stack([f.picture for f in decoded[-5:] if f.picture is not None]).astype(float)
    ours = ((w.low[0].permute(0, 2, 3, 1) + 1) * 127.5).numpy()
    assert np.abs(ours - real).mean() < 1.8  # see test_lattice.py
    assert np.allclose(((w.still_low[0, 0].permute(1, 2, 0) + 1) * 127.5).numpy(), area_8x8(pictures[0]), atol=1.01)


def test_hints_are_those_of_the_changed_picture(corpus: Corpus) -> None:
    w = WindowSampler(corpus, CLEAN, seed=2).batch(64, 64)
    # at rest a value stays within half a step and the dead zone; some faces are turned, most are smaller or larger
    most = torch.tensor(STEPS) * (0.51 + torch.tensor(DEAD_ZONES))
    apart = (w.hints - measured(w.points)).abs()
    assert (apart <= most).all(), (apart / most).amax(0)
    assert (w.hints[:, HEAD].amax(0) - w.hints[:, HEAD].amin(0) > 5 * torch.tensor(STEPS)[HEAD]).all()


def test_a_shifted_window_has_shifted_hints(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus, CLEAN, seed=2)
    draw = sampler.draw(4)
    assert draw.place is not None and draw.still_place is not None
    draw.place[:] = torch.eye(3)
    before = sampler.render(draw, 64)
    # the picture is seen from 1/8 further left and up, so the head goes right and down, by eight steps of its hints
    draw.place[:, :2, 2] = -0.125
    after = sampler.render(draw, 64)
    assert torch.allclose(after.points, before.points + 0.125, atol=1e-6)
    assert torch.allclose(after.hints[:, 6:8], before.hints[:, 6:8] + 0.0625, atol=1e-6)
    others = [k for k in range(12) if k not in (6, 7)]
    assert (after.hints[:, others] == before.hints[:, others]).all()
    assert (after.still_points == before.still_points).all()


def test_without_pictures_a_window_is_the_same(corpus: Corpus, small_corpus: Corpus) -> None:
    config = dataclasses.replace(CLEAN, slow=0.3, lost=0.3, lean=0.3, hints=0.7, voice=0.7, side_light=0.3)
    sampler, smaller = WindowSampler(corpus, config, seed=4), WindowSampler(small_corpus, config, seed=4)
    draw = sampler.draw(64)
    whole, same, small = sampler.render(draw, 64), sampler.render_small(draw), smaller.render_small(smaller.draw(64))
    assert same.stills.shape == whole.stills.shape and small.stills.shape[-2:] == (32, 32)
    assert not len(same.picture) and not len(small.picture)
    for name, tensor in whole.tensors().items():
        if name not in ("picture", "stills"):
            assert torch.equal(getattr(same, name), tensor), name
            if name not in ("low", "still_low"):
                assert torch.equal(getattr(small, name), tensor), name
    # sampled from frames of 32x32 instead of 64x64; what is coded may then fall to the next step
    for name, share in (("still_low", 0.97), ("low", 0.8)):
        apart = (getattr(small, name) - getattr(whole, name)).abs() * 127.5
        assert apart.mean() < 1 and (apart < 2.01).float().mean() > share, name
    plain = [s.render_small(s.plain(1, [12, 30], [0, 7], slow=True)) for s in (sampler, smaller)]
    assert torch.equal(plain[0].hints, plain[1].hints) and (plain[0].low - plain[1].low).abs().mean() < 1 / 127.5


def test_voices_are_changed_and_silence_stays_where_it_is_missing(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus, dataclasses.replace(CLEAN, lost=1.0), seed=6)
    draw = sampler.draw(32)
    assert draw.voice is not None
    changed = sampler.render_small(draw).mel
    mine, draw.voice = draw.voice, None
    own = sampler.render_small(draw).mel
    voiced = torch.tensor([corpus.clips[k].voiced for k in draw.clip.tolist()])
    missing = (own == -1).all(1)  # bytes of silence are -1 too, and those become the floor of the room
    assert (changed[~voiced] == 0).all() and voiced.any() and missing[voiced].any()
    expected = revoiced(own, mine)[voiced]
    same = (changed[voiced] == expected).all(1)
    assert same.float().mean() > 0.3 and same[~missing[voiced]].all()
    assert ((changed[voiced] == -1).all(1) | same).all()


def test_five_frames_a_second_hold_or_mix(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus)
    draw = sampler.plain(0, [22, 23, 24], [0], slow=True)
    held = sampler.render(draw, 64).low
    # pictures at ticks 15 and 20: the window of tick 22 shows 15, 15, 20, 20, 20
    assert (held[0, 0] == held[0, 1]).all() and (held[0, 2] == held[0, 4]).all() and (held[0, 1] != held[0, 2]).any()
    assert (held[0, 4] == held[2, 4]).all()
    draw.interpolated[:] = True
    mixed = sampler.render(draw, 64).low
    steps = mixed[2, 1:] - mixed[2, :-1]  # ticks 20 to 24 lie between two pictures
    assert torch.allclose(steps, steps[:1].expand_as(steps), atol=1e-5) and steps.abs().max() > 0


def test_lost_ticks_are_held_over(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus)
    draw = sampler.plain(0, [30], [0])
    draw.quality[:] = 0  # the run-in begins elsewhere, and a coarse step would show that
    whole = sampler.render(draw, 64)
    draw.held_from[:], draw.held_to[:] = 2, 9
    held = sampler.render(draw, 64)
    assert (held.low[0, :2] - whole.low[0, :2]).abs().max() < 2.5 / 127.5
    assert (held.low[0, 2:] == held.low[0, 1]).all() and (held.low[0, 4] != whole.low[0, 4]).any()
    assert (held.mel[0, :, 4:] == -1).all() and (held.mel[0, :, :4] == whole.mel[0, :, :4]).all()


def test_layers_are_dropped_and_say_so(corpus: Corpus) -> None:
    w = WindowSampler(corpus, seed=5).batch(64, 64)
    hints, voice = w.has[:, 0] > 0, w.has[:, 1] > 0
    assert 0 < hints.float().mean() < 1 and 0 < voice.float().mean() < 1
    assert (w.hints[~hints] == 0).all() and (w.hints[hints] != 0).any()
    assert (w.mel[~voice] == 0).all() and (w.mel[voice] != 0).any()
    assert 0 < w.still_found.mean() < 1
    bare = w.bare(voice=True)
    assert (bare.hints == 0).all() and (bare.has[:, 1] == w.has[:, 1]).all() and (bare.mel == w.mel).all()


def test_poor_stills_do_not_change_the_truth(corpus: Corpus) -> None:
    sampler = WindowSampler(corpus, dataclasses.replace(CLEAN, other_light=0), seed=3)
    draw = sampler.draw(4)
    draw.stills[:] = draw.tick[:, None]
    clean = sampler.render(draw, 128)
    assert (clean.stills[:, 0] - clean.picture).abs().max() < 1e-5
    draw.poor[:] = True
    poor = sampler.render(draw, 128)
    assert (poor.picture == clean.picture).all()
    assert (poor.stills - clean.stills).abs().mean() > 0.003
    assert (poor.still_low - clean.still_low).abs().mean() < 0.05


def test_a_seed_repeats_and_a_state_resumes(corpus: Corpus) -> None:
    one, two = WindowSampler(corpus, seed=7), WindowSampler(corpus, seed=7)
    first, again = one.batch(5, 64), two.batch(5, 64)
    assert all((a == b).all() for a, b in zip(first.tensors().values(), again.tensors().values(), strict=True))
    state = one.dice.state()
    expected = one.batch(5, 128)
    other = WindowSampler(corpus, seed=8)
    other.dice.load_state(state)
    resumed = other.batch(5, 128)
    assert all((a == b).all() for a, b in zip(expected.tensors().values(), resumed.tensors().values(), strict=True))
    assert (WindowSampler(corpus, seed=8).batch(5, 64).low != first.low).any()


def test_telling_ticks_differ_more_from_the_still(corpus: Corpus) -> None:
    openings = measured(corpus.points)[:, [0, 2, 3]]

    def difference(telling: float) -> float:
        sampler = WindowSampler(corpus, WindowConfig(telling=telling), 5)
        draw = sampler.draw(200)
        start = torch.tensor([c.start for c in corpus.clips])[draw.clip]
        return float((openings[start + draw.tick] - openings[start + draw.stills[:, 0]]).abs().sum(1).mean())

    assert difference(1.0) > 1.2 * difference(0.0)
