"""Where channels of a tensor can be divided at no cost or at little, while the layers that read it multiply. Child side; reads the graph, `divide` edits it.

normalisation, or x * scale + bias, that only layers read    1 / s goes into scale and bias
what a residual sum reads as well, what Gelu answers         a product by 1 / s in front of the layers
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Array, Graph, attribute
from edgeopt.compiler.quantize.layers import Layer

NORMALISATIONS = frozenset({"LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization"})


@dataclass(kw_only=True)
class Spot:
    """A tensor, the axis of its channels (-1, or 1 of an image), and all layers in int8 that read it.

    `constants` are (first output of a node, input) of what scales with the tensor. `doors`: first outputs of the nodes that lead to the readers. `alone`: nobody else reads it.
    """

    tensor: str
    axis: int
    readers: list[Layer]
    doors: frozenset[str] = frozenset()
    alone: bool = True
    constants: list[tuple[str, int]] = field(default_factory=list)

    @property
    def folds(self) -> bool:
        """Whether dividing costs nothing."""
        return self.alone and bool(self.constants)

    def divide(self, graph: Graph, factors: Array) -> None:
        """Divide the channels. factors: float32 [C]. The graph is indexed again."""
        shaped = factors if self.axis == -1 else factors.reshape(-1, 1, 1)
        if self.folds:
            for output, position in self.constants:
                node = graph.producer[output]
                value = graph.constant(node.input[position])
                node.input[position] = graph.add_constant(f"{output}_smooth", np.asarray(value / shaped, np.float32))
            graph.index()
        else:
            self._put_in_front(graph, np.asarray(1.0 / shaped, np.float32))

    def _put_in_front(self, graph: Graph, inverse: Array) -> None:
        import onnx

        smooth = graph.fresh(self.tensor)
        product = onnx.helper.make_node(
            "Mul", [self.tensor, graph.add_constant(smooth, inverse)], [smooth], name=smooth
        )
        nodes = []
        for node in graph.graph.node:
            if node.output and node.output[0] in self.doors:
                node.input[0] = smooth
            nodes.append(node)
            if self.tensor in node.output:
                nodes.append(product)
        graph.replace_nodes(nodes)
        for layer in self.readers:
            if layer.source == self.tensor:
                layer.source = smooth


def find_spots(graph: Graph, layers: list[Layer]) -> list[Spot]:
    """Every spot of a normalised graph, in order of execution; none where there is no normalisation with constant scale."""
    by_product = {layer.product: layer for layer in layers}
    spots = [spot for node in graph.graph.node if (spot := _behind_normalisation(graph, node, by_product)) is not None]
    if not spots:
        return []
    known = {layer.name for spot in spots for layer in spot.readers}
    others = dict.fromkeys(layer.source for layer in layers if layer.kind == "MatMul" and layer.name not in known)
    in_front = [Spot(tensor=source, axis=-1, readers=[]) for source in others]
    return spots + [spot for each in in_front if (spot := _with_readers(graph, each, by_product)) is not None]


def _behind_normalisation(graph: Graph, node: Any, by_product: dict[str, Layer]) -> Spot | None:
    constants = _constants(graph, node)
    axis = _axis(graph, [graph.producer[output].input[position] for output, position in constants])
    if axis is None:
        return None
    return _with_readers(graph, Spot(tensor=node.output[0], axis=axis, readers=[], constants=constants), by_product)


def _constants(graph: Graph, node: Any) -> list[tuple[str, int]]:
    """(first output of a node, input) of the constants that scale what a node answers; none where others than constants do."""
    if node.op_type in NORMALISATIONS:
        rank, axis = graph.rank(node.input[0]), attribute(node, "axis", -1)
        found = [(node.output[0], position) for position, name in enumerate(node.input) if position and name]
        is_last = axis == -1 or (rank is not None and axis == rank - 1)
        return found if is_last and all(node.input[position] in graph.tensors for _, position in found) else []
    if node.op_type == "Mul":
        return _constant_side(graph, node)
    bias = _constant_side(graph, node) if node.op_type == "Add" else []
    if not bias:
        return []
    other = node.input[1 - bias[0][1]]
    scale = graph.producer.get(other)
    if scale is None or scale.op_type != "Mul" or graph.only_consumer(other) is None:
        return []
    gains = _constant_side(graph, scale)
    return [*gains, *bias] if gains else []


def _constant_side(graph: Graph, node: Any) -> list[tuple[str, int]]:
    found = [(node.output[0], position) for position, name in enumerate(node.input) if name in graph.tensors]
    return found if len(found) == 1 and graph.is_float(node.input[found[0][1]]) else []


def _axis(graph: Graph, names: list[str]) -> int | None:
    """The one axis along which vectors run that are added to or multiplied with an answer: its last, or 1 of an image."""
    shapes = [tuple(graph.tensors[name].dims) for name in names]
    sizes = {int(np.prod(shape)) for shape in shapes}
    if len(sizes) != 1 or sizes == {1}:
        return None
    size = sizes.pop()
    if all(shape[-1:] == (size,) for shape in shapes):
        return -1
    return 1 if all(shape[-3:] == (size, 1, 1) for shape in shapes) else None


def _with_readers(graph: Graph, spot: Spot, by_product: dict[str, Layer]) -> Spot | None:
    """The spot with the layers that read it, directly or behind a Reshape that keeps the channels; None when there are none."""
    doors, others = [], spot.tensor in graph.outputs
    for node in graph.consumers.get(spot.tensor, []):
        layers = _layers_behind(graph, node, spot, by_product)
        if layers:
            doors.append(node.output[0])
            spot.readers += layers
        elif node.op_type != "Shape":
            others = True
    spot.doors, spot.alone = frozenset(doors), not others
    return spot if doors else None


def _layers_behind(graph: Graph, node: Any, spot: Spot, by_product: dict[str, Layer]) -> list[Layer]:
    """The layers that a reader of the spot is, or leads to and to nothing else."""
    layer = by_product.get(node.output[0])
    if layer is not None:
        return [layer] if layer.source == spot.tensor and _fits(layer, spot.axis) else []
    if node.op_type != "Reshape" or spot.axis != -1 or node.output[0] in graph.outputs:
        return []
    shape = graph.constant(node.input[1])
    behind = [by_product.get(reader.output[0]) for reader in graph.consumers.get(node.output[0], [])]
    layers = [layer for layer in behind if layer is not None and layer.kind != "Conv" and _keeps(shape, layer)]
    return layers if len(layers) == len(behind) else []


def _fits(layer: Layer, axis: int) -> bool:
    """Whether a layer weighs the channels along that axis, each with one column."""
    if layer.kind != "Conv":
        return axis == -1
    return axis == 1 and layer.group == 1 and layer.weight.shape[2:] == (1, 1)


def _keeps(shape: Array | None, layer: Layer) -> bool:
    return shape is not None and int(shape.reshape(-1)[-1]) == layer.fan_in
