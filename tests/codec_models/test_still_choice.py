from __future__ import annotations

import numpy as np
import pytest

from codec_models.still_choice import ChoiceConfig, Fade, Look, apart, choose

pytestmark = pytest.mark.unit


def look(level: float, turn: tuple[float, float] | None = None) -> Look:
    return Look(np.full((3, 8, 8), level, np.float32), turn)


def test_distance_adds_turns_only_where_both_are_known() -> None:
    config = ChoiceConfig(turn=2.0)
    assert apart(look(0.5, (0.1, 0.2)), look(0.0, (0.1, -0.1)), config) == pytest.approx(0.25 + 2 * 0.09)
    assert apart(look(0.5), look(0.0, (0.1, -0.1)), config) == pytest.approx(0.25)
    assert apart(look(0.5, (0.1, 0.2)), look(0.0), config) == pytest.approx(0.25)


def test_the_nearest_at_first_and_one_in_use_until_another_is_clearly_nearer() -> None:
    stills, config = [look(0.0), look(1.0), look(-3.0)], ChoiceConfig(clearly=0.5)
    assert choose(stills, [], look(0.4), 1, config) == [0]
    # squares: 0.30 against 0.20 for the other one, then 0.49 against 0.09
    assert choose(stills, [stills[1]], look(0.45), 1, config) == [1]
    assert choose(stills, [stills[1]], look(0.3), 1, config) == [0]


def test_several_give_up_the_farthest_only() -> None:
    stills, config = [look(0.0), look(1.0), look(0.6), look(5.0)], ChoiceConfig(clearly=0.5)
    assert choose(stills, [], look(0.1), 2, config) == [0, 2]
    assert choose(stills, [stills[0], stills[3]], look(0.1), 2, config) == [0, 2]
    assert choose(stills, [stills[0], stills[1]], look(0.1), 2, config) == [0, 2]
    assert choose(stills, [stills[0], stills[1]], look(0.3), 2, config) == [0, 2]
    assert choose(stills, [stills[1], stills[2]], look(0.7), 2, config) == [2, 1]


def test_more_are_taken_as_soon_as_they_are_there() -> None:
    a, b = look(0.0), look(1.0)
    assert choose([a], [], look(0.9), 3, ChoiceConfig()) == [0]
    assert choose([a, b], [a], look(0.9), 3, ChoiceConfig()) == [1, 0]


def test_a_still_that_is_kept_no_more_leaves_the_choice_free() -> None:
    gone, a, b = look(0.5), look(0.0), look(1.0)
    assert choose([a, b], [gone], look(0.6), 1, ChoiceConfig()) == [1]


def test_a_look_of_a_still_measures_its_turn() -> None:
    rng = np.random.default_rng(0)
    low = np.zeros((3, 8, 8), np.float32)
    assert Look.of_still(low, None).turn is None
    turn = Look.of_still(low, rng.uniform(0.3, 0.7, (110, 2)).astype(np.float32)).turn
    assert turn is not None and all(np.isfinite(turn))


def flat(level: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.full((4, 4, 3), level, np.uint8)


LOW = np.zeros((3, 8, 8), np.float32)


def test_after_a_change_what_was_shown_fades_out() -> None:
    fade = Fade(3)
    assert (fade.mixed(flat(200), LOW) == 200).all()
    fade.begin()
    # three quarters, a half and a quarter of what was shown a tick ago
    assert [int(fade.mixed(flat(100), LOW)[0, 0, 0]) for _ in range(5)] == [175, 138, 110, 100, 100]


def test_nothing_fades_without_a_picture_before_or_across_a_cut() -> None:
    fade = Fade(3)
    fade.begin()
    assert (fade.mixed(flat(100), LOW) == 100).all()
    assert (fade.mixed(flat(50), LOW) == 50).all()
    fade.begin()
    assert (fade.mixed(flat(200), LOW + 0.5) == 200).all()
    fade.begin()
    fade.reset()
    assert (fade.mixed(flat(10), LOW + 0.5) == 10).all()


def test_what_was_shown_is_kept_apart_from_what_is_given_out() -> None:
    fade, given = Fade(1), flat(200)
    fade.mixed(given, LOW)
    given[:] = 0
    fade.begin()
    assert (fade.mixed(flat(100), LOW) == 150).all()


def test_no_ticks_no_fading() -> None:
    fade = Fade(0)
    fade.mixed(flat(200), LOW)
    fade.begin()
    assert (fade.mixed(flat(100), LOW) == 100).all()
