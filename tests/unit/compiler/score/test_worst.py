"""Where the damage is, and whether the kernels do what the file says."""

from __future__ import annotations

import numpy as np
import pytest

from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.score.gap import real_kernel_gap
from edgeopt.compiler.score.worst import k_means, sketch, worst_clusters, worst_samples
from tests.builders import make_fidelity


def test_worst_samples_come_by_agreement_then_divergence_then_cosine():
    each = np.array([1.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    kl = np.array([0.5, 0.1, 0.9, np.nan, 0.0, 0.0])
    found = worst_samples(each, kl, [1.0, 1.0, 1.0, 1.0, 0.5, 0.4], ["a", "b", "c"])
    assert [(s.index, s.name) for s in found] == [(2, "c"), (1, "b"), (5, None), (4, None)]
    assert found[0].kl == 0.9
    assert worst_samples(each, None, [1.0] * 6, [])[0].kl is None


def test_samples_that_are_the_same_are_not_the_worst():
    assert worst_samples(np.ones(3), np.zeros(3), [1.0, 1.0, 1.0], []) == ()


def one_hot(labels: np.ndarray, classes: int) -> list[list[np.ndarray]]:
    return [[row[None]] for row in np.eye(classes, dtype=np.float32)[labels]]


def test_a_class_that_loses_more_is_named():
    """Of five classes with twenty samples each, class 3 loses half, others nothing."""
    labels = np.arange(100) % 5
    wrong = labels.copy()
    wrong[(labels == 3) & (np.arange(100) < 50)] = 0
    found = compare(one_hot(labels, 5), one_hot(wrong, 5), task="classification", where="host").worst_clusters
    assert [cluster.label for cluster in found] == ["class 3"]
    assert (found[0].samples, found[0].agreement) == (20, 0.5)
    assert found[0].p_value <= 0.05
    assert len(found[0].examples) == 5
    assert all(labels[i] == 3 and wrong[i] == 0 for i in found[0].examples)


def test_chance_is_not_reported():
    """Errors strewn over all classes: in at most 5 % of 60 tries is any class named."""
    generator = np.random.default_rng(0)
    labels = np.arange(100) % 5
    reference = one_hot(labels, 5)
    named = sum(
        bool(worst_clusters((generator.random(100) > 0.1).astype(float), labels, reference, seed=i)) for i in range(60)
    )
    assert named <= 3


def test_many_classes_are_grouped_by_their_answers():
    """Fifty classes, two heaps of answers, one of them broken."""
    generator = np.random.default_rng(1)
    heap = np.arange(100) % 2
    points = np.where(heap[:, None] == 0, 10.0, -10.0) + generator.normal(size=(100, 50))
    reference = [[row[None]] for row in points]
    each = np.where(heap == 1, 0.2, 1.0)
    found = worst_clusters(each, np.arange(100) % 50, reference)
    assert found
    assert all(cluster.label.startswith("cluster") for cluster in found)
    assert all(heap[i] == 1 for cluster in found for i in cluster.examples)


@pytest.mark.parametrize("each", [np.array([0.0] * 5 + [1.0] * 10), np.ones(50)])
def test_few_samples_or_no_difference_have_no_kinds(each):
    assert worst_clusters(each, None, one_hot(np.zeros(len(each), dtype=int), 3)) == ()


def test_answers_of_unlike_shape_are_not_grouped():
    rows = [[np.zeros((i % 3, 4))] for i in range(30)]
    assert sketch(rows) is None
    assert worst_clusters(np.arange(30) / 30.0, None, rows) == ()


def test_clusters_are_the_same_for_a_seed_and_never_more_than_points():
    points = np.random.default_rng(0).normal(size=(60, 3))
    assert np.array_equal(k_means(points, 4, seed=1), k_means(points, 4, seed=1))
    assert set(k_means(np.zeros((30, 3)), 5).tolist()) == {0}


def test_clusters_find_heaps_that_lie_apart():
    heaps = np.repeat(np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]]), 20, axis=0)
    found = k_means(heaps + np.random.default_rng(0).normal(0, 0.1, heaps.shape), 3)
    assert all(len(set(found[i : i + 20].tolist())) == 1 for i in (0, 20, 40))


def test_clustering_ends_when_it_does_not_settle(monkeypatch):
    monkeypatch.setattr("edgeopt.compiler.score.worst.ROUNDS", 1)
    points = np.random.default_rng(0).normal(size=(60, 2))
    assert len(k_means(points, 6)) == 60


def test_no_gap_where_the_kernels_do_what_the_file_says():
    assert real_kernel_gap(make_fidelity(0.98), make_fidelity(0.97)) is None
    assert real_kernel_gap(make_fidelity(1.0, sqnr_db=None), make_fidelity(1.0, sqnr_db=20.0)) is None
    assert real_kernel_gap(make_fidelity(1.0, sqnr_db=80.0), make_fidelity(1.0, sqnr_db=60.0)) is None
    assert real_kernel_gap(make_fidelity(1.0, sqnr_db=30.0), make_fidelity(1.0, sqnr_db=28.0)) is None


def test_a_loss_on_real_kernels_is_said():
    said = real_kernel_gap(make_fidelity(0.98), make_fidelity(0.80))
    assert "80.00%" in said
    assert "saturate" in said
    louder = real_kernel_gap(make_fidelity(0.98, sqnr_db=27.0), make_fidelity(0.98, sqnr_db=12.0))
    assert "12.0 dB" in louder
    assert "saturate" in louder


def test_a_gain_on_real_kernels_is_said_too():
    """Then what runs is not what was emulated."""
    assert "not what was emulated" in real_kernel_gap(make_fidelity(0.80), make_fidelity(0.98))
    assert "not what was emulated" in real_kernel_gap(
        make_fidelity(0.9, sqnr_db=12.0), make_fidelity(0.9, sqnr_db=27.0)
    )
