"""What the command line makes of options with a form of their own."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from edgeopt.cli.options import GOAL_KEYS, given, goal_options


@click.command()
@goal_options
def command(**values: Any) -> None:
    click.echo(repr(given(values, GOAL_KEYS)))


@pytest.mark.parametrize(
    ("arguments", "goal"),
    [
        ([], {}),
        (["--then", "size", "--then", "memory"], {"then": ("size", "memory")}),
        (["--weights", "latency=0.7, memory=0.3"], {"weights": {"latency": 0.7, "memory": 0.3}}),
    ],
)
def test_goals_of_several_quantities_are_read(arguments: list[str], goal: dict[str, Any]) -> None:
    assert CliRunner().invoke(command, arguments).output.strip() == repr(goal)


@pytest.mark.parametrize("text", ["", "speed=1", "latency", "latency=0", "latency=nan", "latency=inf", "latency=x"])
def test_weights_that_make_no_sense_are_refused(text: str) -> None:
    found = CliRunner().invoke(command, ["--weights", text])
    assert found.exit_code == 2
    assert "allowed: latency, energy, memory, size" in found.output
