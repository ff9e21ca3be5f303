"""How many steps a budget has."""

from __future__ import annotations

from edgeopt.compiler.train.budgets import BATCH, PASSES, RECOVERY


def test_steps_are_what_the_work_is_enough_for():
    budget = RECOVERY["standard"]
    small, large = 1_000_000, 2_000_000_000
    assert budget.steps_for(small) == budget.steps
    assert budget.steps_for(large) == int(budget.work / (PASSES * BATCH * large)) > 0
    assert budget.steps_for(None) == budget.steps_for(100_000_000)


def test_what_moving_the_weights_takes_is_part_of_it():
    budget = RECOVERY["standard"]
    macs = 1_000_000_000
    whole = budget.steps_for(macs)
    assert budget.steps_for(macs, moving=int(PASSES * BATCH * macs)) == whole // 2


def test_without_work_there_are_no_steps():
    assert RECOVERY["instant"].steps_for(1) == 0
