"""A twin's operators against the cases that ONNX publishes for each of them."""

from __future__ import annotations

import warnings
from collections import Counter
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeopt.compiler.refuse import Refused  # noqa: E402
from edgeopt.compiler.train.operators import OPERATORS  # noqa: E402
from edgeopt.compiler.train.twin import Twin  # noqa: E402

DIFFER = {
    "test_onehot_out_of_range_indices": "torch has no such class, and no network asks for one",
    "test_resize_downsample_scales_linear_align_corners": "ONNX Runtime rounds the size first, as we do",
    "test_resize_downsample_scales_cubic_align_corners": "the same",
    "test_top_k_same_values": "which of several equal values comes first is open",
    "test_top_k_same_values_largest": "the same",
    "test_top_k_same_values_2d": "the same",
}


def cases() -> list[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        found = {case.name: case for case in collect_testcases(None)}
    return [c for c in found.values() if "_expanded" not in c.name and c.model.graph.node[0].op_type in OPERATORS]


def is_numeric(arrays: Any) -> bool:
    return all(
        (isinstance(array, np.ndarray) and array.dtype.kind in "fib") or str(getattr(array, "dtype", "")) == "uint8"
        for array in arrays
    )


def test_operators_answer_as_onnx_says() -> None:
    """Every published case is computed right or refused by name; none is answered wrongly."""
    counts: Counter[str] = Counter()
    wrong = []
    for case in cases():
        for inputs, outputs in case.data_sets:
            if not is_numeric([*inputs, *outputs]) or case.name in DIFFER:
                continue
            fed = dict(zip((v.name for v in case.model.graph.input), inputs, strict=False))
            try:
                twin = Twin(case.model)
                names = [v.name for v in case.model.graph.output if v.name not in ("Mean", "InvStdDev")]
                with torch.no_grad():
                    made = twin({name: torch.from_numpy(np.array(a)) for name, a in fed.items()}, names)
                for name, expected in zip(names, outputs, strict=False):
                    np.testing.assert_allclose(made[name].float().numpy(), expected.astype(np.float32), 2e-3, 1e-4)
                    assert made[name].shape == expected.shape
                counts["right"] += 1
            except Refused:
                counts["refused"] += 1
            except AssertionError as error:
                wrong.append(f"{case.name}: {str(error).strip().splitlines()[0]}")
    assert wrong == []
    assert counts["right"] > 500
    assert counts["refused"] < 0.15 * counts["right"]


def test_an_unknown_operator_is_named_with_its_node() -> None:
    """A user can find the place in the graph."""
    from onnx import helper

    from tests.models import make, value

    model = make([helper.make_node("Det", ["x"], ["y"], name="middle/det")], [value("x", [1, 2, 2])], [value("y", [1])])

    with pytest.raises(Refused, match=r"the operator Det \(middle/det\) cannot be trained"):
        Twin(model)
