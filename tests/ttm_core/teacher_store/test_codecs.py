"""Codecs: rounding errors of stored logits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ttm_core.teacher_store.codecs import Encoding, build_codec

ROWS = arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(2, 40)), elements=st.floats(-6e4, 6e4, width=32))


@given(ROWS)
def test_int8_is_within_half_a_level(rows):
    codec = build_codec("int8", rows.shape[1])
    # Between logits closer than that, a level is the smallest normal number.
    step = np.maximum((rows.max(1).astype(np.float64) - rows.min(1)) / 254, np.finfo(np.float32).tiny)
    error = np.abs(codec.decode(codec.encode(rows)).astype(np.float64) - rows)
    assert (error <= step[:, None] * 0.5 + np.abs(rows).max() * 1e-6).all()


@given(ROWS)
def test_float16_is_within_half_a_spacing(rows):
    codec = build_codec("float16", rows.shape[1])
    back = codec.decode(codec.encode(rows))
    assert (np.abs(back - rows) <= np.abs(np.spacing(back.astype(np.float16)).astype(np.float32)) / 2).all()


@pytest.mark.parametrize("encoding", ["float16", "int8"])
def test_extreme_values_stay_finite(encoding: Encoding):
    rows = np.array([[np.inf, -np.inf, 0], [1e30, -1e30, 1], [5, 5, 5]], np.float32)
    back = build_codec(encoding, 3).decode(build_codec(encoding, 3).encode(rows))
    assert np.isfinite(back).all()
    assert (back[2] == 5).all()


def test_int8_row_has_half_the_size():
    assert build_codec("float16", 1000).dtype.itemsize == 2000
    assert build_codec("int8", 1000).dtype.itemsize == 1008
