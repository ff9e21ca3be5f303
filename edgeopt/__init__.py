"""edgeopt: compressed variants of a network, measured on the board itself, the best one installed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeopt._version import __version__

if TYPE_CHECKING:
    from edgeopt.api import bench, compile, deploy  # noqa: A004 - the command is called so

__all__ = ["__version__", "bench", "compile", "deploy"]


def __getattr__(name: str) -> Any:
    # `import edgeopt` costs nothing; the flows and what they need are imported when they are first used.
    if name in ("bench", "compile", "deploy"):
        from edgeopt import api

        return getattr(api, name)
    msg = f"module 'edgeopt' has no attribute {name!r}"
    raise AttributeError(msg)
