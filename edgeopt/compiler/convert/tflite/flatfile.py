"""A TFLite file in the making: tensors, constants and operators of one graph, by the schema that LiteRT ships (tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.convert.tflite.network import Array, Quant
from edgeopt.compiler.refuse import Refused

SCHEMA_VERSION = 3
IDENTIFIER = b"TFL3"
ALIGNMENT = 16
"""The schema's `force_align` of constants, which Python's packer does not heed."""

LAST_OLD_CODE = 127
"""`PLACEHOLDER_FOR_GREATER_OP_CODES`: what stands in the field of one byte for operators beyond it."""

SIGNATURE = "serving_default"
"""What converters call a graph's only signature."""

OPTIONS = {
    "ABS": "Abs", "ADD": "Add", "ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin", "AVERAGE_POOL_2D": "Pool2D", "BATCH_MATMUL": "BatchMatMul",
    "BROADCAST_TO": "BroadcastTo", "CAST": "Cast", "CONCATENATION": "Concatenation", "CONV_2D": "Conv2D", "COS": "Cos",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D", "DEPTH_TO_SPACE": "DepthToSpace", "DEQUANTIZE": "Dequantize", "DIV": "Div", "EQUAL": "Equal",
    "EXP": "Exp", "FULLY_CONNECTED": "FullyConnected", "GATHER": "Gather", "GELU": "Gelu", "GREATER": "Greater",
    "GREATER_EQUAL": "GreaterEqual", "HARD_SWISH": "HardSwish", "LEAKY_RELU": "LeakyRelu", "LESS": "Less", "LESS_EQUAL": "LessEqual",
    "LOCAL_RESPONSE_NORMALIZATION": "LocalResponseNormalization", "LOGICAL_AND": "LogicalAnd", "LOGICAL_NOT": "LogicalNot",
    "LOGICAL_OR": "LogicalOr", "LOG_SOFTMAX": "LogSoftmax", "MAXIMUM": "MaximumMinimum", "MAX_POOL_2D": "Pool2D", "MEAN": "Reducer",
    "MINIMUM": "MaximumMinimum", "MIRROR_PAD": "MirrorPad", "MUL": "Mul", "NEG": "Neg", "NOT_EQUAL": "NotEqual", "PAD": "Pad",
    "PADV2": "PadV2", "POW": "Pow", "QUANTIZE": "Quantize", "REDUCE_MAX": "Reducer", "REDUCE_MIN": "Reducer", "REDUCE_PROD": "Reducer",
    "RESHAPE": "Reshape", "RESIZE_BILINEAR": "ResizeBilinear", "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor", "SELECT_V2": "SelectV2",
    "SIGN": "Sign", "SLICE": "Slice", "SOFTMAX": "Softmax", "SPACE_TO_DEPTH": "SpaceToDepth", "SPLIT": "Split", "SQUARE": "Square",
    "SQUARED_DIFFERENCE": "SquaredDifference", "STRIDED_SLICE": "StridedSlice", "SUB": "Sub", "SUM": "Reducer", "TILE": "Tile",
    "TRANSPOSE": "Transpose", "TRANSPOSE_CONV": "TransposeConv",
}  # fmt: skip
"""Whose options an operator takes, where it takes any."""

INT8_VERSIONS = {
    "BROADCAST_TO": 3,
    "ADD": 2, "AVERAGE_POOL_2D": 2, "BATCH_MATMUL": 2, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "DEPTH_TO_SPACE": 2,
    "DEQUANTIZE": 2, "FULLY_CONNECTED": 4, "GATHER": 2, "LEAKY_RELU": 2, "LOGISTIC": 2, "MAXIMUM": 2, "MAX_POOL_2D": 2, "MEAN": 2,
    "MINIMUM": 2, "MUL": 2, "PAD": 2, "PADV2": 2, "QUANTIZE": 2, "RELU": 2, "RELU6": 2, "RESIZE_BILINEAR": 2,
    "RESIZE_NEAREST_NEIGHBOR": 2, "SLICE": 2, "SOFTMAX": 2, "SPACE_TO_DEPTH": 2, "SPLIT": 2, "STRIDED_SLICE": 2, "SUB": 2, "SUM": 2,
    "TANH": 2, "TRANSPOSE": 2, "TRANSPOSE_CONV": 2,
}  # fmt: skip
"""The first version of an operator that takes int8; others are written as version 1 (tensorflow/compiler/mlir/lite/tools/versioning/op_version.cc)."""

HYBRID_VERSIONS = {"CONV_2D": 5, "FULLY_CONNECTED": 12}
"""Float data by int8 weights, with a scale for each output channel."""

VERSIONS = {"BROADCAST_TO": 2}
"""Operators that begin later."""

DTYPES = {
    "float32": "FLOAT32",
    "float16": "FLOAT16",
    "float64": "FLOAT64",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
"""The schema's names of numpy's dtypes."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """An operator as it will be written."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


class FlatFile:
    """Tensors are numbered as they come; operators run in the order in which they come."""

    def __init__(self) -> None:
        from ai_edge_litert import schema_py_generated as schema

        self.schema: Any = schema
        self.tensors: list[Any] = []
        self.operators: list[Made] = []
        self.makers: dict[int, Made] = {}
        self._types: list[tuple[str, Quant | None]] = []
        self._data: list[bytes] = [b""]
        self._shared: dict[tuple[Any, ...], int] = {}

    def tensor(
        self, name: str, shape: Sequence[int], dtype: str, quant: Quant | None = None, *, buffer: int = 0
    ) -> int:
        """A tensor that an operator will make, or that is an input; its number."""
        if dtype not in DTYPES:
            raise Refused("step-failed", f"TFLite has no numbers of the type {dtype}, which {name[:80]!r} is of")
        made = self.schema.TensorT()
        made.name, made.shape, made.buffer, made.hasRank = name, [int(axis) for axis in shape], buffer, True
        made.type = getattr(self.schema.TensorType, DTYPES[dtype])
        if quant is not None:
            made.quantization = self._quantization(quant)
        self.tensors.append(made)
        self._types.append((dtype, quant))
        return len(self.tensors) - 1

    def constant(self, name: str, value: Array, quant: Quant | None = None) -> int:
        """A tensor that is in the file; equal ones without scales are kept once."""
        data = np.ascontiguousarray(value).tobytes()
        key = (str(value.dtype), value.shape, data) if quant is None else ()
        if key and key in self._shared:
            return self._shared[key]
        self._data.append(data)
        made = self.tensor(name, value.shape, str(value.dtype), quant, buffer=len(self._data) - 1)
        if key:
            self._shared[key] = made
        return made

    def operator(self, kind: str, inputs: Sequence[int], outputs: Sequence[int], options: Mapping[str, Any]) -> None:
        """One more operator, by the schema's name; `options` by the schema's names of its fields."""
        made = Made(kind=kind, inputs=tuple(inputs), outputs=tuple(outputs), options=dict(options))
        self.operators.append(made)
        self.makers.update(dict.fromkeys(outputs, made))

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Axes in the order in which they lie in memory."""
        return tuple(self.tensors[tensor].shape)

    def dtype(self, tensor: int) -> str:
        """Of a tensor, by numpy's name."""
        return self._types[tensor][0]

    def quant(self, tensor: int) -> Quant | None:
        """The quantiser of an int8 tensor."""
        return self._types[tensor][1]

    def data(self, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> bytes:
        """The file; names and numbers of the graph's inputs and outputs in their order. What no output needs is left out."""
        import flatbuffers

        operators = self._needed(outputs.values())
        kept = sorted(
            {n for made in operators for n in (*made.inputs, *made.outputs) if n >= 0}
            | {*inputs.values(), *outputs.values()}
        )
        place = {number: position for position, number in enumerate(kept)} | {-1: -1}
        self._name(kept, inputs, outputs)
        model = self._model(operators, kept, place, inputs, outputs)
        builder = flatbuffers.Builder(sum(map(len, self._data)) + (1 << 16))
        builder.Finish(model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def _name(self, kept: list[int], inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """The border's names, and for every other tensor one that no other has: tools tell them apart by that."""
        border = {number: name for side in (outputs, inputs) for name, number in side.items()}
        taken = set(border.values())
        for number in kept:
            name = wanted = border.get(number, self.tensors[number].name)
            count = 0
            while number not in border and name in taken:
                count += 1
                name = f"{wanted}#{count}"
            taken.add(name)
            self.tensors[number].name = name

    def _needed(self, outputs: Any) -> list[Made]:
        wanted, kept = set(outputs), []
        for made in reversed(self.operators):
            if wanted & set(made.outputs):
                kept.append(made)
                wanted.update(made.inputs)
        return kept[::-1]

    def _model(
        self,
        operators: list[Made],
        kept: list[int],
        place: dict[int, int],
        inputs: Mapping[str, int],
        outputs: Mapping[str, int],
    ) -> Any:
        schema = self.schema
        model, graph = schema.ModelT(), schema.SubGraphT()
        codes: dict[tuple[str, int], int] = {}
        graph.operators = [self._operator(made, place, codes) for made in operators]
        graph.tensors, buffers = [], {0: 0}
        for number in kept:
            tensor = self.tensors[number]
            buffers.setdefault(tensor.buffer, len(buffers))
            tensor.buffer = buffers[tensor.buffer]
            graph.tensors.append(tensor)
        graph.inputs, graph.outputs, graph.name = (
            [place[n] for n in inputs.values()],
            [place[n] for n in outputs.values()],
            "main",
        )
        model.version, model.description, model.subgraphs = SCHEMA_VERSION, "edgeopt", [graph]
        model.operatorCodes = [self._code(*key) for key in codes]
        model.buffers = [_Buffer(self._data[old]) for old in buffers]
        model.signatureDefs = [self._signature(place, inputs, outputs)]
        return model

    def _operator(self, made: Made, place: dict[int, int], codes: dict[tuple[str, int], int]) -> Any:
        schema, operator = self.schema, self.schema.OperatorT()
        key = (made.kind, self._version(made))
        operator.opcodeIndex = codes.setdefault(key, len(codes))
        operator.inputs, operator.outputs = [place[n] for n in made.inputs], [place[n] for n in made.outputs]
        if made.kind in OPTIONS:
            name = f"{OPTIONS[made.kind]}Options"
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
            operator.builtinOptions = getattr(schema, f"{name}T")()
            for field, value in made.options.items():
                setattr(operator.builtinOptions, field, value)
        return operator

    def _version(self, made: Made) -> int:
        types = [self.dtype(number) for number in (*made.inputs, *made.outputs) if number >= 0]
        if "int8" not in types:
            return VERSIONS.get(made.kind, 1)
        if types[0] == "float32" and made.kind in HYBRID_VERSIONS:
            return HYBRID_VERSIONS[made.kind]
        return INT8_VERSIONS.get(made.kind, 1)

    def _code(self, kind: str, version: int) -> Any:
        code, number = self.schema.OperatorCodeT(), getattr(self.schema.BuiltinOperator, kind)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, LAST_OLD_CODE), version
        return code

    def _quantization(self, quant: Quant) -> Any:
        made = self.schema.QuantizationParametersT()
        made.scale, made.zeroPoint = np.float32(quant.scale), np.int64(quant.zero)
        made.quantizedDimension = quant.axis
        return made

    def _signature(self, place: dict[int, int], inputs: Mapping[str, int], outputs: Mapping[str, int]) -> Any:
        signature = self.schema.SignatureDefT()
        signature.signatureKey = SIGNATURE
        signature.inputs, signature.outputs = (
            [self._named(name, place[n]) for name, n in side.items()] for side in (inputs, outputs)
        )
        return signature

    def _named(self, name: str, number: int) -> Any:
        named = self.schema.TensorMapT()
        named.name, named.tensorIndex = name, number
        return named


class _Buffer:
    """Packs itself as a `Buffer`, its data where the schema wants it."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def Pack(self, builder: Any) -> Any:  # noqa: N802 - the packer calls it so
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self.data:
            size = len(self.data)
            builder.StartVector(1, size, ALIGNMENT)
            builder.head -= size
            builder.Bytes[builder.head : builder.head + size] = self.data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return schema.BufferEnd(builder)
