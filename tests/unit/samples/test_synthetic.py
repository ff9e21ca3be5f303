"""Random inputs, for timing only."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeopt.domain.model import ModelInfo, TensorSpec
from edgeopt.errors import ConfigError, SamplesError
from edgeopt.samples.synthetic import synthetic_samples
from tests.builders import make_model


def model(**inputs: tuple[Any, ...]) -> ModelInfo:
    return make_model(
        inputs=tuple(TensorSpec(name=name, dtype=form[0], shape=tuple(form[1:])) for name, form in inputs.items())
    )


def test_they_have_the_models_form_and_are_marked() -> None:
    """Equal for equal seeds."""
    form = model(
        x=("float32", 1, 3, 8, 8),
        flag=("bool",),
        ids=("int64", 1, 5),
        text=("str", 2),
        half=("float16", 4),
        byte=("uint8", 2),
    )
    samples = synthetic_samples(form, 3, seed=5)
    assert samples.synthetic
    assert samples.notes == ()
    assert [array.dtype.kind + str(array.shape) for array in samples.arrays[0]] == [
        "f(1, 3, 8, 8)",
        "b()",
        "i(1, 5)",
        "U(2,)",
        "f(4,)",
        "u(2,)",
    ]
    assert set(np.unique(samples.arrays[0][2])) <= {0, 1}
    assert samples.digest == synthetic_samples(form, 3, seed=5).digest != synthetic_samples(form, 3, seed=6).digest


def test_open_axes_get_small_sizes_and_that_is_said() -> None:
    """Axes of one name get one size."""
    form = model(
        x=("float32", None, 3, "h", "w"),
        ids=("int64", "batch_size", "T"),
        mask=("int64", "batch_size", "T"),
        lengths=("int64", "T"),
    )
    samples = synthetic_samples(form, 1, seed=0)
    assert [array.shape for array in samples.arrays[0]] == [(1, 3, 64, 64), (1, 16), (1, 16), (16,)]
    assert (
        samples.notes[0]
        == "input 'x': shape (1, 3, 64, 64) was chosen for timing, the model leaves it open; set [shapes] to choose another"
    )


def test_a_batch_of_one_needs_no_note() -> None:
    """It is what people expect."""
    assert synthetic_samples(model(x=("float32", "N", 4)), 1, seed=0).notes == ()


def test_given_shapes_count_for_all_axes_of_that_name() -> None:
    """And need no note where they are given."""
    form = model(ids=("int64", "N", "T"), mask=("int64", "N", "T"))
    samples = synthetic_samples(form, 1, 0, {"ids": (2, 7)})
    assert [array.shape for array in samples.arrays[0]] == [(2, 7), (2, 7)]
    assert len(samples.notes) == 1
    with pytest.raises(ConfigError):
        synthetic_samples(form, 1, 0, {"x": (1,)})


def test_codes_of_a_quantised_input_go_over_all_of_their_range() -> None:
    coded = TensorSpec(name="x", dtype="int8", shape=(1, 4000), scale=0.1, zero_point=0)
    found = synthetic_samples(make_model(inputs=(coded,)), 1, 0).arrays[0][0]
    assert found.dtype == "int8"
    assert (found.min(), found.max()) == (-128, 127)


@pytest.mark.parametrize(
    ("inputs", "sentence"),
    [
        ((TensorSpec(name="x", dtype="float32", shape=None),), "input 'x' has no known rank"),
        ((TensorSpec(name="x", dtype="sequence(float32)", shape=(1,)),), "is of type sequence"),
        ((TensorSpec(name="x", dtype="bfloat16", shape=(1,)),), "is of type bfloat16"),
        ((TensorSpec(name="x", dtype="float32", shape=(1, 2**31 - 1, 2**31 - 1)),), "random samples would take"),
    ],
)
def test_what_cannot_be_made_is_a_sentence(inputs: tuple[TensorSpec, ...], sentence: str) -> None:
    """Bounded in memory."""
    with pytest.raises(SamplesError, match=sentence) as caught:
        synthetic_samples(make_model(inputs=inputs), 2, 0)
    assert caught.value.code == "samples-mismatch"
