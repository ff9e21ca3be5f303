"""What compression costs, in a line for each variant."""

from __future__ import annotations

from typing import get_args

import click

from edgeopt.cli.options import TASKS
from edgeopt.domain.model import Task
from edgeopt.domain.variant import Metric, WorstCluster
from edgeopt.report.fidelity import METRICS, fidelity_lines
from tests.builders import make_built, make_fidelity, make_skipped


def test_expected_and_certified_drop_stand_together() -> None:
    fidelity = make_fidelity(
        0.99, 0.9756, expected_drop=0.0012, expected_drop_low=0.0, expected_drop_high=0.0031, samples=500
    )
    assert fidelity_lines([make_built("int8", fidelity=fidelity), make_skipped()]) == [
        "agrees: the same best class, 500 held-out samples",
        "  int8: loss of accuracy 0.12 points expected (0.00 to 0.31), at most 2.44 (95 % sure)",
    ]


def test_an_estimate_without_interval_stands_alone() -> None:
    lines = fidelity_lines([make_built("int8", fidelity=make_fidelity(0.99, None, expected_drop=0.001))])
    assert lines[1] == "  int8: loss of accuracy 0.10 points expected"


def test_worst_kinds_neighbours_and_r2_are_told() -> None:
    worst = (WorstCluster(label="class 3", samples=20, agreement=0.5, p_value=0.01),)
    fidelity = make_fidelity(0.99, None, neighbour_recall=0.93, r2=0.9981, worst_clusters=worst)
    assert fidelity_lines([make_built("int8", fidelity=fidelity)])[1] == (
        "  int8: keeps 93.00 % of the nearest neighbours; R2 0.9981; worst on class 3 (50.00 % of 20)"
    )


def test_nothing_to_tell_is_nothing() -> None:
    assert fidelity_lines([make_built(fidelity=None), make_built(fidelity=make_fidelity(identical=True))]) == []
    assert len(fidelity_lines([make_built("int8", fidelity=make_fidelity(0.9, None))])) == 1


def test_every_metric_has_words_and_every_task_an_option() -> None:
    assert METRICS.keys() == set(get_args(Metric))
    assert click.Choice(TASKS).choices == get_args(Task)


def test_agreement_on_synthetic_inputs_is_told_as_such() -> None:
    fidelity = make_fidelity(0.99, None, synthetic=True, samples=100, metric="top1")
    assert fidelity_lines([make_built("int8", fidelity=fidelity)]) == [
        "agrees: the same best class, 100 synthetic inputs; yours may agree less",
        "  int8: on synthetic inputs, so no loss of accuracy is claimed",
    ]
