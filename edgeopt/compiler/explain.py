"""What of a file runs in int8. The caller's side; `explaining` is the child's."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edgeopt.compiler.model_info import ask_child
from edgeopt.domain.coverage import Coverage

TIMEOUT_S = 300.0
"""It is loaded three times, each time optimised anew."""


def explain_model(path: Path, *, timeout_s: float = TIMEOUT_S) -> Coverage:
    """Load a file as the runtime would on x86 and on ARM, in a confined child, and say what became of its products.

    Raises:
        ModelError: as `inspect_model`.
    """
    return msgspec.convert(ask_child("explain", path, timeout_s=timeout_s)["coverage"], Coverage)
