"""Drawn pictures are moved until batch norms see in them what they saw in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

torch = pytest.importorskip("torch")

from edgeopt.compiler.refuse import Refused  # noqa: E402
from edgeopt.compiler.train.statistics import fit_pictures_task, norm_statistics, tidy  # noqa: E402
from tests.models import make, value, weights  # noqa: E402

SIZE = 16


def normed_net(*, batch: int | str = 1, norms: int = 2, pooled: bool = False) -> ModelProto:
    """Convolutions with batch norms behind them, whose shifts and scales are those of bright, smooth pictures: [batch, 3, 16, 16] -> [batch, 4]."""
    nodes, constants, name = [], [weights("w", 8 if norms else 3, 4)], "x"
    for index in range(norms):
        nodes += [
            helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1], name=f"conv{index}"),
            helper.make_node("BatchNormalization", [f"c{index}", *(f"{k}{index}" for k in "gbmv")], [f"n{index}"]),
            helper.make_node("Relu", [f"n{index}"], [f"r{index}"], name=f"relu{index}"),
        ]
        name = f"r{index}"
        constants.append(weights(f"w{index}", 8, 8 if index else 3, 3, 3, scale=0.3, seed=index))
        ones = np.ones(8, np.float32)
        constants += [
            numpy_helper.from_array(array, f"{kind}{index}")
            for kind, array in (("g", 0.5 * ones), ("b", 0.25 * ones), ("m", 0.4 * ones), ("v", 0.3 * ones))
        ]
    nodes += [
        helper.make_node("GlobalAveragePool", [name], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w"], ["y"]),
    ]
    if pooled:
        nodes[-2:-2] = [helper.make_node("ReduceMean", ["p"], ["q"], axes=[0], keepdims=1)]
        nodes[-2].input[0] = "q"
    return make(nodes, [value("x", [batch, 3, SIZE, SIZE])], [value("y", [batch, 4])], constants)


def request(model: ModelProto, folder: Path, *, count: int = 20) -> dict[str, Any]:
    onnx.save(model, folder / "model.onnx")
    pictures = np.random.default_rng(0).uniform(0, 1, (count, 1, 3, SIZE, SIZE)).astype(np.float32)
    np.savez(folder / "in.npz", **{f"s{i}.0": picture for i, picture in enumerate(pictures)})
    samples = {"path": str(folder / "in.npz"), "names": ["x"], "count": count}
    return {"model": str(folder / "model.onnx"), "samples": samples, "out": str(folder / "out.npz")}


def read(path: Path, count: int = 20) -> np.ndarray[Any, Any]:
    with np.load(path) as archive:
        return np.concatenate([archive[f"s{i}.0"] for i in range(count)])


@pytest.mark.parametrize("batch", [1, "N"])
def test_pictures_come_nearer_and_stay_pictures(batch: int | str, tmp_path: Path) -> None:
    """Every pixel within the range that pixels had; the same again gives the same."""
    asked = request(normed_net(batch=batch), tmp_path)
    answer = fit_pictures_task(asked, tmp_path, {})
    before, after = read(tmp_path / "in.npz"), read(tmp_path / "out.npz")

    assert answer["norms"] == 2
    assert answer["after"] < 0.5 * answer["before"]
    assert after.dtype == np.float32
    assert after.shape == before.shape
    assert before.min() <= after.min() <= after.max() <= before.max()
    assert not np.allclose(before, after)
    fit_pictures_task(asked, tmp_path, {})
    assert np.array_equal(after, read(tmp_path / "out.npz"))


def test_what_norms_answer_is_read_from_constants_of_any_kind(tmp_path: Path) -> None:
    """Nodes that hold them, and nodes that pass them on. What is not constant says nothing."""
    model = normed_net()
    shift = next(tensor for tensor in model.graph.initializer if tensor.name == "b0")
    model.graph.initializer.remove(shift)
    passed_on = helper.make_node("Identity", ["b"], ["b0"])
    model.graph.node.insert(0, helper.make_node("Constant", [], ["b"], value=shift))
    model.graph.node.insert(1, passed_on)

    found = norm_statistics(model)
    assert sorted(found) == ["n0", "n1"]
    assert [tensor.tolist() for tensor in found["n0"]] == [[0.25] * 8, [0.5] * 8]

    passed_on.input[0] = "x"
    del model.graph.node[1]
    model.graph.node.insert(1, passed_on)
    assert sorted(norm_statistics(model)) == ["n1"]


def test_the_tidy_graph_has_no_norms_and_their_tensors_are_there(tmp_path: Path) -> None:
    onnx.save(normed_net(), tmp_path / "model.onnx")
    model, statistics = tidy(tmp_path / "model.onnx", tmp_path)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert sorted(statistics) == ["n0", "n1"]


def test_there_must_be_norms(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        fit_pictures_task(request(normed_net(norms=0), tmp_path), tmp_path, {})
    assert refused.value.code == "norms-missing"


def test_pictures_must_go_through_it_together(tmp_path: Path) -> None:
    """A network that mixes the pictures of a batch has no statistics over several."""
    with pytest.raises(Refused) as refused:
        fit_pictures_task(request(normed_net(pooled=True, batch="N"), tmp_path), tmp_path, {})
    assert refused.value.code == "batch-fixed"


def test_of_a_large_network_fewer_pictures_are_fitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in multiplications; with all of the least number of steps."""
    one = SIZE * SIZE * 8 * 9 * (3 + 8) + 8 * 4
    monkeypatch.setattr("edgeopt.compiler.train.statistics.WORK", 3 * one * 10 * 12.5)
    monkeypatch.setattr("edgeopt.compiler.train.statistics.LEAST_PICTURES", 10)
    answer = fit_pictures_task(request(normed_net(), tmp_path), tmp_path, {})
    assert answer["after"] < answer["before"]
    with np.load(tmp_path / "out.npz") as archive:
        assert len(archive.files) == 12


def test_a_network_that_is_too_large_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even the fewest pictures would take too long."""
    monkeypatch.setattr("edgeopt.compiler.train.statistics.WORK", 1e6)
    with pytest.raises(Refused) as refused:
        fit_pictures_task(request(normed_net(), tmp_path), tmp_path, {})
    assert refused.value.code == "picture-large"
