"""Arrays and shapes against a signature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgeopt.domain.model import TensorSpec
from edgeopt.errors import ConfigError, SamplesError
from edgeopt.samples.fit import fit, fit_dtype, fit_shape
from edgeopt.samples.shapes import agrees, check_shapes, expected_shape, words


def spec(
    dtype: str = "float32", shape: tuple[int | str | None, ...] | None = ("N", 3, 96, 96), name: str = "images"
) -> TensorSpec:
    return TensorSpec(name=name, dtype=dtype, shape=shape)


def fitted(array: Any, of: TensorSpec) -> Any:
    return fit(np.asarray(array), of, of.shape, "samples/x.npy")


def test_real_numbers_become_the_codes_of_a_quantised_input() -> None:
    """To the nearest; at the ends of the range the last."""
    coded = TensorSpec(name="x", dtype="int8", shape=(1, 5), scale=0.5, zero_point=10)
    found = fitted(np.asarray([[0.0, 1.0, 1.2, 100.0, -100.0]], np.float32), coded)
    assert found.dtype == np.int8
    np.testing.assert_array_equal(found, [[10, 12, 12, 127, -128]])
    codes = np.asarray([[1, 2, 3, 4, 5]], np.int8)
    np.testing.assert_array_equal(fitted(codes, coded), codes)


@pytest.mark.parametrize("batch", ["N", None, 1])
def test_a_missing_batch_axis_is_added(batch: str | int | None) -> None:
    """When that is all that is missing."""
    assert fitted(np.zeros((3, 8, 8), np.float32), spec(shape=(batch, 3, 8, 8))).shape == (1, 3, 8, 8)


def test_a_batch_that_is_there_stays() -> None:
    """Also a larger one, where the axis is open."""
    assert fitted(np.zeros((4, 3, 8, 8), np.float32), spec(shape=("N", 3, 8, 8))).shape == (4, 3, 8, 8)


@pytest.mark.parametrize(
    ("found", "takes", "sentence", "hint"),
    [
        (
            (3, 32, 32),
            ("N", 3, 96, 96),
            "samples/x.npy has shape (3, 32, 32), input 'images' takes (N, 3, 96, 96)",
            "exactly as the model is fed",
        ),
        (
            (96, 96, 3),
            ("N", 3, 96, 96),
            "samples/x.npy has shape (96, 96, 3), input 'images' takes (N, 3, 96, 96)",
            "transpose",
        ),
        (
            (4, 3, 8, 8),
            (1, 3, 8, 8),
            "samples/x.npy has shape (4, 3, 8, 8), input 'images' takes (1, 3, 8, 8)",
            "batch axis of 1",
        ),
        ((3, 8, 8), (2, 3, 8, 8), "samples/x.npy has shape (3, 8, 8), input 'images' takes (2, 3, 8, 8)", "exactly"),
        ((5,), (None, None, 2), "samples/x.npy has shape (5,), input 'images' takes (?, ?, 2)", "exactly"),
        ((1, 5), (), "samples/x.npy has shape (1, 5), input 'images' takes ()", "exactly"),
        ((5, 1), ("N",), "samples/x.npy has shape (5, 1), input 'images' takes (N,)", "exactly"),
    ],
)
def test_another_shape_is_a_sentence(found: tuple[int, ...], takes: tuple[Any, ...], sentence: str, hint: str) -> None:
    """With the likeliest reason as the hint."""
    with pytest.raises(SamplesError) as caught:
        fitted(np.zeros(found, np.float32), spec(shape=takes))
    assert caught.value.message == sentence
    assert caught.value.code == "samples-mismatch"
    assert hint in str(caught.value.hint)


def test_an_unknown_rank_takes_anything() -> None:
    """The runtime will say."""
    assert fit_shape(np.zeros((2, 2)), spec(shape=None), None, "x").shape == (2, 2)


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [
        (200, "uint8", "float32"),
        (0.5, "float64", "float32"),
        (0.5, "float32", "float16"),
        (0.5, "float16", "float32"),
        (float("nan"), "float64", "float32"),
        (float("inf"), "float32", "float16"),
        (-7, "int32", "int64"),
        (7, "int64", "int32"),
        (7, "int64", "uint8"),
        (7, "uint8", "int64"),
        (True, "bool", "float32"),
        (True, "bool", "int64"),
        (True, "bool", "uint8"),
        (16777216, "int64", "float32"),
        (3, "float32", "float32"),
    ],
)
def test_what_keeps_its_meaning_is_converted(value: Any, source: str, target: str) -> None:
    """Rounding within floats is no change of meaning."""
    converted = fitted(np.full(3, value, source), spec(target, ("N",)))
    assert converted.dtype == target
    np.testing.assert_array_equal(converted, np.full(3, value, target))


@pytest.mark.parametrize(
    ("value", "source", "target", "sentence"),
    [
        (
            1e300,
            "float64",
            "float32",
            "x is of type float64, input 'images' takes float32 and holds values that this cannot hold",
        ),
        (70000.0, "float32", "float16", "holds values"),
        (16777217, "int64", "float32", "holds values"),
        (300, "int64", "uint8", "holds values"),
        (-1, "int8", "uint8", "holds values"),
        (-1, "int64", "uint64", "holds values"),
        (2**64 - 1, "uint64", "int64", "holds values"),
        (2**64 - 1, "uint64", "float64", "holds values"),
        (2**63 - 1, "int64", "float64", "holds values"),
        (0.5, "float32", "int64", "x is of type float32, input 'images' takes int64"),
        (1, "int64", "bool", "takes bool"),
        (1 + 1j, "complex64", "float32", "is of type complex64"),
        ("a", "<U1", "float32", "is of type <U1"),
        (1.0, "float32", "str", "x is of type float32, input 'images' takes str"),
    ],
)
def test_what_would_change_its_meaning_is_refused(value: Any, source: str, target: str, sentence: str) -> None:
    """With both types named."""
    with pytest.raises(SamplesError) as caught:
        fit_dtype(np.full(2, value, source), spec(target), "x")
    assert sentence in caught.value.message
    assert caught.value.code == "samples-mismatch"
    assert caught.value.hint == f"Save the samples as {target}."


@pytest.mark.parametrize("dtype", ["bfloat16", "sequence(float32)", "float8e4m3fn"])
def test_an_input_that_no_file_can_hold_is_named(dtype: str) -> None:
    """numpy has no such type."""
    with pytest.raises(SamplesError, match="which a file of samples cannot hold"):
        fit_dtype(np.zeros(1), spec(dtype), "x")


def test_text_is_text() -> None:
    """As ONNX Runtime takes it."""
    array = np.array(["a", "bc"])
    assert fit_dtype(array, spec("str"), "x") is array


NUMBERS = [
    "float16",
    "float32",
    "float64",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "bool",
]


@given(st.sampled_from(NUMBERS).flatmap(lambda name: hnp.arrays(name, st.integers(0, 4))), st.sampled_from(NUMBERS))
@example(np.array([-(2**31)], np.int32), "float16")
def test_whole_numbers_are_never_changed(array: np.ndarray[Any, Any], target: str) -> None:
    """Whatever is accepted compares equal in Python's own numbers."""
    try:
        converted = fit_dtype(array, spec(target), "x")
    except SamplesError:
        return
    if array.dtype.kind != "f":
        assert [int(value) for value in converted.tolist()] == [int(value) for value in array.tolist()]


def test_given_shapes_must_fit_the_model() -> None:
    """The message names the input, what was given, and what it takes."""
    inputs = [spec(), spec(name="mask", shape=None)]
    check_shapes(inputs, {"images": (2, 3, 96, 96), "mask": (7,)})
    with pytest.raises(ConfigError, match=r'^shapes\."image": the model has no such input; its inputs: images, mask$'):
        check_shapes(inputs, {"image": (1,)})
    for wrong in ((1, 3, 96), (1, 4, 96, 96)):
        with pytest.raises(ConfigError, match=r"the model takes \(N, 3, 96, 96\)$"):
            check_shapes(inputs, {"images": wrong})


def test_a_given_shape_stands_over_the_declared_one() -> None:
    """Where there is one."""
    assert expected_shape(spec(), {"images": [2, 3, 96, 96]}) == (2, 3, 96, 96)
    assert expected_shape(spec(), {}) == ("N", 3, 96, 96)
    assert not agrees((1,), (1, 2))
    assert words(None) == "any shape"
