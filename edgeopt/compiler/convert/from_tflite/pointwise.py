"""Operators that work value by value, and matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from edgeopt.compiler.convert.from_tflite.importing import Import, Importing
from edgeopt.compiler.convert.from_tflite.lite import LiteOperator
from edgeopt.compiler.convert.tflite.orders import plain

UNARY = {
    "ABS": "Abs", "CEIL": "Ceil", "COS": "Cos", "ELU": "Elu", "EXP": "Exp", "FLOOR": "Floor", "HARD_SWISH": "HardSwish", "LOG": "Log",
    "LOGICAL_NOT": "Not", "LOGISTIC": "Sigmoid", "NEG": "Neg", "RELU": "Relu", "ROUND": "Round", "SIGN": "Sign", "SIN": "Sin", "SQRT": "Sqrt",
    "TANH": "Tanh",
}  # fmt: skip

BINARY = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "POW": "Pow", "MAXIMUM": "Max", "MINIMUM": "Min", "EQUAL": "Equal",
    "GREATER": "Greater", "GREATER_EQUAL": "GreaterOrEqual", "LESS": "Less", "LESS_EQUAL": "LessOrEqual", "LOGICAL_AND": "And",
    "LOGICAL_OR": "Or",
}  # fmt: skip

MOVED = frozenset({"MAXIMUM", "MINIMUM", "ABS"})

CLIPS = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0), "RELU_0_TO_1": (0.0, 1.0)}


def unary(importing: Importing, operator: LiteOperator) -> None:
    """One operand, one answer of its shape."""
    _one(importing, operator, UNARY[operator.kind])


def _one(importing: Importing, operator: LiteOperator, kind: str, **attributes: float) -> None:
    source = operator.inputs[0]
    importing.answer(
        operator, importing.order(source), importing.node(kind, [importing.read(source)], **attributes), computed=False
    )


def leaky(importing: Importing, operator: LiteOperator) -> None:
    """A slope under 0."""
    _one(importing, operator, "LeakyRelu", alpha=float(operator.options["alpha"]))


def clipped(importing: Importing, operator: LiteOperator) -> None:
    """Between fixed bounds."""
    source = operator.inputs[0]
    made = importing.clip(importing.read(source), *CLIPS[operator.kind])
    importing.answer(operator, importing.order(source), made, computed=False)


def squared(importing: Importing, operator: LiteOperator) -> None:
    """Times itself; one over its root."""
    source = operator.inputs[0]
    name = importing.read(source)
    if operator.kind == "SQUARE":
        made = importing.node("Mul", [name, name])
    else:
        made = importing.node("Reciprocal", [importing.node("Sqrt", [name])])
    importing.answer(operator, importing.order(source), made)


def binary(importing: Importing, operator: LiteOperator) -> None:
    """Two operands, stretched to each other."""
    order = importing.common_order(operator.inputs, importing.rank(operator.outputs[0]))
    operands = [importing.read_as(number, len(order), order) for number in operator.inputs]
    if operator.kind == "SQUARED_DIFFERENCE":
        apart = importing.node("Sub", operands)
        made = importing.node("Mul", [apart, apart])
    else:
        made = importing.node(BINARY[operator.kind], operands)
    importing.answer(operator, order, made, computed=operator.kind not in MOVED)


def floored(importing: Importing, operator: LiteOperator) -> None:
    """FLOOR_DIV and FLOOR_MOD."""
    whole = np.dtype(importing.tensor(operator.outputs[0]).real_dtype).kind in "iu"
    order = importing.common_order(operator.inputs, importing.rank(operator.outputs[0]))
    one, other = (importing.read_as(number, len(order), order) for number in operator.inputs)
    rest = importing.node("Mod", [one, other], fmod=0) if whole else None
    if operator.kind == "FLOOR_MOD":
        ratio = rest or importing.node("Floor", [importing.node("Div", [one, other])])
        made = rest or importing.node("Sub", [one, importing.node("Mul", [ratio, other])])
    elif rest is not None:
        # ONNX's division of whole numbers cuts towards 0; without the rest nothing is cut.
        made = importing.node("Div", [importing.node("Sub", [one, rest]), other])
    else:
        made = importing.node("Floor", [importing.node("Div", [one, other])])
    importing.answer(operator, order, made)


def prelu(importing: Importing, operator: LiteOperator) -> None:
    """A slope for each channel."""
    source, slope = operator.inputs
    order = importing.order(source)
    made = importing.node("PRelu", [importing.read(source), importing.read_as(slope, len(order), order)])
    importing.answer(operator, order, made, computed=False)


def same(importing: Importing, operator: LiteOperator) -> None:
    """QUANTIZE and DEQUANTIZE: the same real numbers. Weights in float16 are widened."""
    source, target = operator.inputs[0], operator.outputs[0]
    tensor, dtype = importing.tensor(source), importing.tensor(target).real_dtype
    if source not in importing.forms and tensor.real is not None:
        importing.put(target, plain(importing.rank(source)), importing.constant(tensor.real.astype(dtype)))
        return
    made = importing.read(source)
    if tensor.real_dtype != dtype:
        made = _cast(importing, made, dtype)
    importing.put(target, importing.order(source), made)


def cast(importing: Importing, operator: LiteOperator) -> None:
    """Another type. What is quantised is cast as codes, which a float graph does not have."""
    source, target = operator.inputs[0], operator.outputs[0]
    if importing.tensor(source).quant is not None or importing.tensor(target).quant is not None:
        raise operator.refuse("it takes codes as numbers")
    made = _cast(importing, importing.read(source), importing.tensor(target).dtype)
    importing.put(target, importing.order(source), made)


def _cast(importing: Importing, name: str, dtype: str) -> str:
    return importing.node("Cast", [name], to=importing.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def dense(importing: Importing, operator: LiteOperator) -> None:
    """FULLY_CONNECTED: rows by a matrix [O, K]; axes before the last are rows."""
    source, weight, target = operator.inputs[0], operator.inputs[1], operator.outputs[0]
    if operator.options.get("weightsFormat"):
        raise operator.refuse("its weights are shuffled")
    columns = importing.shape(weight)[-1]
    rows = int(np.prod(importing.shape(source))) // columns
    data = importing.read(source, plain(importing.rank(source)))
    if importing.rank(source) != 2:
        data = importing.reshape(data, (rows, columns))
    inputs = [data, importing.read(weight, plain(2))]
    if len(operator.inputs) > 2 and operator.inputs[2] >= 0:
        inputs.append(importing.constant(importing.value(operator, 2).astype(np.float32)))
    made = importing.node("Gemm", inputs, transB=1)
    if importing.rank(target) != 2:
        made = importing.reshape(made, importing.shape(target))
    importing.answer(operator, plain(importing.rank(target)), made)


def products(importing: Importing, operator: LiteOperator) -> None:
    """BATCH_MATMUL, either factor turned round."""
    names = []
    for number, turned in zip(operator.inputs, ("adjX", "adjY"), strict=True):
        rank = importing.rank(number)
        order = (*range(rank - 2), rank - 1, rank - 2) if operator.options.get(turned) else plain(rank)
        names.append(importing.read(number, order))
    importing.answer(operator, plain(importing.rank(operator.outputs[0])), importing.node("MatMul", names))


def choice(importing: Importing, operator: LiteOperator) -> None:
    """SELECT_V2."""
    order = importing.common_order(operator.inputs, importing.rank(operator.outputs[0]))
    operands = [importing.read_as(number, len(order), order) for number in operator.inputs]
    importing.answer(operator, order, importing.node("Where", operands), computed=False)


TABLE: Mapping[str, Import] = MappingProxyType(
    dict.fromkeys(UNARY, unary)
    | dict.fromkeys((*BINARY, "SQUARED_DIFFERENCE"), binary)
    | dict.fromkeys(CLIPS, clipped)
    | dict.fromkeys(("SQUARE", "RSQRT"), squared)
    | dict.fromkeys(("QUANTIZE", "DEQUANTIZE"), same)
    | {
        "FLOOR_DIV": floored,
        "FLOOR_MOD": floored,
        "LEAKY_RELU": leaky,
        "PRELU": prelu,
        "CAST": cast,
        "FULLY_CONNECTED": dense,
        "BATCH_MATMUL": products,
        "SELECT_V2": choice,
    }
)
