"""Which provider ran which nodes, and with which kernels: read from the profile that ONNX Runtime writes of one inference.

A provider takes only what it supports; the rest runs on the CPU without a word. And a runtime fuses quantised products into integer kernels by rules of its own version.
"""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_BYTES = 64 << 20
_KERNEL = "_kernel_time"


def parse_profile(text: str) -> dict[str, dict[str, int]]:
    """Count the nodes of each provider by the kind of kernel.

    Args:
        text: the profile: a JSON list of events. A node's run is an event of category `Node` whose name ends with `_kernel_time` and whose arguments name the provider and the
            operator. A node that runs several times (in a loop) is one node; so is a part of the graph that a provider has compiled into one.

    Returns:
        {provider: {operator: nodes}}.

    Raises:
        ValueError: it is not JSON, or names no node.
    """
    events = json.loads(text)
    nodes = set(filter(None, map(_node, events if isinstance(events, list) else [])))
    counts: dict[str, dict[str, int]] = {}
    for provider, operator, _ in sorted(nodes):
        kinds = counts.setdefault(provider, {})
        kinds[operator] = kinds.get(operator, 0) + 1
    if not counts:
        raise ValueError("the profile names no node's provider")
    return counts


def _node(event: Any) -> tuple[str, str, str] | None:
    """(provider, operator, name)."""
    if not isinstance(event, dict) or event.get("cat") != "Node" or not str(event.get("name")).endswith(_KERNEL):
        return None
    known = event["args"] if isinstance(event.get("args"), dict) else {}
    provider = known.get("provider")
    return (provider, str(known.get("op_name")), str(event["name"])) if isinstance(provider, str) and provider else None


def of_session(session: Any) -> tuple[dict[str, dict[str, int]] | None, str | None]:
    """End a session's profile, read it and remove it.

    Returns:
        ({provider: {operator: number of nodes}}, None), or (None, why not).
    """
    try:
        path = session.end_profiling()
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                text = stream.read(_MAX_BYTES)
        finally:
            os.unlink(path)
        return parse_profile(text), None
    except Exception as error:  # noqa: BLE001 - a runtime without it, a disk that is full: the outputs are what counts
        return None, f"the runtime's profile could not be read: {type(error).__name__}: {error}"
