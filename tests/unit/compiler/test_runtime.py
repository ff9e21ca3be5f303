"""Sessions as the child opens them."""

from __future__ import annotations

import pytest

from edgeopt.compiler.runtime import open_session
from tests import models


@pytest.mark.parametrize(
    ("key", "value"), [("session.x64quantprecision", "1"), ("session.intra_op.allow_spinning", "0")]
)
def test_answers_do_not_depend_on_the_instructions_of_this_cpu_and_nothing_spins(key: str, value: str) -> None:
    """On a CPU with VNNI nothing else would tell that sums of int8 products may not saturate."""
    options = open_session(models.classifier().SerializeToString()).get_session_options()
    assert options.get_session_config_entry(key) == value
