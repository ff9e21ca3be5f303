"""What is said of answers that a device could not be asked for."""

from __future__ import annotations

import msgspec

from edgeopt.domain.run import OutputCheck
from edgeopt.report.unchecked import unchecked_lines
from tests.builders import make_run


def test_each_reason_is_said_once_with_its_candidates() -> None:
    checks = (
        OutputCheck(candidate="a@all", fidelity=None, unchecked="the program does not tell"),
        OutputCheck(candidate="b@all", fidelity=None, unchecked="the program does not tell"),
        OutputCheck(candidate="c@all", fidelity=None),
    )
    run = msgspec.structs.replace(make_run(), output_checks=checks)
    assert unchecked_lines(run) == ("a@all, b@all: the program does not tell",)
