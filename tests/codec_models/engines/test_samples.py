from __future__ import annotations

import numpy as np
import pytest

from codec_models.bitstream.hints import LIMITS
from codec_models.engines.engine import NETWORKS
from codec_models.engines.samples import face_points, host_inputs
from codec_models.landmarks import POINTS, hints_of

pytestmark = pytest.mark.unit


def test_the_drawn_face_is_one() -> None:
    points = face_points()
    at = {mesh: points[k] for k, mesh in enumerate(POINTS)}
    assert points.shape == (110, 2) and points.dtype == np.float32
    # eyes above the nose's tip above the mouth, each where it belongs
    assert at[33][0] < at[133][0] < at[362][0] < at[263][0] and at[159 if 159 in at else 160][1] < at[144][1]
    assert at[33][1] < at[1][1] < at[13][1] < at[14][1] < at[152][1] and at[61][0] < at[13][0] < at[291][0]
    hints = hints_of(points)
    values = [getattr(hints, name) for name in hints.__dataclass_fields__]
    assert all(np.isfinite(values)) and len(values) == len(LIMITS)
    assert 0.05 < hints.mouth_open < 0.4 and 0.03 < hints.eye_left < 0.3 and abs(hints.head_roll) < 0.01


def test_inputs_are_the_same_again_and_of_the_signature() -> None:
    first, again, pair = host_inputs(), host_inputs(), host_inputs(2)
    made = {name for signature in NETWORKS.values() for name in signature.outputs}
    for network, signature in NETWORKS.items():
        for name, value in first[network].items():
            assert value.dtype == np.float32 and np.array_equal(value, again[network][name])
            assert value.shape == (1, *signature.inputs[name]) and pair[network][name].shape[0] == 2
        # what is missing another network, or the host for one before it, gives
        known = made | {name for inputs in first.values() for name in inputs}
        assert set(signature.inputs) <= known
