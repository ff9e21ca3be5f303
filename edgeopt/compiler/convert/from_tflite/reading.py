"""Read an untrusted .tflite file: by its schema with bounds of our own, and what LiteRT makes of its shapes. Child side: what crashes the library ends here."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.convert.from_tflite.lite import LiteModel, LiteOperator, LiteTensor
from edgeopt.compiler.convert.tflite.flatfile import DTYPES
from edgeopt.compiler.convert.tflite.network import Array, Quant
from edgeopt.compiler.graph_walk import MAX_NAME_BYTES, MAX_NODES, MAX_TENSORS
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten

MAGIC = b"TFL3"
"""At the fifth byte of every file."""

MAX_AXES = 8
_DAMAGED = (
    struct.error,
    IndexError,
    ValueError,
    TypeError,
    AttributeError,
    UnicodeDecodeError,
    OverflowError,
    KeyError,
    AssertionError,
)
"""What Python's reader of FlatBuffers raises on offsets that lead nowhere."""


def is_tflite(path: Path) -> bool:
    """By the file's own mark."""
    with path.open("rb") as stream:
        return stream.read(8)[4:8] == MAGIC


def open_interpreter(path: Path) -> Any:
    """LiteRT on its own kernels, so that every tensor can be asked for.

    Raises:
        Refused: step-failed: LiteRT is not here; model-unsupported with its words.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as error:
        raise Refused(
            "model-unsupported",
            "it is a TensorFlow Lite file, and LiteRT is not installed here: pip install 'edgeopt[tflite]'",
        ) from error
    try:
        plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain, num_threads=2)
        interpreter.allocate_tensors()
        for each in interpreter.get_input_details():
            interpreter.set_tensor(each["index"], np.zeros(each["shape"], each["dtype"]))
        # Sizes that depend on values are known only behind an inference.
        interpreter.invoke()
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unsupported", f"LiteRT refuses it: {shorten(str(error))}") from error
    return interpreter


def read_tflite(path: Path, interpreter: Any) -> LiteModel:
    """The file as plain data, its tensors with the sizes that they have behind an inference.

    Raises:
        Refused: model-unreadable, model-too-large, model-unsupported (several graphs, texts, types without numbers).
    """
    data = path.read_bytes()
    try:
        model = _parsed(data)
        shapes = {
            int(each["index"]): tuple(int(axis) for axis in each["shape"]) for each in interpreter.get_tensor_details()
        }
        return _model(model, data, shapes)
    except _DAMAGED as error:
        raise Refused("model-unreadable", "it is not a TensorFlow Lite file, or was cut short") from error


def _parsed(data: bytes) -> Any:
    """The tables. Counts are looked at before anything is made of them.

    Raises:
        Refused: as `read_tflite`.
    """
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(data, 0)
    if data[4:8] != MAGIC or root.SubgraphsLength() < 1:
        raise Refused("model-unreadable", "it is not a TensorFlow Lite file: there is no graph in it")
    if root.SubgraphsLength() > 1:
        raise Refused("model-unsupported", "it has several graphs (control flow), which can be run but not rebuilt")
    graph = root.Subgraphs(0)
    counts = (
        (graph.OperatorsLength(), MAX_NODES, "operators"),
        (graph.TensorsLength(), MAX_TENSORS, "tensors"),
        (root.BuffersLength(), MAX_TENSORS, "buffers"),
    )
    for found, most, what in counts:
        if found > most:
            raise Refused("model-too-large", f"it has {found:,} {what}, and {most:,} is the most that is read")
    return schema.ModelT.InitFromObj(root)


def _model(model: Any, data: bytes, shapes: dict[int, tuple[int, ...]]) -> LiteModel:
    graph = model.subgraphs[0]
    tensors = tuple(_tensor(model, data, tensor, shapes[number]) for number, tensor in enumerate(graph.tensors))
    operators = tuple(_operator(model, operator) for operator in graph.operators or ())
    return LiteModel(
        tensors=tensors, operators=operators, inputs=_numbers(graph.inputs), outputs=_numbers(graph.outputs)
    )


def _numbers(values: Any) -> tuple[int, ...]:
    return tuple(int(value) for value in (() if values is None else values))


def _tensor(model: Any, data: bytes, tensor: Any, shape: tuple[int, ...]) -> LiteTensor:
    from ai_edge_litert import schema_py_generated as schema

    kinds = {getattr(schema.TensorType, name): dtype for dtype, name in DTYPES.items()}
    if tensor.type not in kinds:
        names = {value: key for key, value in vars(schema.TensorType).items() if isinstance(value, int)}
        raise Refused(
            "model-unsupported",
            f"it computes on {names.get(tensor.type, 'an unknown type').lower()}, which can be run but not rebuilt",
        )
    # Names of tensors in the middle may be as long as all layers that were fused into one.
    name = (tensor.name or b"").decode(errors="replace")[:MAX_NAME_BYTES]
    if len(shape) > MAX_AXES or tensor.sparsity is not None:
        raise Refused("model-unsupported", f"its tensor {name[:80]!r} is sparse, or has more than {MAX_AXES} axes")
    return LiteTensor(
        name=name,
        shape=shape,
        dtype=kinds[tensor.type],
        quant=_quant(tensor.quantization),
        data=_data(model, data, tensor, kinds[tensor.type], shape),
    )


def _data(model: Any, data: bytes, tensor: Any, dtype: str, shape: tuple[int, ...]) -> Array | None:
    """A constant's numbers; they lie in the buffer, or behind the tables in files of over 2 GiB."""
    buffer = model.buffers[tensor.buffer]
    raw = (
        buffer.data
        if buffer.data is not None and len(buffer.data)
        else data[buffer.offset : buffer.offset + buffer.size]
        if buffer.offset > 1
        else b""
    )
    if tensor.buffer == 0 or not len(raw):
        return None
    return np.frombuffer(bytes(raw), np.dtype(dtype)).reshape(shape)


def _quant(described: Any) -> Quant | None:
    if described is None or described.scale is None or not len(described.scale):
        return None
    scale = np.asarray(described.scale, np.float32)
    zero = np.asarray(described.zeroPoint if described.zeroPoint is not None else [0], np.int64)
    return Quant(scale=scale, zero=np.array(np.broadcast_to(zero, scale.shape)), axis=int(described.quantizedDimension))


def _operator(model: Any, operator: Any) -> LiteOperator:
    from ai_edge_litert import schema_py_generated as schema

    code = model.operatorCodes[operator.opcodeIndex]
    # Files from before 2020 have their number in the old field alone (tensorflow/compiler/mlir/lite/schema/schema_utils.cc).
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    names = {value: key for key, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}
    if number not in names:
        raise Refused(
            "model-unsupported", f"it has an operator of number {number}, which this version of LiteRT does not know"
        )
    options = {} if operator.builtinOptions is None else dict(vars(operator.builtinOptions))
    return LiteOperator(
        kind=names[number], inputs=_numbers(operator.inputs), outputs=_numbers(operator.outputs), options=options
    )
