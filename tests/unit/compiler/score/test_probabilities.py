"""What class scores are, and what follows from them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr, softmax

from edgeopt.compiler.score.probabilities import FLOOR, compare_positions, kind_of, log_probabilities

LOGITS = np.random.default_rng(0).normal(0.0, 3.0, (20, 7))


@pytest.mark.parametrize(
    ("scores", "kind"),
    [
        (LOGITS, "logits"),
        (softmax(LOGITS, axis=1), "probabilities"),
        (softmax(LOGITS, axis=1).astype(np.float16), "probabilities"),
        (log_softmax(LOGITS, axis=1), "log-probabilities"),
        (1.0 / (1.0 + np.exp(-LOGITS)), "independent"),
        (-np.abs(LOGITS), "logits"),
        (np.zeros((0, 3)), "logits"),
        (np.array([[np.nan, 1.0]]), "logits"),
    ],
)
def test_scores_are_told_apart_by_their_values(scores, kind):
    assert kind_of([scores]) == kind


def test_rows_that_are_not_finite_do_not_decide():
    assert kind_of([np.array([[0.3, 0.7], [np.inf, 5.0]])]) == "probabilities"


@pytest.mark.parametrize("kind", ["logits", "probabilities", "log-probabilities"])
def test_all_kinds_give_the_same_distribution(kind):
    scores = {
        "logits": LOGITS,
        "probabilities": softmax(LOGITS, axis=1),
        "log-probabilities": log_softmax(LOGITS, axis=1),
    }
    assert np.allclose(log_probabilities(scores[kind], kind), log_softmax(LOGITS, axis=1), atol=1e-4)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_divergence_and_margin_are_those_of_their_definitions(seed):
    generator = np.random.default_rng(seed)
    r, y = generator.normal(0, 2, (5, 4)), generator.normal(0, 2, (5, 4))
    found = compare_positions(r, y, "logits")
    p, q = softmax(r, axis=1), softmax(y, axis=1)
    assert np.allclose(found.kl, rel_entr(p, q).sum(axis=1), atol=1e-4)
    rows = np.arange(5)
    assert np.allclose(found.margins, p.max(axis=1) - p[rows, q.argmax(axis=1)], atol=1e-6)
    assert (found.margins >= 0.0).all()
    assert (found.same == (found.margins == 0.0)).all()
    outcomes = p.max(axis=1) + p[rows, q.argmax(axis=1)] - found.margins**2
    assert np.allclose(found.variances, np.where(found.same, 0.0, outcomes), atol=1e-6)


def test_a_probability_of_exactly_zero_costs_no_infinity():
    """Quantised softmax outputs are often 0."""
    found = compare_positions(np.array([[0.5, 0.5]]), np.array([[1.0, 0.0]]), "probabilities")
    assert found.kl[0] == pytest.approx(0.5 * np.log(0.5 / FLOOR) + 0.5 * np.log(0.5), rel=1e-4)


def test_what_is_not_finite_is_unknown_and_a_nan_never_agrees():
    r = np.array([[1.0, 0.0], [np.inf, 0.0], [1.0, 0.0]])
    y = np.array([[np.nan, 0.0], [1.0, 0.0], [1.0, 0.0]])
    found = compare_positions(r, y, "logits")
    assert found.same.tolist() == [False, True, True]
    assert np.isnan(found.kl).tolist() == np.isnan(found.margins).tolist() == [True, True, False]


def test_sigmoids_are_no_distribution():
    found = compare_positions(np.array([[0.9, 0.8]]), np.array([[0.7, 0.8]]), "independent")
    assert found.kl is None
    assert found.margins is None
    assert found.same.tolist() == [False]
