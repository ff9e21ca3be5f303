"""Samples as a record: digest, division, file."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.errors import SamplesError
from edgeopt.samples.record import (
    Samples,
    make_samples,
    read_npz,
    sample_digest,
    select,
    split,
    spread,
    stratified,
    take,
    write_npz,
)


def numbered(*values: int) -> Samples:
    return make_samples(["x"], [[np.full((1, 2), value, np.float32)] for value in values], source="test")


def values(samples: Samples) -> list[int]:
    return [int(row[0][0, 0]) for row in samples.arrays]


def test_the_digest_sees_names_types_shapes_and_bytes() -> None:
    """And nothing else: not the memory layout, not the source."""
    array = np.arange(6, dtype=np.int32).reshape(1, 2, 3)
    same = make_samples(["x"], [[array]], source="a")
    assert same.digest == make_samples(["x"], [[np.asfortranarray(array)]], source="b").digest
    others = (
        (["y"], [[array]]),
        (["x"], [[array.view(np.uint32)]]),
        (["x"], [[array.reshape(1, 3, 2)]]),
        (["x"], [[array + 1]]),
        (["x"], [[array], [array]]),
        (["x"], []),
    )
    assert (
        len({same.digest, *(make_samples(names, rows, source="a").digest for names, rows in others)}) == len(others) + 1
    )


def test_a_row_of_another_width_is_a_mistake_of_the_caller() -> None:
    """Never silently cut."""
    with pytest.raises(ValueError, match="2 arrays for 1 inputs"):
        make_samples(["x"], [[np.zeros(1), np.zeros(1)]], source="a")


def test_feeds_are_named() -> None:
    """As ONNX Runtime takes them."""
    samples = make_samples(["a", "b"], [[np.zeros(1), np.ones(2)]], source="test")
    assert len(samples) == 1
    assert {name: array.shape for name, array in samples.feeds()[0].items()} == {"a": (1,), "b": (2,)}


@given(st.lists(st.integers(0, 12), max_size=40), st.integers(0, 2**40), st.integers(-1, 50))
def test_a_division_is_disjoint_and_complete(contents: list[int], seed: int, calibration: int) -> None:
    """By content; the held-out part is never the smaller one, and the same on every call."""
    samples = numbered(*contents)
    first, second = split(samples, seed=seed, calibration=calibration)
    assert not set(values(first)) & set(values(second))
    assert sorted(values(first) + values(second)) == sorted(contents)
    assert len(first) <= min(max(0, calibration), len(contents) // 2)
    again = split(samples, seed=seed, calibration=calibration)
    assert (first.digest, second.digest) == (again[0].digest, again[1].digest)


def test_enough_distinct_samples_fill_the_calibration() -> None:
    """Exactly."""
    first, second = split(numbered(*range(100)), seed=0, calibration=30)
    assert (len(first), len(second)) == (30, 70)


def test_a_single_sample_is_held_out() -> None:
    """So that something can be said of agreement."""
    first, second = split(numbered(7, 7, 7), seed=0, calibration=10)
    assert (len(first), len(second)) == (0, 3)


def test_another_seed_divides_differently_and_order_does_not_matter() -> None:
    """The division follows the content."""
    there, back = numbered(*range(50)), numbered(*reversed(range(50)))
    chosen = set(values(split(there, seed=1, calibration=20)[0]))
    assert chosen == set(values(split(back, seed=1, calibration=20)[0]))
    assert chosen != set(values(split(there, seed=2, calibration=20)[0]))


def test_taking_spreads_over_all() -> None:
    """Folders are often sorted by class."""
    assert values(take(numbered(*range(10)), 5)) == [0, 2, 4, 6, 8]
    whole = numbered(1, 2)
    assert take(whole, 2) is whole


@given(st.integers(0, 200), st.integers(0, 250), st.integers(0, 99))
def test_chosen_indices_are_distinct_ascending_and_as_many_as_there_can_be(count: int, n: int, seed: int) -> None:
    """For both ways of choosing."""
    for chosen in (spread(count, n), stratified(count, n, seed)):
        assert len(chosen) == min(n, count)
        assert chosen == sorted(set(chosen))
        assert all(0 <= index < count for index in chosen)


def test_marks_stay_with_a_selection() -> None:
    """Synthetic samples do not become real by being divided."""
    samples = make_samples(["x"], [[np.zeros(1)], [np.ones(1)]], source="random", synthetic=True, notes=["made up"])
    part = select(samples, [1])
    assert (part.synthetic, part.notes, part.source) == (True, ("made up",), "random")


DTYPES = ["float32", "float16", "int64", "uint8", "bool", "<U3"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3)), min_size=2, max_size=2),
        max_size=4,
    )
)
def test_a_file_reads_back_equal(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[tuple[str, list[int]]]]
) -> None:
    """Every dtype and shape, also empty ones and text; and equal samples give equal files."""
    samples = make_samples(["a", "b"], [[np.ones(shape, dtype) for dtype, shape in row] for row in rows], source="test")
    folder = tmp_path_factory.mktemp("npz")
    write_npz(samples, folder / "1.npz")
    write_npz(samples, folder / "2.npz")
    assert read_npz(folder / "1.npz", ["a", "b"], "test").digest == samples.digest
    assert (folder / "1.npz").read_bytes() == (folder / "2.npz").read_bytes()
    assert sorted(path.name for path in folder.iterdir()) == ["1.npz", "2.npz"]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    """The old content stays when renaming fails."""
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_npz(numbered(1), tmp_path / "x.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def npy(array: Any, *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.asarray(array), allow_pickle=allow_pickle)
    return stream.getvalue()


def archive(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as stream:
        for name, content in members.items():
            stream.writestr(name, content)
    return path


HUGE = (
    b"\x93NUMPY\x01\x00v\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 1000), }".ljust(117)
    + b"\n"
)


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"x.npy": npy(1)}, "'x.npy' is not the name of a sample's array"),
        ({"s0.0": npy(1)}, "is not the name"),
        ({"s00.0.npy": npy(1), "s0.1.npy": npy(1)}, "is not the name"),
        ({"s0.0.npy": npy(1), "s0.1.npy": npy(1), "s1.0.npy": npy(1)}, "3 arrays do not make samples of 2 each"),
        ({"s0.0.npy": npy(1), "s1.0.npy": npy(1)}, "array s0.1 is missing"),
        (
            {"s0.0.npy": npy([None], allow_pickle=True), "s0.1.npy": npy(1)},
            "array s0.0 is damaged, or holds Python objects",
        ),
        ({"s0.0.npy": HUGE, "s0.1.npy": npy(1)}, "array s0.0 is damaged"),
        ({"s0.0.npy": npy(np.zeros(4))[:-1], "s0.1.npy": npy(1)}, "cannot be read|is damaged"),
        ({"s0.0.npy": b"no array", "s0.1.npy": npy(1)}, "cannot be read"),
        ({"s0.0.npy": b"\x93NUMPY\x03\x00", "s0.1.npy": npy(1)}, "version"),
        ({"s0.0.npy": b"", "s0.1.npy": npy(1)}, "cannot be read"),
    ],
)
def test_a_strange_file_is_refused_with_a_sentence(tmp_path: Path, members: dict[str, bytes], sentence: str) -> None:
    """Nothing is unpickled, and no header makes numpy allocate."""
    with pytest.raises(SamplesError, match=sentence) as caught:
        read_npz(archive(tmp_path / "x.npz", members), ["a", "b"], "test")
    assert caught.value.code == "samples-unreadable"


def test_a_newer_header_is_read(tmp_path: Path) -> None:
    """Version 2 of the format, for long headers."""
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.arange(3), version=(2, 0))
    found = read_npz(archive(tmp_path / "x.npz", {"s0.0.npy": stream.getvalue()}), ["a"], "test")
    assert found.arrays[0][0].tolist() == [0, 1, 2]


def test_a_file_is_bounded_before_it_is_read(tmp_path: Path) -> None:
    """By what its directory says of the sizes."""
    write_npz(numbered(1, 2, 3), tmp_path / "x.npz")
    with pytest.raises(SamplesError, match="more than 1,000,000 arrays or 100 bytes"):
        read_npz(tmp_path / "x.npz", ["x"], "test", max_bytes=100)


def test_damage_anywhere_is_a_sentence(tmp_path: Path) -> None:
    """A cut, and every byte turned."""
    path = archive(tmp_path / "x.npz", {"s0.0.npy": npy(np.arange(20, dtype=np.float32))})
    content = path.read_bytes()
    good = read_npz(path, ["x"], "test").digest
    damaged = [content[:cut] for cut in range(0, len(content), 7)]
    damaged += [content[:i] + bytes([content[i] ^ 0x55]) + content[i + 1 :] for i in range(len(content))]
    for version in damaged:
        path.write_bytes(version)
        try:
            assert read_npz(path, ["x"], "test").digest == good  # a byte that does not matter, such as a date
        except SamplesError:
            continue


def test_a_file_that_is_not_there_is_missing(tmp_path: Path) -> None:
    """Which is another thing than unreadable."""
    with pytest.raises(SamplesError, match="no such file") as caught:
        read_npz(tmp_path / "x.npz", ["x"], "test")
    assert caught.value.code == "samples-missing"


def test_no_names_no_samples(tmp_path: Path) -> None:
    """A caller without outputs learns it from an error, not from a division by zero."""
    write_npz(numbered(1), tmp_path / "x.npz")
    with pytest.raises(SamplesError, match="do not make samples of 0 each"):
        read_npz(tmp_path / "x.npz", [], "test")


def test_equal_content_has_one_digest() -> None:
    """Duplicates are found by it."""
    assert sample_digest([np.zeros(2)]) == sample_digest([np.zeros(2)]) != sample_digest([np.zeros((2, 1))])
