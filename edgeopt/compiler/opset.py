"""A newer version of the standard operators, for steps that need one. Child side."""

from __future__ import annotations

from typing import Any

from edgeopt.compiler.graph_walk import walk_graphs
from edgeopt.compiler.reading import opset_of
from edgeopt.compiler.refuse import Refused


def raised(model: Any, wanted: int, readable: int) -> tuple[Any, str | None]:
    """The model in opset `wanted` or later, and a remark where it had to be converted.

    Raises:
        Refused: step-failed: the board's runtime reads `readable` at most, or the newer version lacks an operator.
    """
    import onnx

    found = opset_of(model)
    if found >= wanted:
        return model, None
    if wanted > readable:
        raise Refused("step-failed", f"it needs opset {wanted}, and the board's runtime reads {readable} at most")
    unknown = sorted(_standard_ops(model) - _ops_of_opset(wanted))
    if unknown:
        names = ", ".join(unknown[:4])
        raise Refused(
            "step-failed", f"it needs opset {wanted}, which does not have all of the model's operators (not: {names})"
        )
    return onnx.version_converter.convert_version(model, wanted), f"converted from opset {found} to {wanted}"


def _standard_ops(model: Any) -> set[str]:
    return {node.op_type for graph, _ in walk_graphs(model) for node in graph.node if node.domain in ("", "ai.onnx")}


def _ops_of_opset(version: int) -> set[str]:
    """Names of the standard operators that a version knows; deprecated ones are gone."""
    import onnx

    return {s.name for s in onnx.defs.get_all_schemas_with_history() if not s.domain and s.since_version <= version}
