"""A calibrated int8 network as a twin that can be trained, and back: the graph that would be written, float weights that round to its codes, and learned steps where it rounds. Child side."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.emit import BIAS_LIMIT, Network, Scale, emit
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.train.learned_step import MOST, LearnedStep, RoundedBias
from edgeopt.compiler.train.twin import Twin

WITHIN = 0.45
"""How far from its code a weight may begin, in steps. A float weight that was not rounded to the nearest code begins there, so that training starts from the very codes that were chosen."""

QUANTISED = "_q8"
"""What `emit` puts behind the name of a tensor in int8."""


class Soft:
    """The twin, its `steps` by what they are of: a group of tensors, or a layer's weights.

    Raises:
        Refused: see `Twin`.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        activations = {lead: _of_tensors(network, lead) for lead in sorted({*network.placement.group.values()})}
        weights = {layer.name: _of_weights(network, layer) for layer in network.layers}
        self.steps = {f"{name}/steps": step for name, step in activations.items()}
        self.steps |= {f"{name}/weight steps": step for name, step in weights.items()}
        graph, rounded = _softened(network)
        self.twin = Twin(graph)
        for layer in network.layers:
            self.twin.add_adapter(_weight(layer), weights[layer.name])
            if layer.kind != "MatMul" and not network.placement.encoding.float_bias:
                inputs = activations[network.placement.group[layer.source]]
                self.twin.add_adapter(_bias(layer, network), RoundedBias(inputs, weights[layer.name]))
        for made, name in rounded.items():
            self.twin.add_behind(made, activations[network.placement.group[name]])
            # So that the teacher's tensor of that name is compared with what the hardware gives.
            self.twin.also_known_as(made, name)

    def parameters(self) -> dict[str, Any]:
        """The learned steps, in a fixed order."""
        return {name: step.ratio for name, step in self.steps.items()}

    def hardened(self) -> Network:
        """The network as it is trained by now: codes, scales, biases, and whatever stays in float. The one that it was made from is not changed."""
        values = dict(self.twin.constants())
        steps = {name: step.steps().detach().cpu().numpy().astype(np.float32) for name, step in self.steps.items()}
        made = copy.copy(self.network)
        made.graph = _with_floats(self.network.graph, values)
        made.scales = {
            lead: Scale(scale=steps[f"{lead}/steps"], zero=scale.zero) if f"{lead}/steps" in steps else scale
            for lead, scale in self.network.scales.items()
        }
        made.layers, made.codes, made.weight_scales = [], {}, {}
        limit = made.placement.encoding.weight_limit
        for layer in self.network.layers:
            own = copy.copy(layer)
            own.bias = values.get(_bias(layer, self.network), layer.bias).reshape(-1)
            rows = _rows(values[_weight(layer)], layer)
            # Where a bias has grown, the steps must bear it in 32 bits: see `weight_scales`.
            floor = np.abs(own.bias) / (BIAS_LIMIT * float(made.scale_of(layer.source).scale[0]))
            scales = np.maximum(steps[f"{layer.name}/weight steps"], floor).astype(np.float32)
            codes = np.clip(np.rint(rows.reshape(layer.channels, -1) / scales[:, None]), -limit, limit)
            made.codes[layer.name] = codes.reshape(layer.weight.shape).astype(np.int8)
            made.weight_scales[layer.name] = scales
            made.layers.append(own)
        return made


def _of_tensors(network: Network, lead: str) -> LearnedStep:
    """Of the activations of a group. Where the end of the codes does the work of a Clip, steps do not grow: it would not be absorbed any more."""
    scale, placement = network.scales[lead], network.placement
    levels = placement.encoding.levels
    highs = [a.high for a in placement.activations.values() if placement.group.get(a.out) == lead]
    # Codes from -zero: what is below is below the range, too.
    top = float((scale.scale * (levels - scale.zero)).max())
    most = min([MOST, *(max(1.0, high / top) for high in highs if np.isfinite(high))])
    return LearnedStep(scale.scale, -scale.zero, levels - scale.zero, axis=1, most=most)


def _of_weights(network: Network, layer: Layer) -> LearnedStep:
    limit = network.placement.encoding.weight_limit
    return LearnedStep(network.weight_scales[layer.name], [-limit], [limit], axis=1 if layer.kind == "MatMul" else 0)


def _softened(network: Network) -> tuple[Any, dict[str, str]]:
    """The graph that would be written, weights and biases in float again, every pair of conversions an Identity; and for what these make, the tensor that it stands for."""
    import onnx

    model = emit(network, keep_activations=True)
    weights = {_weight(layer): layer for layer in network.layers}
    biases = {f"{layer.name}_b_float": layer for layer in network.layers}
    nodes, constants, rounded = [], [], {}
    tensors = network.placement.tensors
    source: dict[str, str] = {}
    for node in model.graph.node:
        name = node.output[0]
        if node.op_type == "QuantizeLinear" and name.removesuffix(QUANTISED) in tensors:
            source[name] = node.input[0]
        elif node.op_type == "DequantizeLinear" and node.input[0] in source:
            nodes.append(onnx.helper.make_node("Identity", [source[node.input[0]]], [name], name=name))
            rounded[name] = node.input[0].removesuffix(QUANTISED)
        elif node.op_type == "DequantizeLinear" and name in weights:
            constants.append(onnx.numpy_helper.from_array(_start(network, weights[name]), name))
        elif node.op_type == "DequantizeLinear" and name in biases:
            constants.append(onnx.numpy_helper.from_array(biases[name].bias.astype(np.float32), name))
        else:
            nodes.append(node)
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read or tensor.name in network.graph.outputs]
    made = type(model)()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:]
    made.graph.node.extend(nodes)
    made.graph.initializer.extend([*kept, *constants])
    return made, rounded


def _start(network: Network, layer: Layer) -> Array:
    """A layer's float weights, as the product reads them, moved to where they round to the codes that were chosen."""
    steps = network.weight_scales[layer.name][:, None]
    codes = network.codes[layer.name].reshape(layer.channels, -1).astype(np.float32)
    limit = network.placement.encoding.weight_limit
    wished = np.clip(layer.weight.reshape(layer.channels, -1) / steps, codes - WITHIN, codes + WITHIN)
    rows = (np.clip(wished, -limit, limit) * steps).astype(np.float32).reshape(layer.weight.shape)
    return np.ascontiguousarray(rows.T if layer.kind == "MatMul" else rows)


def _rows(weight: Array, layer: Layer) -> Array:
    """What `_start` turned, turned back."""
    return weight.T if layer.kind == "MatMul" else weight


def _weight(layer: Layer) -> str:
    return f"{layer.name}_w_float"


def _bias(layer: Layer, network: Network) -> str:
    if layer.kind == "MatMul":
        return f"{layer.name}_bias"
    return f"{layer.name}_b" if network.placement.encoding.float_bias else f"{layer.name}_b_float"


def _with_floats(graph: Graph, values: Mapping[str, Array]) -> Graph:
    """A copy, with those of its constants that were trained."""
    import onnx

    own = type(graph.model)()
    own.CopyFrom(graph.model)
    for tensor in own.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[tensor.name], tensor.name))
    return Graph(own)
