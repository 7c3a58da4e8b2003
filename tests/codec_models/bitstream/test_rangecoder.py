from __future__ import annotations

import numpy as np
import pytest

from codec_models.bitstream.errors import BitstreamError
from codec_models.bitstream.rangecoder import TOTAL, RangeDecoder, RangeEncoder, SymbolTable

pytestmark = pytest.mark.unit


def skewed(n: int, seed: int) -> list[int]:
    rng = np.random.default_rng(seed)
    share = rng.dirichlet(np.full(n, 0.1)) * (TOTAL - n)
    f = np.floor(share).astype(int) + 1
    f[0] += TOTAL - f.sum()
    return f.tolist()


def test_symbols_come_back_and_cost_what_the_model_says() -> None:
    rng = np.random.default_rng(1)
    tables = [SymbolTable(skewed(2 * r + 3, r)) for r in (1, 7, 15)]
    frequencies = [skewed(2 * r + 3, r) for r in (1, 7, 15)]
    for count in (0, 1, 5, 400):
        plan, ideal = [], 0.0
        for _ in range(count):
            t = int(rng.integers(3))
            size = len(frequencies[t])
            inner = np.array(frequencies[t][1:-1])
            index = 1 + int(rng.choice(size - 2, p=inner / inner.sum()))
            plan.append((t, index - size // 2))
            ideal -= np.log2(frequencies[t][index] / TOTAL)
        encoder = RangeEncoder()
        for t, value in plan:
            tables[t].encode(value, encoder)
        data = encoder.finish()
        assert len(data) * 8 <= ideal * 1.003 + 10
        decoder = RangeDecoder(data)
        assert [tables[t].decode(decoder) for t, _ in plan] == [v for _, v in plan]
        decoder.finish()


def test_escapes_bits_and_uniform_values() -> None:
    table = SymbolTable(skewed(17, 3))
    values = [-4000, -8, -7, 0, 7, 8, 9, 500, 4000]
    encoder = RangeEncoder()
    for v in values:
        table.encode(v, encoder)
        encoder.encode_bit(v & 1, 300)
        encoder.encode_uniform(abs(v), 12)
    decoder = RangeDecoder(encoder.finish())
    for v in values:
        assert (table.decode(decoder), decoder.decode_bit(300), decoder.decode_uniform(12)) == (v, v & 1, abs(v))
    decoder.finish()


def test_left_over_bytes_are_refused() -> None:
    encoder = RangeEncoder()
    encoder.encode_uniform(5, 4)
    data = encoder.finish()
    for tail in (b"\1" * 8, b"\0"):
        decoder = RangeDecoder(data + tail)
        assert decoder.decode_uniform(4) == 5
        with pytest.raises(BitstreamError):
            decoder.finish()


def test_a_carry_runs_through_many_bytes() -> None:
    encoder = RangeEncoder()
    for _ in range(60):
        encoder.encode(TOTAL - 1, 1)
    encoder.encode(0, 1)
    decoder = RangeDecoder(encoder.finish())
    cumulative = [0, TOTAL - 1, TOTAL]
    assert [decoder.decode(cumulative) for _ in range(60)] == [1] * 60


def test_golomb_of_garbage_ends() -> None:
    encoder = RangeEncoder()
    for _ in range(40):
        encoder.encode_uniform(1, 1)
    with pytest.raises(BitstreamError):
        RangeDecoder(encoder.finish()).decode_golomb()
