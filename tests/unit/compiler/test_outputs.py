"""A model's answers on this computer."""

from __future__ import annotations

import numpy as np
import pytest

from edgeopt.compiler.confine import ConfinedFailure
from edgeopt.compiler.outputs import host_outputs, most_samples
from edgeopt.domain.model import TensorSpec
from edgeopt.samples.record import make_samples
from tests import models
from tests.builders import make_model


def test_answers_come_by_sample_and_output(tmp_path):
    path = models.save(models.two_inputs(), tmp_path / "net.onnx")
    rows = [[np.float32([[1, 2, 3, k]]), np.float32([[1, 1, 1, 2]])] for k in range(3)]
    outputs = host_outputs(path, make_samples(["image", "gain"], rows, source="made"), workdir=tmp_path)
    assert [[array.tolist() for array in row] for row in outputs] == [
        [[[1, 2, 3, 0]], [[2]]],
        [[[1, 2, 3, 2]], [[2]]],
        [[[1, 2, 3, 4]], [[3]]],
    ]
    assert outputs[0][1].dtype == np.int64


def test_inputs_are_fed_by_name_not_by_place(tmp_path):
    path = models.save(models.branching(), tmp_path / "net.onnx")
    x = np.ones((1, 8), dtype=np.float32)
    forth = host_outputs(path, make_samples(["x", "flag"], [[x, np.array(True)]], source="made"), workdir=tmp_path)
    back = host_outputs(path, make_samples(["flag", "x"], [[np.array(True), x]], source="made"), workdir=tmp_path)
    assert np.array_equal(forth[0][0], back[0][0])


def test_answers_are_the_same_every_time(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    samples = models.noise("x", 1, 3, 8, 8)
    first, second = (host_outputs(path, samples, workdir=tmp_path) for _ in range(2))
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, second, strict=True))


def test_weights_beside_the_graph_are_found(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "model" / "net.onnx")
    whole = models.save(models.dense_net(), tmp_path / "whole.onnx")
    samples = models.noise("x", 1, 32, count=2)
    apart, together = (host_outputs(p, samples, workdir=tmp_path) for p in (path, whole))
    assert np.array_equal(apart[0][0], together[0][0])


def test_nan_is_an_answer(tmp_path):
    path = models.save(models.not_a_number(), tmp_path / "net.onnx")
    assert np.isnan(host_outputs(path, models.noise("x", 1, 4, count=1), workdir=tmp_path)[0][0]).all()


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (models.noise("x", 1, 3, 9, 9, 9), "rank"),
        (models.noise("y", 1, 3, 8, 8), "x"),
        (models.noise("x", 1, 4, 8, 8), "index: 1"),
    ],
)
def test_samples_that_do_not_fit_fail_with_the_runtimes_words(tmp_path, samples, words):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    with pytest.raises(ConfinedFailure) as caught:
        host_outputs(path, samples, workdir=tmp_path)
    assert caught.value.kind in ("refused", "error")
    assert words in caught.value.detail
    assert "Traceback" not in caught.value.detail


def test_nothing_is_left_behind(tmp_path):
    path = models.save(models.classifier(), tmp_path / "model" / "net.onnx")
    (tmp_path / "work").mkdir()
    host_outputs(path, models.noise("x", 1, 3, 8, 8, count=1), workdir=tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_large_answers_are_wanted_of_fewer_samples():
    """A picture of 6 MiB each must not fill the memory; an unknown size counts as small."""
    picture = TensorSpec(name="y", dtype="float32", shape=("n", 3, 724, 724))
    open_ended = TensorSpec(name="z", dtype="int64", shape=None)
    assert most_samples(make_model(outputs=(picture,)), 512 << 20) == (512 << 20) // (4 * 3 * 724 * 724)
    assert most_samples(make_model(outputs=(open_ended,)), 80) == 10
    assert most_samples(make_model(outputs=(picture,)), 1) == 1
