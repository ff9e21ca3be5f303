"""Arrays from bytes that nobody labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.errors import LinkError
from edgeopt.measure.phone.answers import compared, read_rows, signature_of, split_answers, write_rows


def network(*outputs: dict[str, object]):
    return signature_of([{"name": "x", "dtype": "float32", "shape": ("batch", 3)}], outputs)


ONE = {"name": "y", "dtype": "float32", "shape": ("batch", 2)}
FIXED = {"name": "z", "dtype": "int64", "shape": (1, 2)}
OPEN = {"name": "w", "dtype": "float32", "shape": (1, "count")}
INPUTS = (np.zeros((2, 3), np.float32),)


def test_open_axes_are_those_of_the_inputs() -> None:
    data = np.arange(4, dtype=np.float32).tobytes() + np.array([[7, 8]], np.int64).tobytes()
    row, problem = split_answers(data, network(ONE, FIXED), INPUTS)
    assert problem is None
    assert row is not None
    assert row[0].tolist() == [[0, 1], [2, 3]]
    assert row[1].tolist() == [[7, 8]]


def test_one_axis_that_nothing_tells_is_what_the_size_says() -> None:
    data = np.array([[7, 8]], np.int64).tobytes() + np.arange(5, dtype=np.float32).tobytes()
    row, problem = split_answers(data, network(FIXED, OPEN), INPUTS)
    assert problem is None
    assert row is not None
    assert row[1].shape == (1, 5)


@pytest.mark.parametrize(
    ("outputs", "size", "words"),
    [
        ((OPEN, OPEN), 8, "several outputs are open"),
        (({"name": "y", "dtype": "float32", "shape": None},), 8, "several outputs are open"),
        ((ONE,), 15, "15 bytes of answers"),
        ((ONE,), 20, "20 bytes of answers"),
        ((ONE, FIXED), 16, "16 bytes of answers"),
    ],
)
def test_what_cannot_be_told_apart_is_refused(outputs: tuple[dict[str, object], ...], size: int, words: str) -> None:
    row, problem = split_answers(bytes(size), network(*outputs), INPUTS)
    assert row is None
    assert words in str(problem)


@settings(deadline=None)
@given(st.binary(max_size=64), st.lists(st.sampled_from([ONE, FIXED, OPEN]), min_size=1, max_size=3))
def test_whatever_bytes_come_they_are_cut_or_refused(data: bytes, outputs: list[dict[str, object]]) -> None:
    row, problem = split_answers(data, network(*outputs), INPUTS)
    assert (row is None) != (problem is None)
    if row is not None:
        assert sum(array.nbytes for array in row) == len(data)


def test_samples_come_back_as_they_went(tmp_path: Path) -> None:
    rows = [(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([n])) for n in range(12)]
    write_rows(rows, tmp_path / "rows.npz")
    back = read_rows(tmp_path / "rows.npz")
    assert [int(row[1][0]) for row in back] == list(range(12))


def test_a_damaged_file_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(LinkError, match="damaged"):
        read_rows(tmp_path / "rows.npz")


def test_answers_are_compared_by_both_tolerances() -> None:
    wanted = (np.array([1.0, 100.0], np.float32),)
    assert compared((np.array([1.0005, 100.05], np.float32),), wanted, rtol=1e-3, atol=0.0)[1] is None
    assert "differs by" in str(compared((np.array([1.01, 100.0], np.float32),), wanted, rtol=1e-3, atol=0.0)[1])
    assert "another form" in str(compared((np.array([[1.0, 100.0]], np.float32),), wanted, rtol=1, atol=1)[1])
    assert "number of outputs" in str(compared((), wanted, rtol=1, atol=1)[1])
    assert compared((np.array([np.nan, 1], np.float32),), (np.array([0, 1], np.float32),), rtol=1, atol=1)[1]
