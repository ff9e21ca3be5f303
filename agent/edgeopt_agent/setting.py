"""How a model is run: which settings there are, and the one part of them that is the operating system's rather than the runtime's: the cores."""

from __future__ import annotations

import os

from edgeopt_agent.arguments import is_name
from edgeopt_agent.runtimes import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FIELDS = ("runtime", "provider", "threads", "affinity", "spinning", "arena", "precision")
"""All that a setting may say. The first three are always there; releases made before the others existed stay valid."""
_MAX_CORES = 4096
PRECISIONS = ("fp32", "fp16", "bf16")
"""What floating point is computed in, where a runtime leaves the choice."""


def setting_problem(setting: object) -> str | None:
    """Say what is wrong with a setting, or None."""
    if not isinstance(setting, dict) or setting.get("runtime") not in TABLE:
        return "setting: no runtime of " + ", ".join(TABLE)
    if not is_name(setting.get("provider")):
        return "setting: no provider"
    if not _is_number(setting.get("threads"), _MAX_CORES):
        return f"setting: threads is not a number from 0 to {_MAX_CORES}"
    for field in ("spinning", "arena"):
        if not isinstance(setting.get(field), (bool, type(None))):
            return f"setting: {field} is neither true, false nor null"
    if setting.get("precision") not in (*PRECISIONS, None):
        return "setting: precision is none of " + ", ".join(PRECISIONS)
    return _affinity_problem(setting.get("affinity", []))


def _affinity_problem(cores: object) -> str | None:
    if not isinstance(cores, list) or not all(_is_number(core, _MAX_CORES - 1) for core in cores):
        return f"setting: affinity is not a list of core numbers from 0 to {_MAX_CORES - 1}"
    return "setting: affinity names a core twice" if len(set(cores)) != len(cores) else None


def _is_number(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def pin(cores: list[int]) -> None:
    """Keep this thread, and those it starts from now on, on these cores; an empty list changes nothing.

    Raises:
        ValueError: one of them is not there for this process. The kernel would quietly take the others.
    """
    if not cores:
        return
    wanted = set(cores)
    usable = os.sched_getaffinity(0)
    missing = sorted(wanted - usable)
    if missing:
        raise ValueError(
            f"affinity: this process may not use core {', '.join(map(str, missing))}, only {', '.join(map(str, sorted(usable)))}"
        )
    os.sched_setaffinity(0, wanted)


def of(values: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a checked setting that there are."""
    return {field: values[field] for field in FIELDS if field in values}
