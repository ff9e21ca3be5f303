"""Which of the students that a run has seen comes out."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from edgeopt.compiler.train.judge import Score

FIRST = Score(0.6, 0.70)


def test_the_nearer_one_wins():
    assert Score(0.5, 0.70).beats(FIRST, FIRST, judged=64)
    assert not Score(0.6, 0.80).beats(FIRST, FIRST, judged=64)
    assert not Score(0.55, 0.75).beats(Score(0.5, 0.70), FIRST, judged=64)


def test_one_sample_of_64_fewer_is_chance():
    assert Score(0.5, 0.70 - 1 / 64).beats(FIRST, FIRST, judged=64)


def test_one_sample_in_ten_fewer_is_not():
    assert not Score(0.5, 0.60).beats(FIRST, FIRST, judged=64)


def test_the_more_are_judged_the_less_is_chance():
    fewer = Score(0.5, 0.67)
    assert fewer.beats(FIRST, FIRST, judged=64)
    assert not fewer.beats(FIRST, FIRST, judged=10_000)


def test_an_agreement_of_all_may_be_chance_as_well():
    every = Score(0.1, 1.0)
    assert 0.9 < every.least(32) < 1.0
    assert not Score(0.05, 0.9).beats(every, every, judged=32)


def test_without_classes_distance_alone_decides():
    assert Score(0.5, None).beats(Score(0.6, None), Score(0.7, None), judged=64)
    assert not Score(0.6, None).beats(Score(0.5, None), Score(0.7, None), judged=64)
