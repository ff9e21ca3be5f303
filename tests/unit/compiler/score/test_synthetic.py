"""Agreement on invented inputs is told, and nothing is claimed from it."""

from __future__ import annotations

from edgeopt.compiler.score.synthetic import on_synthetic
from edgeopt.domain.variant import WorstCluster
from tests.builders import make_fidelity


def test_figures_stay_and_claims_go() -> None:
    worst = (WorstCluster(label="class 3", samples=20, agreement=0.5, p_value=0.01),)
    told = make_fidelity(
        0.99, 0.97, expected_drop=0.001, expected_drop_low=0.0, expected_drop_high=0.01, worst_clusters=worst
    )
    found = on_synthetic(told)
    assert (found.agreement, found.cosine, found.sqnr_db) == (told.agreement, told.cosine, told.sqnr_db)
    assert found.synthetic
    assert found.agreement_lower is found.expected_drop is found.expected_drop_low is found.expected_drop_high is None
    assert found.reasons.keys() == {"agreement_lower", "expected_drop"}
    assert found.worst_clusters == ()
    assert "synthetic" in found.notes[-1]
