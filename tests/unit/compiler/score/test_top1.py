"""Classifiers and token models."""

from __future__ import annotations

import numpy as np
import pytest

from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.score.bounds import mean_lower
from edgeopt.compiler.score.form import Mismatch


def scores(*rows: list[float]) -> list[list[np.ndarray]]:
    """One sample per row."""
    return [[np.array([row], dtype=np.float32)] for row in rows]


def test_expected_drop_is_the_margin_that_flips_give_up():
    """p_T(cat) - p_T(dog) = 0.6 - 0.3 in one sample of four: 7.5 points, within an interval that holds it."""
    teacher = scores([0.6, 0.3, 0.1], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.1, 0.8])
    student = scores([0.3, 0.6, 0.1], [0.9, 0.1, 0.0], [0.2, 0.8, 0.0], [0.1, 0.1, 0.8])
    found = compare(teacher, student, task="classification", where="host")
    assert found.expected_drop == pytest.approx(0.3 / 4)
    assert found.expected_drop_low <= found.expected_drop <= found.expected_drop_high
    assert found.expected_drop <= 1 - found.agreement_lower
    assert found.kl == pytest.approx((0.6 * np.log(2) - 0.3 * np.log(2)) / 4, abs=1e-6)
    assert not {"kl", "expected_drop"} & found.reasons.keys()


def test_interval_holds_the_drop_that_labels_show():
    """Labels drawn from the teacher's own probabilities: in 95 of 100 worlds, give or take, the drop by labels lies inside; the estimate itself hits none."""
    generator = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        logits = generator.normal(0.0, 1.5, (120, 1, 3))
        noisy = logits + generator.normal(0.0, 0.5, logits.shape)
        found = compare([[r] for r in logits], [[r] for r in noisy], task="classification", where="host")
        labels = np.array([generator.choice(3, p=np.exp(r[0]) / np.exp(r[0]).sum()) for r in logits])
        drop = np.mean((logits[:, 0].argmax(1) == labels) * 1.0 - (noisy[:, 0].argmax(1) == labels))
        inside += found.expected_drop_low <= drop <= found.expected_drop_high
    assert inside >= 52


def test_without_a_flip_the_certified_drop_is_the_upper_end():
    """There is nothing to resample, and 0 to 0 would be a claim."""
    teacher = scores([0.6, 0.4], [0.3, 0.7])
    found = compare(teacher, teacher, task="classification", where="host")
    assert found.expected_drop == 0.0
    assert found.expected_drop_high == -found.expected_drop_low == 1 - found.agreement_lower


def test_logits_and_their_softmax_score_alike():
    logits = [[np.array([[2.0, 1.0, 0.0]])], [np.array([[0.0, 3.0, 1.0]])]]
    changed = [[np.array([[1.0, 2.0, 0.0]])], [np.array([[0.0, 3.0, 1.0]])]]

    def softmax(rows):
        return [[np.exp(row[0]) / np.exp(row[0]).sum()] for row in rows]

    a = compare(logits, changed, task="classification", where="host")
    b = compare(softmax(logits), softmax(changed), task="classification", where="host")
    assert a.expected_drop == pytest.approx(b.expected_drop)
    assert a.kl == pytest.approx(b.kl)


def test_sigmoid_scores_have_no_expected_drop_and_say_why():
    found = compare(scores([0.9, 0.8]), scores([0.7, 0.8]), task="classification", where="host")
    assert (found.kl, found.expected_drop) == (None, None)
    assert "sigmoids" in found.reasons["expected_drop"]
    assert found.agreement == 0.0


@pytest.mark.parametrize("rows", [([0.2], [0.9], [0.4]), ([-1.0], [3.0], [-2.0])])
def test_one_column_is_yes_against_no(rows):
    """As a probability or as a logit; the last sample flips."""
    answer = scores(rows[0], rows[1], rows[1])
    found = compare(scores(*rows), answer, task="classification", where="host")
    assert found.agreement == pytest.approx(2 / 3)
    assert found.expected_drop > 0.0


def test_labels_compare_as_they_are():
    teacher, student = [[np.array([[3]])], [np.array([[5]])]], [[np.array([[3]])], [np.array([[4]])]]
    found = compare(teacher, student, task="classification", where="host")
    assert found.agreement == 0.5
    assert "labels" in found.reasons["kl"]


def test_scores_that_are_never_finite_have_no_expected_drop():
    nan = scores([np.nan, np.nan])
    found = compare(nan, nan, task="classification", where="host")
    assert found.expected_drop is None
    assert "finite" in found.reasons["expected_drop"]
    assert found.worst_samples[0].kl is None


def test_a_sample_without_rows_has_nothing_to_disagree_on():
    empty = [np.zeros((0, 2), dtype=np.float32)]
    found = compare([empty, *scores([0.4, 0.6])], [empty, *scores([0.6, 0.4])], task="classification", where="host")
    assert found.agreement == 0.0
    assert found.worst_samples[0].index == 1


def tokens(*best: list[int]) -> list[list[np.ndarray]]:
    """One sample per list: scores [1, T, 5] whose best token is the one named."""
    return [[np.eye(5, dtype=np.float32)[line][None]] for line in best]


def test_tokens_agree_by_positions_and_are_bound_by_samples():
    """Three samples of four positions: the bound is that of 3 shares, not of 12 answers."""
    teacher = tokens([0, 1, 2, 3], [1, 1, 1, 1], [2, 2, 2, 2])
    student = tokens([0, 1, 2, 4], [1, 1, 1, 1], [2, 2, 2, 2])
    found = compare(teacher, student, task="tokens", where="host")
    assert found.metric == "token_top1"
    assert found.agreement == pytest.approx(11 / 12)
    assert found.agreement_lower == pytest.approx(mean_lower(np.array([0.75, 1.0, 1.0])))
    assert found.kl > 0.0
    assert any("depend on each other" in note for note in found.notes)


def test_tokens_need_positions():
    nothing = [[np.zeros((1, 0, 5), dtype=np.float32)]]
    with pytest.raises(Mismatch, match="no positions"):
        compare(nothing, nothing, task="tokens", where="host")
