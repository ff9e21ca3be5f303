"""The mean of the weights of many steps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from edgeopt.compiler.train.averaging import Average  # noqa: E402


def averaged(values: list[float]) -> Average:
    weight = torch.zeros(2)
    average = Average({"w": weight})
    for each in values:
        weight.fill_(each)
        average.take()
    return average


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50))
def test_a_mean_lies_among_what_it_is_of(values: list[float]) -> None:
    mean = averaged(values).values["w"].numpy()
    assert np.all(mean >= min(values) - 1e-3)
    assert np.all(mean <= max(values) + 1e-3)


def test_late_steps_count_most() -> None:
    """What a thousand steps wandered through at first is forgotten; the last quarter is most of the mean."""
    assert float(averaged([1000.0] * 500 + [1.0] * 500).values["w"][0]) == pytest.approx(1 + 999 / 2**4, rel=0.02)
    assert float(averaged([0.0] * 750 + [1.0] * 250).values["w"][0]) == pytest.approx(1 - 0.75**4, rel=0.02)


def test_what_is_in_place_of_the_weights_goes_again() -> None:
    """Whatever happens meanwhile."""
    average = averaged([0.0, 4.0])
    mean = average.values["w"].clone()
    seen = []

    def fails() -> None:
        with average.in_place():
            seen.append(average.parameters["w"].clone())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert torch.equal(seen[0], mean)
    assert average.parameters["w"].tolist() == [4.0, 4.0]


def test_it_goes_on_from_where_it_was() -> None:
    """As after a run that was killed."""
    values = [float(value) for value in range(20)]
    whole, first = averaged(values), averaged(values[:7])
    rest = Average({"w": torch.zeros(2)})
    rest.begin(first.steps, {name: value.numpy().copy() for name, value in first.values.items()})
    for each in values[7:]:
        rest.parameters["w"].fill_(each)
        rest.take()
    assert torch.equal(rest.values["w"], whole.values["w"])
