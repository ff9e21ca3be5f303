"""Masks, vectors and numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.score.embedding import neighbour_recall, spearman
from edgeopt.compiler.score.form import Mismatch

GENERATOR = np.random.default_rng(0)


def masks(*labels: list[list[int]], classes: int = 3) -> list[list[np.ndarray]]:
    """Probabilities [1, C, H, W] that mark the labels."""
    return [[np.moveaxis(np.eye(classes, dtype=np.float32)[np.array(one)], -1, 0)[None]] for one in labels]


def test_masks_agree_by_mean_iou_over_all_samples():
    """Class 0: 3 of 4 pixels either marks; class 1: 4 of 5."""
    teacher = masks([[0, 0, 0, 0], [1, 1, 1, 1]])
    student = masks([[0, 0, 0, 1], [1, 1, 1, 1]])
    found = compare(teacher, student, task="segmentation", where="host")
    assert found.metric == "miou"
    assert found.agreement == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert found.expected_drop == pytest.approx(1 / 8, abs=1e-5)
    assert found.agreement_lower is None
    assert "intersections" in found.reasons["agreement_lower"]
    assert any("pixels" in note for note in found.notes)


def test_classes_may_be_the_last_axis():
    teacher, student = masks([[0] * 6] * 6), masks([[0] * 5 + [1]] * 6)
    last = [[[np.moveaxis(row[0], 1, -1)] for row in rows] for rows in (teacher, student)]
    a = compare(teacher, student, task="segmentation", where="host")
    assert compare(*last, task="segmentation", where="host").agreement == a.agreement == pytest.approx(5 / 12)


@pytest.mark.parametrize("shape", [(1, 1, 2, 2), (1, 2, 2)])
def test_one_score_for_each_pixel_is_yes_against_no(shape):
    teacher = [[np.array([0.9, 0.8, 0.1, 0.2], dtype=np.float32).reshape(shape)]]
    student = [[np.array([0.9, 0.3, 0.1, 0.2], dtype=np.float32).reshape(shape)]]
    found = compare(teacher, student, task="segmentation", where="host")
    assert found.agreement == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_maps_of_labels_compare_as_they_are():
    teacher, student = [[np.array([[[0, 0], [7, 7]]])]], [[np.array([[[0, 0], [7, 3]]])]]
    found = compare(teacher, student, task="segmentation", where="host")
    assert found.agreement == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert "labels" in found.reasons["kl"]


def test_sigmoid_masks_have_no_expected_drop():
    teacher = [[np.full((1, 2, 2, 2), 0.9, dtype=np.float32)]]
    assert "sigmoids" in compare(teacher, teacher, task="segmentation", where="host").reasons["expected_drop"]


def test_pixels_that_are_not_finite_mark_nothing():
    teacher = masks([[0, 0, 0, 0]])
    student = masks([[0, 0, 0, 0]])
    student[0][0][:, :, 0, 0] = np.nan
    found = compare(teacher, student, task="segmentation", where="host")
    assert not found.finite
    assert found.agreement == pytest.approx(3 / 4)
    nothing = [[np.full((1, 3, 1, 4), np.nan, dtype=np.float32)]]
    assert compare(teacher, nothing, task="segmentation", where="host").expected_drop is None


def test_masks_need_pixels():
    nothing = [[np.zeros((1, 3, 0, 0), dtype=np.float32)]]
    with pytest.raises(Mismatch, match="no pixels"):
        compare(nothing, nothing, task="segmentation", where="host")
    one = masks([[0]])
    found = compare([*one, *nothing], [*one, *nothing], task="segmentation", where="host")
    assert found.agreement == 1.0


def numbers(*values: float) -> list[list[np.ndarray]]:
    return [[np.array([[value]], dtype=np.float32)] for value in values]


def test_numbers_agree_by_error_over_spread():
    """Errors of 1 against a spread of sqrt(5): nRMSE 0.447, R2 0.8."""
    found = compare(numbers(0, 2, 4, 6), numbers(1, 1, 5, 5), task="regression", where="host")
    assert found.metric == "one_minus_nrmse"
    assert found.agreement == pytest.approx(1 - np.sqrt(0.2))
    assert found.r2 == pytest.approx(0.8)
    assert found.kl is None
    assert {"kl", "agreement_lower"} <= found.reasons.keys()


def test_numbers_that_are_all_wrong_agree_in_nothing():
    assert compare(numbers(0, 1), numbers(50, -50), task="regression", where="host").agreement == 0.0


def test_outputs_that_never_change_are_left_out():
    teacher = [[row[0], np.float32([7.0])] for row in numbers(0, 2)]
    student = [[row[0], np.float32([9.0])] for row in numbers(0, 2)]
    found = compare(teacher, student, task="regression", where="host")
    assert found.agreement == 1.0
    assert found.notes == ("1 outputs are not floats, or the same for every sample, and are left out",)


def test_numbers_without_a_scale_compare_by_cosine():
    found = compare(numbers(3, 3), numbers(3, 2), task="regression", where="host")
    assert (found.metric, found.r2) == ("cosine", None)
    assert any("no scale" in note for note in found.notes)


def test_numbers_that_are_not_finite_or_whole_are_left_out():
    teacher = [[np.float32([value, np.inf]), np.array([4])] for value in (0.0, 2.0)]
    found = compare(teacher, teacher, task="regression", where="host")
    assert found.agreement == 1.0


def vectors(points: np.ndarray) -> list[list[np.ndarray]]:
    return [[point[None].astype(np.float32)] for point in points]


def test_embeddings_keep_their_neighbours_or_do_not():
    points = GENERATOR.normal(size=(40, 16))
    same = compare(vectors(points), vectors(points * 2.0), task="embedding", where="host")
    assert same.agreement == pytest.approx(1.0)
    assert (same.neighbour_recall, same.similarity_spearman) == (1.0, pytest.approx(1.0))
    noisy = compare(
        vectors(points), vectors(points + GENERATOR.normal(size=points.shape)), task="embedding", where="host"
    )
    assert 0.2 < noisy.neighbour_recall < 0.9
    assert 0.2 < noisy.similarity_spearman < 0.95
    assert "cosine" in noisy.reasons["agreement_lower"]


def test_embeddings_that_point_the_other_way_agree_in_nothing():
    points = GENERATOR.normal(size=(5, 8))
    assert compare(vectors(points), vectors(-points), task="embedding", where="host").agreement == 0.0


def test_few_embeddings_have_no_neighbours():
    points = GENERATOR.normal(size=(3, 8))
    found = compare(vectors(points), vectors(points), task="embedding", where="host")
    assert found.neighbour_recall is None
    assert "3 samples" in found.reasons["neighbour_recall"]


def test_token_vectors_are_averaged_and_bare_ones_are_one():
    states = GENERATOR.normal(size=(6, 1, 5, 8)).astype(np.float32)
    rows = [[state] for state in states]
    assert compare(rows, rows, task="embedding", where="host").neighbour_recall == 1.0
    bare = [[state.reshape(-1)] for state in states]
    assert compare(bare, bare, task="embedding", where="host").neighbour_recall == 1.0


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
@settings(max_examples=60, deadline=None)
def test_rank_correlation_is_scipys(pairs):
    a, b = np.array(pairs, dtype=float).T
    if np.ptp(a) == 0.0 or np.ptp(b) == 0.0:
        assert spearman(a, b) == float(np.ptp(a) == np.ptp(b))
    else:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)


def test_neighbours_of_few_are_a_third_of_them():
    near = np.array([[1.0, 0.9, 0.1], [0.9, 1.0, 0.2], [0.1, 0.2, 1.0]])
    assert neighbour_recall(near, near) == 1.0
    assert neighbour_recall(near, -near) == 0.0
