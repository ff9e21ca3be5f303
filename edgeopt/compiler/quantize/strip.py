"""Take the quantisers out of a QDQ file, whoever wrote it, and keep what they say. Child side.

What remains is the float network that the file stands for: weights as their codes dequantise, biases as they are. Behind it stand the scales of its
activations and of its weights, for the emitter to write into the places that fuse.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.emit import Scale, scale_for
from edgeopt.compiler.quantize.graph import Array, Graph, attribute, captured
from edgeopt.compiler.refuse import Refused

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"
PRODUCTS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
"""Products with weights in their second place, and the axis of the weights that output channels run along (a Gemm's with transB is 0)."""

SIGNED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sub", "BatchNormalization"})
"""What a quantiser that begins at 0 cuts like Relu. What else can be below 0 keeps its quantiser, or is no Relu's place."""

OTHER_FORMATS = frozenset(
    {"QLinearConv", "QLinearMatMul", "QLinearAdd", "QGemm", "QAttention", "ConvInteger", "MatMulInteger"}
    | {"MatMulIntegerToFloat", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulNBits", "DynamicQuantizeLSTM"}
)
"""Integers without quantisers around them: there is no float network to be had from these."""


@dataclass(kw_only=True)
class Stripped:
    """A float model (float32, every node has a name of its own) and what its quantisers said."""

    model: Any
    scales: dict[str, list[Scale]] = field(default_factory=dict)
    """By tensor: every quantiser that reads it, for codes 0..255."""
    steps: dict[str, Array | None] = field(default_factory=dict)
    """By the name of a product whose weights are quantised: the scale of each output channel, None when they have none."""
    widths: set[int] = field(default_factory=set)
    """Bits of the activations' codes."""


@dataclass(kw_only=True)
class _Constant:
    """A float array that was dequantised: its scales, [1] or along `axis`; None when they run otherwise."""

    value: Array
    scale: Array | None
    axis: int


def strip(model: Any) -> Stripped:
    """Take the quantisers out of a QDQ model (it is not changed).

    Raises:
        Refused: the model has no quantisers, or quantises in a way that leaves no float network.
    """
    other = sorted({node.op_type for node in model.graph.node} & OTHER_FORMATS)
    if other:
        raise Refused(
            "model-unsupported",
            f"its integers are in operators of their own ({', '.join(other[:3])}); export it with QuantizeLinear and DequantizeLinear around float operators (QDQ)",
        )
    own = type(model)()
    own.CopyFrom(model)
    name_nodes(own)
    stripper = _Stripper(Graph(own))
    stripper.walk()
    if not stripper.found.scales:
        raise Refused("nothing-to-do", "no activation in the file is quantised, so it has no ranges to take over")
    return stripper.found


def name_nodes(model: Any) -> None:
    """Give every node of the main graph a name that no other has."""
    taken = {node.name for node in model.graph.node}
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = next(n for i in range(len(taken) + 1) if (n := f"{node.op_type}_{number}_{i}") not in taken)
            taken.add(node.name)
        seen.add(node.name)


class _Stripper:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.found = Stripped(model=graph.model)
        self.alias: dict[str, str] = {}
        self.codes: dict[str, tuple[Array, Array]] = {}
        """By what a quantiser makes: (codes of a constant, or else its zero point; its scale)."""
        self.weights: dict[str, _Constant] = {}
        self.made: dict[str, Any] = {}
        self.nodes: list[Any] = []
        self.read_as_is = {name for name in graph.outputs if name in graph.producer}
        """Tensors that something reads without a quantiser between."""

    def walk(self) -> None:
        for node in self.graph.graph.node:
            copy = type(node)()
            copy.CopyFrom(node)
            for position, name in enumerate(copy.input):
                copy.input[position] = self.alias.get(name, name)
            if not self._taken_out(copy):
                self._keep(copy)
        self.read_as_is -= self.alias.keys()
        self._keep_names()
        del self.graph.graph.value_info[:]
        self.graph.replace_nodes(self.nodes)
        self._saturation_to_relu()
        self.graph.prune()

    def _taken_out(self, node: Any) -> bool:
        """Whether a node is gone: a quantiser, or what moves constants that were dequantised."""
        if node.op_type == QUANTISE:
            return self._quantiser(node)
        if node.op_type == DEQUANTISE:
            return self._dequantiser(node)
        if node.op_type == "Transpose" and node.input[0] in self.weights:
            self._transposed(node)
            return True
        return False

    def _keep(self, node: Any) -> None:
        axis = PRODUCTS.get(node.op_type)
        if axis is not None and len(node.input) > 1 and node.input[1] in self.weights:
            axis = 0 if node.op_type == "Gemm" and attribute(node, "transB", 0) else axis
            self.found.steps[node.name] = _steps(self.weights[node.input[1]], axis)
        self.nodes.append(node)
        self.made.update(dict.fromkeys(node.output, node))
        original = self.graph.producer.get(node.output[0])
        self.read_as_is.update(() if original is None else (*original.input, *captured(node)))

    def _quantiser(self, node: Any) -> bool:
        scale, zero = self._parameters(node)
        value = self.graph.constant(node.input[0])
        kind = zero.dtype
        if value is not None:
            self.codes[node.output[0]] = (_codes(value, scale, zero, int(attribute(node, "axis", 1))), scale)
            return True
        readers = self.graph.consumers.get(node.output[0], [])
        if node.output[0] in self.graph.outputs or any(reader.op_type != DEQUANTISE for reader in readers):
            return False  # integers that something else reads are the model's own business
        if kind.kind not in "iu" or kind.itemsize > 2:
            raise Refused("model-unsupported", f"{node.input[0]} is quantised to {kind}; only 8 and 16 bits are known")
        self.alias[node.output[0]] = node.input[0]
        self.codes[node.output[0]] = (zero, scale)
        self.found.widths.add(8 * kind.itemsize)
        return True

    def _dequantiser(self, node: Any) -> bool:
        scale, zero = self._parameters(node)
        source, axis = node.input[0], int(attribute(node, "axis", 1))
        original = self.graph.producer[node.output[0]].input[0]
        codes = self.graph.constant(source)
        if codes is None and original in self.codes and original not in self.alias:
            codes = self.codes[original][0]
        if codes is not None:
            self._constant(node.output[0], codes, scale, zero, attribute(node, "block_size", 0), axis)
            return True
        if original not in self.alias:
            return False
        inward_zero, inward = self.codes[original]
        if not np.array_equal(np.unique(zero), np.unique(inward_zero)):
            raise Refused("model-unsupported", f"{source} is read with another zero point than it was quantised with")
        tensor = source if _same(inward, scale) else self._rescaled(source, scale / inward, axis)
        self.alias[node.output[0]] = tensor
        self.found.scales.setdefault(tensor, []).append(_scale_of(scale, inward_zero))
        return True

    def _parameters(self, node: Any) -> tuple[Array, Array]:
        """(scale float32, zero point), each with one element or one for each channel."""
        scale = self.graph.constant(node.input[1])
        if scale is None:
            raise Refused("model-unsupported", f"the scale of {node.input[0]} is computed while running")
        zero = self.graph.constant(node.input[2]) if len(node.input) > 2 and node.input[2] else None
        if zero is None:
            zero = np.zeros(1, _codes_type(node))
        return np.asarray(scale, np.float32), zero

    def _constant(self, name: str, codes: Array, scale: Array, zero: Array, block: int, axis: int) -> None:
        along = axis if axis >= 0 else codes.ndim + axis
        value = (codes.astype(np.float32) - _spread(zero.astype(np.float32), codes, along, block)) * _spread(
            scale, codes, along, block
        )
        tensor = self.graph.add_constant(name, value.astype(np.float32))
        self.alias[name] = tensor
        kept = scale.reshape(-1) if scale.size == 1 or scale.ndim == 1 else None
        self.weights[tensor] = _Constant(value=value, scale=kept, axis=along)

    def _transposed(self, node: Any) -> None:
        weight = self.weights[node.input[0]]
        axes = list(attribute(node, "perm", range(weight.value.ndim)[::-1]))
        value = np.ascontiguousarray(weight.value.transpose(axes))
        tensor = self.graph.add_constant(node.output[0], value)
        self.alias[node.output[0]] = tensor
        axis = axes.index(weight.axis) if weight.axis in axes else weight.axis
        self.weights[tensor] = _Constant(value=value, scale=weight.scale, axis=axis)

    def _rescaled(self, tensor: str, factor: Array, axis: int) -> str:
        """The tensor times the ratio of a quantiser's way out and way in: in the weights of the Conv that makes it, or behind it."""
        import onnx

        maker = self.made.get(tensor)
        rank = self.graph.rank(tensor)
        if maker is not None and self._absorbs(maker, tensor, axis):
            for position in range(1, len(maker.input)):
                weight = self.weights[maker.input[position]]
                shaped = factor.reshape(-1, *[1] * (weight.value.ndim - 1))
                name = self.graph.add_constant(maker.input[position], (weight.value * shaped).astype(np.float32))
                scale = None if weight.scale is None else weight.scale * factor.reshape(-1)
                self.weights[name] = _Constant(value=weight.value * shaped, scale=scale, axis=weight.axis)
                maker.input[position] = name
            self.found.steps[maker.name] = _steps(self.weights[maker.input[1]], 0)
            return tensor
        if rank is None and factor.size > 1:
            raise Refused("model-unsupported", f"the number of axes of {tensor} is not known")
        shaped = factor if factor.size == 1 else factor.reshape(-1, *[1] * ((rank or 0) - axis - 1))
        name = self.graph.fresh(tensor)
        ratio = self.graph.add_constant(tensor, shaped.astype(np.float32))
        self._keep(onnx.helper.make_node("Mul", [tensor, ratio], [name], name=name))
        return name

    def _absorbs(self, maker: Any, tensor: str, axis: int) -> bool:
        """Whether all that reads what a Conv makes is this one quantiser, and all its constants were dequantised."""
        readers = self.graph.consumers.get(tensor, [])
        return (
            maker.op_type == "Conv"
            and axis == 1
            and len(readers) == 1
            and tensor not in self.graph.outputs
            and all(name in self.weights for name in maker.input[1:])
        )

    def _keep_names(self) -> None:
        """Outputs that a quantiser made, and names that bodies of control flow read, are made under their names."""
        import onnx

        inside = {name for node in self.nodes for name in captured(node)}
        for name in dict.fromkeys((*self.graph.outputs, *sorted(inside))):
            tensor = self.alias.get(name)
            if tensor is None:
                continue
            if tensor not in self.made or tensor in self.graph.outputs or tensor in inside:
                self.nodes.append(onnx.helper.make_node("Identity", [tensor], [name], name=f"{name}_identity"))
            else:
                self._rename(tensor, name)

    def _rename(self, old: str, new: str) -> None:
        for node in self.nodes:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == old:
                        names[position] = new
        if old in self.found.scales:
            self.found.scales[new] = self.found.scales.pop(old)
        self.alias = {name: new if tensor == old else tensor for name, tensor in self.alias.items()}
        self.made[new] = self.made.pop(old)

    def _saturation_to_relu(self) -> None:
        """A quantiser that begins at 0 behind a product or a sum does Relu's work, so tools leave Relu out: here it is back."""
        import onnx

        nodes: list[Any] = []
        for node in self.graph.graph.node:
            nodes.append(node)
            out = node.output[0]
            if node.op_type in SIGNED and self._is_cut(out):
                linear = self.graph.fresh(out)
                node.output[0] = linear
                nodes.append(onnx.helper.make_node("Relu", [linear], [out], name=linear))
        self.graph.replace_nodes(nodes)

    def _is_cut(self, tensor: str) -> bool:
        """Whether everybody reads a tensor through quantisers that begin at 0."""
        scales = self.found.scales.get(tensor, [])
        return bool(scales) and all((scale.zero == 0).all() for scale in scales) and tensor not in self.read_as_is


def _codes_type(node: Any) -> Any:
    """What a quantiser without a zero point makes (ONNX QuantizeLinear-21: `output_dtype`, else uint8); for DequantizeLinear only its 0 counts."""
    import onnx

    said = int(attribute(node, "output_dtype", 0))
    return onnx.helper.tensor_dtype_to_np_dtype(said) if said else np.uint8


def _steps(weight: _Constant, axis: int) -> Array | None:
    """The scale of each output channel, which run along `axis` of the weights; None when a channel has several."""
    along = axis if axis >= 0 else weight.value.ndim + axis
    if weight.scale is None or (weight.scale.size > 1 and weight.axis != along):
        return None
    return np.broadcast_to(weight.scale, (weight.value.shape[along],))


def _codes(value: Array, scale: Array, zero: Array, axis: int) -> Array:
    """Codes of a constant (ONNX QuantizeLinear: nearest, ties to even, saturated)."""
    limits = np.iinfo(zero.dtype)
    along = axis if axis >= 0 else value.ndim + axis
    codes = np.rint(value / _spread(scale, value, along)) + _spread(zero.astype(np.float32), value, along)
    return np.asarray(np.clip(codes, limits.min, limits.max), zero.dtype)


def _spread(parameter: Array, codes: Array, axis: int, block: int = 0) -> Array:
    """Scales or zero points in a form that broadcasts over the codes: one for all, one for each slice of `axis`, or one for each `block` along it."""
    if parameter.size == 1:
        return parameter.reshape(())
    if block:
        return np.repeat(parameter, block, axis=axis)[tuple(slice(size) for size in codes.shape)]
    return parameter.reshape(-1, *[1] * (codes.ndim - axis - 1))


def _scale_of(scale: Array, zero: Array) -> Scale:
    """In codes 0..255: 8 bits keep their steps, more bits keep their range."""
    limits, flat = np.iinfo(zero.dtype), scale.reshape(-1)
    zeros = np.broadcast_to(zero.astype(np.int32).reshape(-1), flat.shape)
    if zero.dtype.itemsize == 1:
        return Scale(scale=flat, zero=zeros - limits.min)
    return scale_for(flat * (limits.min - zeros.astype(np.float64)), flat * (limits.max - zeros.astype(np.float64)))


def _same(one: Array, other: Array) -> bool:
    return np.array_equal(one.reshape(-1), other.reshape(-1))
