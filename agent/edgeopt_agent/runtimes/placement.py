"""Which provider ran which nodes: read from the profile that ONNX Runtime writes of one inference. A provider takes only what it supports; the rest runs on the CPU without a word."""

from __future__ import annotations

import json
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_BYTES = 64 << 20
_KERNEL = "_kernel_time"


def parse_profile(text: str) -> dict[str, int]:
    """Count the nodes of each provider.

    Args:
        text: the profile: a JSON list of events. A node's run is an event of category `Node` whose name ends with `_kernel_time` and whose arguments name the provider. A node
            that runs several times (in a loop) is one node; so is a part of the graph that a provider has compiled into one.

    Raises:
        ValueError: it is not JSON, or names no node.
    """
    events = json.loads(text)
    listed = events if isinstance(events, list) else []
    nodes = {(_provider(event), str(event["name"])) for event in listed if _provider(event) is not None}
    counts: dict[str, int] = {}
    for provider, _ in nodes:
        if provider is not None:
            counts[provider] = counts.get(provider, 0) + 1
    if not counts:
        raise ValueError("the profile names no node's provider")
    return dict(sorted(counts.items()))


def _provider(event: Any) -> str | None:
    if not isinstance(event, dict) or event.get("cat") != "Node" or not str(event.get("name")).endswith(_KERNEL):
        return None
    found = event["args"].get("provider") if isinstance(event.get("args"), dict) else None
    return found if isinstance(found, str) and found else None


def of_session(session: Any) -> tuple[dict[str, int] | None, str | None]:
    """End a session's profile, read it and remove it.

    Returns:
        ({provider: number of nodes}, None), or (None, why not).
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
