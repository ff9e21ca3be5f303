"""Write the QDQ graph: scales, codes and zero points into the places that the placement names. Child side.

What differs between encodings that share scales (u8s8, s8s8, u8u8) is where codes are counted from; the rest of an encoding is decided before calibration.
Weights are symmetric, one scale for each output channel; biases are int32 in units of input scale times weight scale (ONNX QuantizeLinear; the
runtime adds them to the integer sums), or float where the encoding says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from edgeopt.compiler.quantize.encoding import U8S8, Encoding
from edgeopt.compiler.quantize.graph import Array, Graph, captured
from edgeopt.compiler.quantize.layers import Activation, Layer
from edgeopt.compiler.quantize.placement import Placement
from edgeopt.compiler.quantize.pools import pooled_first

LEVELS = 255
MIDDLE = 128
WIDE_OPSET = 21
"""QuantizeLinear takes 16 bits since opset 21; before, ONNX Runtime has an operator of its own."""

BIAS_LIMIT = 1 << 30
"""A bias is kept under half of int32's range, so that the sum of products has room."""


@dataclass(kw_only=True)
class Scale:
    """An activation quantiser: real = scale * (code - zero), codes 0..255 (0..65535). Arrays of one element, or one for each channel of a head."""

    scale: Array
    zero: Array


@dataclass(kw_only=True)
class Network:
    """A float graph and everything that int8 adds to it. `codes` and `weight_scales` by layer name, `scales` by group."""

    graph: Graph
    layers: list[Layer]
    placement: Placement
    scales: dict[str, Scale] = field(default_factory=dict)
    codes: dict[str, Array] = field(default_factory=dict)
    weight_scales: dict[str, Array] = field(default_factory=dict)

    def scale_of(self, tensor: str) -> Scale:
        """The quantiser of a tensor."""
        return self.scales[self.placement.group[tensor]]


def scale_for(low: Array | float, high: Array | float, encoding: Encoding = U8S8) -> Scale:
    """The quantiser of a range; the range is widened to contain 0, which is exact.

    Zero is kept at the end of the codes where the range starts there, so that saturation does the work of Relu; or in the middle, where the encoding asks for that.
    """
    low = np.minimum(np.atleast_1d(np.asarray(low, np.float64)), 0.0)
    high = np.maximum(np.atleast_1d(np.asarray(high, np.float64)), 0.0)
    # A tensor that was 0 in every sample says nothing of its range: 0 to 1 is as exact for those samples, and not mute for the next one.
    high = np.where(high > low, high, 1.0)
    least = np.finfo(np.float32).tiny * 1e8
    if encoding.symmetric:
        scale = np.maximum(np.maximum(-low, high) / (MIDDLE - 1), least).astype(np.float32)
        return Scale(scale=scale, zero=np.full(len(scale), MIDDLE, np.int32))
    scale = np.maximum((high - low) / encoding.levels, least).astype(np.float32)
    zero = np.clip(np.round(-low / scale), 0, encoding.levels).astype(np.int32)
    return Scale(scale=scale, zero=zero)


def weight_scales(layer: Layer, source: Scale, limit: int = U8S8.weight_limit) -> Array:
    """One scale for each output channel, from its largest weight, no smaller than its bias can bear (ORT#22020: int32 biases overflow in dead channels)."""
    rows = np.abs(layer.weight.reshape(layer.channels, -1)).max(axis=1)
    floor = np.abs(layer.bias) / (BIAS_LIMIT * float(source.scale[0]))
    return np.asarray(np.maximum(np.maximum(rows / limit, floor), 1e-30), np.float32)


def nearest_codes(layer: Layer, scales: Array, limit: int = U8S8.weight_limit) -> Array:
    """Each weight to its nearest code, int8, from -limit to limit."""
    rows = np.rint(layer.weight.reshape(layer.channels, -1) / scales[:, None])
    return np.asarray(np.clip(rows, -limit, limit).reshape(layer.weight.shape), np.int8)


def emit(network: Network, encoding: Encoding | None = None, *, keep_activations: bool = False) -> Any:
    """The QDQ model.

    Args:
        network: complete: scales of every group, codes of every layer.
        encoding: that of its placement when None; else one that shares its scales and codes (u8s8, s8s8, u8u8).
        keep_activations: leave Relu and Clip in place, so that the linear outputs can be looked at. Float emulation gives the same answers.
    """
    return _Emitter(network, encoding or network.placement.encoding, keep_activations=keep_activations).model()


def _quantisers_domain(model: Any, encoding: Encoding) -> str:
    """Whose QuantizeLinear is meant: ONNX's, or the runtime's where ONNX's has no 16 bits yet."""
    version = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    return "com.microsoft" if encoding.activations == "uint16" and version < WIDE_OPSET else ""


class _Parameters(NamedTuple):
    """Names of scale and zero point, and the axis that they run along."""

    inputs: list[str]
    axis: dict[str, int]


class _Emitter:
    def __init__(self, network: Network, encoding: Encoding, *, keep_activations: bool) -> None:
        import onnx

        self.onnx = onnx
        self.network, self.encoding, self.keep = network, encoding, keep_activations
        self.quantisers_domain = _quantisers_domain(network.graph.model, encoding)
        self.layers = {layer.product: layer for layer in network.layers}
        self.adders = {layer.linear: layer for layer in network.layers if layer.kind == "MatMul"}
        self.absorbed = {
            linear: activation.out
            for linear, activation in network.placement.activations.items()
            if not keep_activations and self._saturates(activation)
        }
        self.finals = {activation.out for activation in network.placement.activations.values()}
        # Bodies of control flow read by name what is made outside, so a name that is absorbed must be made all the same.
        self.captured = {name for node in network.graph.graph.node for name in captured(node)}
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.alias: dict[str, str] = {}

    def model(self) -> Any:
        source = self.network.graph
        result = type(source.model)()
        result.CopyFrom(source.model)
        for name in source.inputs:
            self._quantise(name, name)
        for node in pooled_first(source, self.network.placement.nodes, self.network.placement.tensors):
            self._node(node)
        used = {name for node in self.nodes for name in (*node.input, *captured(node))}
        kept = [tensor for tensor in source.graph.initializer if tensor.name in used]
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self.nodes)
        result.graph.initializer.extend([*kept, *self.constants])
        if self.quantisers_domain and self.quantisers_domain not in {each.domain for each in result.opset_import}:
            result.opset_import.append(self.onnx.helper.make_opsetid(self.quantisers_domain, 1))
        return result

    def _node(self, node: Any) -> None:
        """Copy a node: an int8 one reads the quantised form of its inputs; what it makes is quantised where the placement says so."""
        network = self.network
        if node.op_type in ("Relu", "Clip") and self.absorbed.get(node.input[0]) == node.output[0]:
            return
        copy = type(node)()
        copy.CopyFrom(node)
        producer_is_int8 = node.output[0] in network.placement.nodes
        for position, name in enumerate(node.input):
            if self._reads_int8(node, name) and f"{name}_dq" in self.alias:
                copy.input[position] = self.alias[f"{name}_dq"]
            elif name in self.alias:
                copy.input[position] = self.alias[name]
        self._constants_of(copy)
        self.nodes.append(copy)
        for name in [n for n in node.output if n]:
            out = self.absorbed.get(name, name)
            if out in network.placement.tensors:
                self._quantise(name, out, replaces=producer_is_int8 or name in self.finals)

    def _constants_of(self, node: Any) -> None:
        """A product gets int8 weights; the Add behind a MatMul gets its bias, in float."""
        layer, adds_for = self.layers.get(node.output[0]), self.adders.get(node.output[0])
        if layer is not None:
            self._weights(node, layer)
        if adds_for is not None:
            node.input[1] = self._constant(f"{adds_for.name}_bias", adds_for.bias.astype(np.float32))

    def _reads_int8(self, node: Any, name: str) -> bool:
        return node.output[0] in self.network.placement.nodes and name in self.network.placement.tensors

    def _saturates(self, activation: Activation) -> bool:
        """Whether the quantiser of the answer does what Relu or Clip does: its range ends where the activation's does, or inside."""
        if activation.out not in self.network.placement.tensors:
            return False
        scale = self.network.scale_of(activation.out)
        top = scale.scale * (self.encoding.levels - scale.zero)
        return bool((scale.zero == 0).all() and (top <= activation.high * (1 + 1e-6)).all())

    def _quantise(self, made: str, name: str, *, replaces: bool = False) -> None:
        """QuantizeLinear and DequantizeLinear behind `made`, standing for `name`. `replaces`: float readers, too, get what the hardware gives."""
        placement = self.network.placement
        if name not in placement.tensors:
            return
        quantised, back = f"{name}_q8", f"{name}_dq8"
        inward, outward = self._parameters(name)
        domain = self.quantisers_domain
        self.nodes.append(self._make("QuantizeLinear", [made, *inward.inputs], quantised, domain=domain, **inward.axis))
        self.nodes.append(
            self._make("DequantizeLinear", [quantised, *outward.inputs], back, domain=domain, **outward.axis)
        )
        self.alias[f"{name}_dq"] = back
        if replaces:
            self.alias[name] = back
            if name in self.network.graph.outputs:
                self._rename_output(name, back, made)
            elif name in self.captured and made != name:
                self.nodes.append(self._make("Identity", [back], name))

    def _parameters(self, name: str) -> tuple[_Parameters, _Parameters]:
        """Scale and zero on the way in and on the way out; they differ for heads alone."""
        scale = self.network.scale_of(name)
        zero = self._zero(int(scale.zero[0]))
        if len(scale.scale) == 1:
            both = _Parameters(
                [self._constant(f"{name}_scale", scale.scale[0]), self._constant(f"{name}_zero", zero)], {}
            )
            return both, both
        zeros = self._constant(f"{name}_zeros", np.broadcast_to(zero, scale.scale.shape))
        outward = _Parameters([self._constant(f"{name}_scales", scale.scale), zeros], {"axis": 1})
        if self.keep:
            return outward, outward
        # The layer answers in units of each channel's scale already (see _weights), so one step for all is 1.
        one = [self._constant(f"{name}_one", np.float32(1.0)), self._constant(f"{name}_zero", zero)]
        return _Parameters(one, {}), outward

    def _rename_output(self, name: str, back: str, made: str) -> None:
        """The model's output keeps its name: what was made gets another one."""
        for node in self.nodes:
            for position, other in enumerate(node.output):
                if other == name and made == name:
                    node.output[position] = f"{name}_raw"
                elif other == back:
                    node.output[position] = name
            for position, other in enumerate(node.input):
                if other == name and made == name and node.op_type == "QuantizeLinear":
                    node.input[position] = f"{name}_raw"
        self.alias[name] = self.alias[f"{name}_dq"] = name

    def _weights(self, node: Any, layer: Layer) -> None:
        if layer.kind == "MatMul":
            codes, steps = self.network.codes[layer.name].T, self.network.weight_scales[layer.name]
            node.input[1] = self._dequantised(f"{layer.name}_w", *self._weight_codes(codes), steps, axis=1)
            return
        source = self.network.scale_of(layer.source)
        scales: Array = self.network.weight_scales[layer.name]
        bias_scales: Array = (scales.astype(np.float64) * float(source.scale[0])).astype(np.float32)
        bias = np.clip(np.rint(layer.bias / bias_scales.astype(np.float64)), -(2**31) + 1, 2**31 - 1).astype(np.int32)
        head = self.network.scales[layer.out] if layer.out in self.network.placement.heads else None
        if head is not None and len(head.scale) > 1 and not self.keep:
            # In units of each channel's own output scale: the quantiser behind it has scale 1, and the codes stay as they are.
            scales, bias_scales = scales / head.scale, bias_scales / head.scale
        codes = self.network.codes[layer.name]
        weight = self._dequantised(f"{layer.name}_w", *self._weight_codes(codes), scales)
        if self.encoding.float_bias:
            offset = self._constant(f"{layer.name}_b", layer.bias.astype(np.float32))
        else:
            offset = self._dequantised(f"{layer.name}_b", bias, 0, bias_scales)
        del node.input[1:]
        node.input.extend([weight, offset])

    def _weight_codes(self, codes: Array) -> tuple[Array, int]:
        """Codes in the encoding's type, and their zero point."""
        if self.encoding.weights == "int8":
            return codes, 0
        return (codes.astype(np.int16) + MIDDLE).astype(np.uint8), MIDDLE

    def _dequantised(self, name: str, codes: Array, zero: int, scales: Array, axis: int = 0) -> str:
        zeros = np.full(len(scales), zero, codes.dtype)
        inputs = [
            self._constant(f"{name}_codes", codes),
            self._constant(f"{name}_scales", scales.astype(np.float32)),
            self._constant(f"{name}_zeros", zeros),
        ]
        self.nodes.append(self._make("DequantizeLinear", inputs, f"{name}_float", axis=axis))
        return f"{name}_float"

    def _zero(self, zero: int) -> Array:
        signed = self.encoding.activations == "int8"
        return np.asarray(zero - MIDDLE if signed else zero, self.encoding.activations)

    def _make(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> Any:
        return self.onnx.helper.make_node(kind, list(inputs), [output], name=output, **attributes)

    def _constant(self, name: str, value: Array) -> str:
        self.constants.append(
            self.onnx.numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name)
        )
        return name
