"""A network of PyTorch that can be written as ONNX, with what the exporter has to be told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Tensors = dict[str, Any]
"""Inputs by name, in the order of the signature: torch tensors."""


@dataclass(kw_only=True)
class Network:
    """A module and its signature.

    `module` takes the inputs by position and answers one tensor or a tuple of them, in the order of `outputs`.
    `examples` are inputs that it is traced and compared on; the first is traced. `open_axes` names, by input or output, the axes that may have any size.
    """

    module: Any
    examples: list[Tensors]
    outputs: tuple[str, ...]
    open_axes: dict[str, dict[int, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


Reader = Callable[[dict[str, Any]], Network]
"""From a request of the child to a network."""
