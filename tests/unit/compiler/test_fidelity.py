"""Comparing answers: what every task has in common."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.compiler.fidelity import Mismatch, clopper_pearson_lower, compare
from edgeopt.domain.variant import Fidelity

ONE_HOT = [[np.array([[0.1, 0.9, 0.0]], dtype=np.float32)], [np.array([[0.8, 0.1, 0.1]], dtype=np.float32)]]


def floats(*values: float) -> list[list[np.ndarray]]:
    return [[np.array([values], dtype=np.float32)]]


def test_identical_answers_have_no_noise():
    """SQNR is None with `identical` set, never an infinity."""
    result = compare(ONE_HOT, ONE_HOT, task="classification", where="host")
    assert (result.agreement, result.cosine, result.sqnr_db, result.max_abs_error) == (1.0, 1.0, None, 0.0)
    assert result.identical
    assert result.finite
    assert result.agreement_lower == pytest.approx(0.05**0.5)
    assert (result.metric, result.samples, result.where) == ("top1", 2, "host")


def test_top1_counts_changed_answers():
    """A flip in one of two samples is an agreement of a half."""
    changed = [ONE_HOT[0], [np.array([[0.1, 0.1, 0.8]], dtype=np.float32)]]
    result = compare(ONE_HOT, changed, task="classification", where="device")
    assert result.agreement == 0.5
    assert result.agreement_lower == pytest.approx(clopper_pearson_lower(1, 2))
    assert not result.identical


def test_top1_counts_rows_of_a_batch_and_squeezed_scores():
    """[2, 3, 1, 1] is two answers, a bare [3] is one."""
    batch = np.array([[1, 0, 0], [0, 1, 0]], dtype=np.float32).reshape(2, 3, 1, 1)
    flipped = batch[::-1].copy()
    assert compare([[batch]], [[flipped]], task="classification", where="host").agreement == 0.0
    bare = np.array([0.0, 1.0], dtype=np.float32)
    assert compare([[bare]], [[bare]], task="classification", where="host").agreement == 1.0


def test_other_tasks_agree_by_cosine_and_have_no_bound():
    result = compare(floats(1, 0), floats(1, 1), task="other", where="host")
    assert result.agreement == result.cosine == pytest.approx(math.sqrt(0.5))
    assert result.agreement_lower is None
    assert result.metric == "cosine"


def test_cosine_is_averaged_over_outputs_then_samples():
    """Outputs of very different scale count alike."""
    reference = [[np.float32([1000.0, 0.0]), np.float32([0.0, 1e-3])]]
    answer = [[np.float32([1000.0, 0.0]), np.float32([1e-3, 0.0])]]
    assert compare(reference, answer, task="other", where="host").cosine == pytest.approx(0.5)


def test_sqnr_is_pooled_over_all_values():
    """10 log10(signal / noise): signal 100, noise 1 is 20 dB."""
    assert compare(floats(6, 8), floats(6, 9), task="other", where="host").sqnr_db == pytest.approx(20.0)


def test_sqnr_of_a_silent_original_is_unknown_with_a_reason():
    result = compare(floats(0, 0), floats(0, 1), task="other", where="host")
    assert result.sqnr_db is None
    assert not result.identical
    assert any("SQNR" in note for note in result.notes)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_new_nan_or_infinity_is_not_finite(bad):
    """And the record still has only finite figures, for JSON has no others."""
    result = compare(floats(1, 2), floats(1, bad), task="classification", where="host")
    assert not result.finite
    assert result.agreement == (0.0 if math.isnan(bad) else float(bad > 0))
    assert msgspec.json.decode(msgspec.json.encode(result), type=Fidelity) == result


def test_what_the_original_itself_cannot_answer_is_left_out_and_said():
    """NaN in the original proves nothing against the variant."""
    result = compare(floats(math.nan, 2), floats(5, 2), task="other", where="host")
    assert result.finite
    assert result.max_abs_error == 0.0
    assert result.notes == ("1 values were left out because the original itself answers NaN or infinity there",)


def test_same_nan_in_both_is_identical():
    assert compare(floats(math.nan, 2), floats(math.nan, 2), task="other", where="host").identical


def test_integers_compare_by_share_of_equal_elements():
    reference, answer = [[np.array([1, 2, 3, 4])]], [[np.array([1, 2, 3, 9])]]
    result = compare(reference, answer, task="other", where="host")
    assert result.agreement == 0.75
    assert result.max_abs_error == 5.0
    assert result.sqnr_db is None


def test_zero_vectors_agree_with_each_other_only():
    assert compare(floats(0, 0), floats(0, 0), task="other", where="host").cosine == 1.0
    assert compare(floats(1, 0), floats(0, 0), task="other", where="host").cosine == 0.0


def test_empty_outputs_agree():
    """A detector that found nothing, twice."""
    nothing = [[np.zeros((0, 4), dtype=np.float32), np.float32([1.0])]]
    assert compare(nothing, nothing, task="other", where="host").agreement == 1.0


def test_huge_values_do_not_overflow():
    """float64 beyond the root of its range cannot be squared: SQNR is unknown, the cosine is not."""
    huge = [[np.array([1e300, 1e300])]]
    off = [[np.array([1e300, -1e300])]]
    result = compare(huge, off, task="other", where="host")
    assert result.cosine == pytest.approx(0.0)
    assert result.sqnr_db is None
    assert msgspec.json.decode(msgspec.json.encode(result), type=Fidelity) == result


def test_half_precision_answers_compare_with_single_precision():
    answer = [[array.astype(np.float16) for array in row] for row in ONE_HOT]
    assert compare(ONE_HOT, answer, task="classification", where="host").agreement == 1.0


@pytest.mark.parametrize(
    ("reference", "answer", "words"),
    [
        ([], [], "no samples"),
        (ONE_HOT, ONE_HOT[:1], "answers to 1 samples"),
        (ONE_HOT[:1], [[]], "0 outputs"),
        (ONE_HOT[:1], [[np.zeros((1, 4), dtype=np.float32)]], r"shape \[1, 4\]"),
        (ONE_HOT[:1], [[np.zeros((1, 3), dtype=np.int64)]], "is int64"),
        ([[np.zeros((0, 3), dtype=np.float32)]], [[np.zeros((0, 3), dtype=np.float32)]], "no rows"),
    ],
)
def test_answers_of_another_form_are_a_mismatch(reference, answer, words):
    with pytest.raises(Mismatch, match=words):
        compare(reference, answer, task="classification", where="host")


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_figures_keep_their_ranges(samples, classes, seed):
    """Whatever is compared: shares in [0, 1], cosine in [-1, 1], bound below the share, error not negative."""
    generator = np.random.default_rng(seed)
    reference = [[generator.standard_normal((1, classes)).astype(np.float32)] for _ in range(samples)]
    answer = [[generator.standard_normal((1, classes)).astype(np.float32)] for _ in range(samples)]
    result = compare(reference, answer, task="classification", where="host")
    assert 0.0 <= result.agreement <= 1.0
    assert result.agreement_lower is not None
    assert result.agreement_lower <= result.agreement
    assert -1.0 <= result.cosine <= 1.0
    assert result.max_abs_error >= 0.0
