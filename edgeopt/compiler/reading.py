"""Read an untrusted ONNX file step by step, each step only when the one before has passed; and write one. Child side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeopt.compiler.external_data import external_files
from edgeopt.compiler.graph_walk import check_bounds
from edgeopt.compiler.refuse import Refused, TooLarge, shorten

MAX_GRAPH_BYTES = (2 << 30) - 1
SHAPE_MISSING = "Field 'shape' of 'type' is required but missing"


def read_checked(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The graph without its external data, and the files that those lie in.

    Order matters: our own look at sizes and external data comes before any library resolves a path of the file.

    Raises:
        Refused: model-unreadable, model-too-large, model-unconfined, model-invalid.
    """
    model = parse(path)
    check_bounds(model)
    files = external_files(model, path.parent, path.name)
    check_valid(model, path if files else None)
    return model, files


def parse(path: Path) -> Any:
    """Decode the protobuf. External data is not touched.

    Raises:
        Refused: model-unreadable.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(path.read_bytes())
    except (DecodeError, RuntimeError, ValueError) as error:
        if "MaxDepth" in str(error):
            raise Refused("model-too-large", "its graphs are nested too deeply to be read") from error
        raise Refused("model-unreadable", "it is not an ONNX file, or was cut short") from error
    if not model.HasField("graph") or model.ir_version < 1:
        raise Refused("model-unreadable", "it is not an ONNX file: there is no graph in it")
    return model


def check_valid(model: Any, path: Path | None) -> None:
    """Ask onnx's checker. Shapes that are only left unsaid (many exporters do) are no fault.

    Args:
        model: as parsed.
        path: of the file when it has external data, which the checker finds only from a path.

    Raises:
        Refused: model-invalid with the checker's words.
    """
    words = _objection(model if path is None else str(path))
    if words and SHAPE_MISSING in words:
        words = _objection(_with_shapes(model))
    if words:
        raise Refused("model-invalid", f"onnx's checker refuses it: {words}")


def _objection(subject: Any) -> str | None:
    import onnx

    try:
        onnx.checker.check_model(subject)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        return shorten(str(error))
    return None


def _with_shapes(model: Any) -> Any:
    """A copy in which inputs and outputs of unsaid shape have an empty one: the checker only asks that the field is there.

    External data does not matter here (its own check has passed), so such tensors are dropped to keep the copy from being resolved.
    """
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in (*copy.graph.input, *copy.graph.output, *copy.graph.value_info):
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    return copy


def opset_of(model: Any) -> int:
    """Version of the standard operators. Files older than IR 3 name none, which means 1."""
    return next((int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)


def serialise(model: Any) -> bytes:
    """The file's bytes, the same for equal models.

    Raises:
        TooLarge: more than protobuf can hold.
    """
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise TooLarge("the result is larger than 2 GiB") from error
    if len(data) > MAX_GRAPH_BYTES:
        raise TooLarge("the result is larger than 2 GiB")
    return data
