from __future__ import annotations

import numpy as np
import pytest

from codec_models.still_choice import ChoiceConfig, Look, apart, choose

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
