"""A graph as a torch module, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper, numpy_helper

torch = pytest.importorskip("torch")

from edgeopt.compiler.costs import count_costs  # noqa: E402
from edgeopt.compiler.refuse import Refused  # noqa: E402
from edgeopt.compiler.runtime import open_session  # noqa: E402
from edgeopt.compiler.train.check import check_steady, check_twin, macs_of_a_sample, most_together  # noqa: E402
from edgeopt.compiler.train.data import stacked  # noqa: E402
from edgeopt.compiler.train.trainable import let_train  # noqa: E402
from edgeopt.compiler.train.twin import Twin  # noqa: E402
from tests.models import make, value, weights  # noqa: E402
from tests.unit.compiler.train.networks import pictures, small_net  # noqa: E402


def test_a_twin_answers_as_the_runtime_does(tmp_path: Path) -> None:
    """Within 1e-3 of the largest answer; in fact within rounding."""
    model, samples = small_net(), list(pictures(3, tmp_path))

    assert check_twin(Twin(model), model, samples, "the model") < 1e-5


def test_a_graph_for_one_sample_takes_many(tmp_path: Path) -> None:
    """Its Reshape says 1, and means the batch."""
    model, samples = small_net(batch=1), list(pictures(4, tmp_path))
    twin = Twin(model)
    with torch.no_grad():
        together = twin(stacked(samples))["y"].numpy()

    session = open_session(model.SerializeToString())
    one_by_one = np.concatenate([session.run(None, sample)[0] for sample in samples])
    np.testing.assert_allclose(together, one_by_one, atol=1e-6)
    assert most_together(twin, samples, 32) == 32


def test_a_graph_that_mixes_its_batch_is_run_sample_by_sample(tmp_path: Path) -> None:
    """A softmax over the batch: two samples together answer differently."""
    model = make(
        [helper.make_node("Softmax", ["x"], ["y"], axis=0)],
        [value("x", ["n", 3, 16, 16])],
        [value("y", ["n", 3, 16, 16])],
    )

    assert most_together(Twin(model), list(pictures(2, tmp_path)), 32) == 1


def test_multiplications_are_counted_as_they_run(tmp_path: Path) -> None:
    """As many as the graph says, where it says."""
    model = small_net()

    assert macs_of_a_sample(Twin(model), next(iter(pictures(1, tmp_path)))) == count_costs(model).macs


def test_trained_values_go_back_into_the_graph(tmp_path: Path) -> None:
    """Same nodes, names and shapes; the answers are the trained twin's."""
    model, samples = small_net(), list(pictures(1, tmp_path))
    twin = Twin(model)
    with torch.no_grad():
        twin.parameter("b3").add_(torch.arange(6.0))
        twin.parameter("w1").mul_(0.5)

    made = twin.written(model)

    assert check_twin(twin, made, samples, "it") < 1e-5
    assert [n.SerializeToString() for n in made.graph.node] == [n.SerializeToString() for n in model.graph.node]
    assert [(t.name, t.dims, t.data_type) for t in made.graph.initializer] == [
        (t.name, t.dims, t.data_type) for t in model.graph.initializer
    ]


def test_what_a_constant_is_follows_from_its_place() -> None:
    """Weights and biases learn; shapes and single numbers of a formula do not."""
    model = small_net()
    model.graph.initializer.append(numpy_helper.from_array(np.array(2.0, np.float32), "two"))
    model.graph.node[0].input[0] = "scaled"
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "two"], ["scaled"], name="scale"))

    assert Twin(model).roles == {
        "w1": "weight",
        "b1": "affine",
        "w2": "weight",
        "b2": "affine",
        "w3": "weight",
        "b3": "affine",
    }


def test_low_rank_additions_change_nothing_at_first_and_are_merged(tmp_path: Path) -> None:
    """The second matrix starts at 0; the graph that comes out has the sum."""
    model, samples = small_net(), list(pictures(1, tmp_path))
    twin = Twin(model)

    learning = let_train(twin, "lora", seed=0)

    assert {name for name in learning if "/" in name} == {"w1/down", "w1/up", "w2/down", "w2/up"}
    assert not twin.parameter("w1").requires_grad
    assert check_twin(twin, model, samples, "it") < 1e-5
    with torch.no_grad():
        learning["w1/up"].fill_(0.3)
    assert check_twin(twin, twin.written(model), samples, "it") < 1e-5


def test_a_graph_that_draws_random_numbers_is_refused() -> None:
    """Named, with its node."""
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["noise"], name="jitter"),
        helper.make_node("Add", ["x", "noise"], ["y"]),
    ]
    model = make(nodes, [value("x", [1, 4])], [value("y", [1, 4])])

    with pytest.raises(Refused, match=r"RandomNormalLike \(jitter\) draws random numbers"):
        Twin(model)


def test_a_teacher_in_training_mode_is_refused() -> None:
    """Dropout that drops: by its node, and by asking twice."""
    constants = [
        numpy_helper.from_array(np.array(0.5, np.float32), "half"),
        numpy_helper.from_array(np.array(True), "on"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"]),
        helper.make_node("Dropout", ["m", "half", "on"], ["y"], name="drop"),
    ]
    model = make(nodes, [value("x", [1, 64])], [value("y", [1, 64])], [weights("w", 64, 64), *constants])
    sample = {"x": np.ones((1, 64), np.float32)}

    with pytest.raises(Refused, match="answers the same sample differently each time"):
        check_steady(model, [sample])
    with pytest.raises(Refused, match=r"Dropout \(drop\) cannot be trained: it is in training mode"):
        Twin(model)(stacked([sample]))


def test_samples_that_do_not_fit_are_refused_in_the_runtime_s_words() -> None:
    """Before anything is trained."""
    model = small_net()

    with pytest.raises(Refused, match=r"the model does not take the samples: .*Got: 8 Expected: 16"):
        check_twin(Twin(model), model, [{"x": np.zeros((1, 3, 8, 8), np.float32)}], "the model")
