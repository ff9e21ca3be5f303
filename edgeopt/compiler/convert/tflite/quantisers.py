"""QuantizeLinear and DequantizeLinear become int8 tensors: what stands between them is computed in integers where TFLite can do that, and float elsewhere.

`take_constants` before `rewrite`: weights are codes with scales from then on. `absorb` behind it: a node that reads dequantised codes and whose answer is quantised is
made to read and answer codes. Codes of 8 bits without a sign are counted from -128 on (real numbers stay): TFLite's kernels of today are signed.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeopt.compiler.convert.tflite.integers import MOVERS, integer_nodes, is_mover
from edgeopt.compiler.convert.tflite.network import Array, Network, Node, Quant, node_like

MIDDLE = 128
EIGHT_BITS = ("int8", "uint8")


def take_constants(network: Network) -> None:
    """Constants that are dequantised are kept as codes; quantisers of what is computed are known by their tensors.

    Raises:
        Refused: scales depend on the model's inputs, blocks have scales, or activations are not of 8 bits.
    """
    kept = []
    for node in network.nodes:
        if node.kind == "QuantizeLinear" and node.inputs[0] in network.constants:
            _quantise(network, node)
        elif node.kind == "DequantizeLinear" and node.inputs[0] in network.constants:
            _take(network, node)
        else:
            kept.append(node)
            if node.kind in ("QuantizeLinear", "DequantizeLinear"):
                _know(network, node)
    network.nodes = kept


def _quantise(network: Network, node: Node) -> None:
    """A constant that is given as real numbers and quantised in the graph."""
    quant, name = _parameters(network, node), node.outputs[0]
    value = network.constants[node.inputs[0]]
    limits = np.iinfo(network.dtypes[name])
    codes = np.clip(
        np.rint(value / quant.spread(quant.scale, value.ndim)) + quant.spread(quant.zero, value.ndim),
        limits.min,
        limits.max,
    )
    network.constants[name] = codes.astype(network.dtypes[name])


def _take(network: Network, node: Node) -> None:
    quant, codes, name = _parameters(network, node), network.constants[node.inputs[0]], node.outputs[0]
    if codes.dtype == np.uint8:
        codes, quant = (codes.astype(np.int16) - MIDDLE).astype(np.int8), _signed(quant)
    network.constants[name], network.quants[name] = codes, quant
    network.dtypes[name] = str(codes.dtype)


def _know(network: Network, node: Node) -> None:
    """The tensor of codes beside a quantiser gets its scale; a dequantiser with a scale for each channel keeps these."""
    quant = _parameters(network, node)
    writes = node.kind == "QuantizeLinear"
    name = node.outputs[0] if writes else node.inputs[0]
    if network.dtypes[name] not in EIGHT_BITS:
        raise node.refuse(f"activations of {network.dtypes[name]} are not written")
    if writes and quant.scale.size > 1:
        raise node.refuse("activations have one scale")
    if not writes and quant.scale.size > 1:
        node.attributes |= {"scales": quant.scale, "axis": quant.axis}
    if writes or name not in network.quants:
        border = name in network.inputs or name in network.outputs
        if network.dtypes[name] == "uint8" and not border:
            network.dtypes[name], quant = "int8", _signed(quant)
        network.quants[name] = quant
    node.inputs = node.inputs[:1]


def _parameters(network: Network, node: Node) -> Quant:
    scale = network.constants.get(node.inputs[1])
    zero = network.constants.get(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1, np.uint8)
    if scale is None or zero is None:
        raise node.refuse("its scale must be constant")
    if node.attributes.get("block_size", 0) or scale.ndim > 1:
        raise node.refuse("weights have one scale for each output channel, not for each block")
    flat = np.asarray(scale, np.float32).reshape(-1)
    rank = len(network.shapes[node.inputs[0]])
    axis = int(node.attributes.get("axis", 1)) % max(rank, 1) if flat.size > 1 else 0
    zeros = np.broadcast_to(np.asarray(zero, np.int64).reshape(-1), flat.shape)
    if len(node.inputs) < 3 or not node.inputs[2]:
        network.dtypes[node.outputs[0]] = network.dtypes.get(node.outputs[0], "uint8")
    return Quant(scale=flat, zero=np.array(zeros), axis=axis)


def _signed(quant: Quant) -> Quant:
    return Quant(scale=quant.scale, zero=quant.zero - MIDDLE, axis=quant.axis)


def absorb(network: Network) -> None:
    """Everything that TFLite computes in integers reads and answers codes."""
    if not network.quants:
        return
    _raise_quantisers(network)
    _Sweep(network).run()
    network.prune()
    _spare_fixed_scales(network)
    network.prune()
    _from_float(network)
    _float_constants(network)
    network.prune()
    for node in network.nodes:
        if any(network.dtypes.get(name) in EIGHT_BITS and name not in network.quants for name in node.outputs):
            raise node.refuse("it computes on codes outside of quantisers")


def _raise_quantisers(network: Network) -> None:
    """What moves values and is quantised behind that can as well be quantised before: then what makes the values answers codes."""
    changed = True
    while changed:
        changed = False
        makers, readers = network.producers(), network.readers()
        for quantiser in [node for node in network.nodes if node.kind == "QuantizeLinear"]:
            mover = makers.get(quantiser.inputs[0])
            if mover is None or not _may_rise(network, mover, readers):
                continue
            before = network.like(mover.inputs[0], quantiser.outputs[0], network.shapes[mover.inputs[0]])
            source, target = mover.inputs[0], quantiser.outputs[0]
            quantiser.inputs, quantiser.outputs = [source], [before]
            mover.inputs, mover.outputs = [before, *mover.inputs[1:]], [target]
            place = network.nodes.index(mover)
            network.nodes.remove(quantiser)
            network.nodes.insert(place, quantiser)
            changed = True
            break


def _may_rise(network: Network, mover: Node, readers: Mapping[str, list[Node]]) -> bool:
    return (
        mover.kind in MOVERS
        and is_mover(network, mover)
        and mover.inputs[0] not in network.constants
        and all(
            len(readers.get(name, ())) == 1 and name not in network.outputs
            for name in (*mover.outputs, mover.inputs[0])
        )
        and len(mover.outputs) == 1
    )


class _Sweep:
    """Once through the nodes in order."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.readers = network.readers()
        self.codes: dict[str, str] = {}
        """Of a float tensor, the tensor of codes that it was dequantised from."""
        self.same: dict[str, str] = {}
        """Codes that turned out to be those of another tensor."""
        self.done: set[int] = set()
        self.made: list[Node] = []

    def run(self) -> None:
        for node in self.network.nodes:
            node.inputs = [self.same.get(name, name) for name in node.inputs]
            if id(node) not in self.done:
                self._visit(node)
        self.network.nodes = self.made

    def _visit(self, node: Node) -> None:
        if (
            node.kind == "DequantizeLinear"
            and self.network.dtypes[node.inputs[0]] == "int8"
            and "scales" not in node.attributes
        ):
            self.codes[node.outputs[0]] = node.inputs[0]
            self.made.append(node)
        elif node.kind == "QuantizeLinear" and node.inputs[0] in self.codes:
            self._again(node, self.codes[node.inputs[0]])
        elif is_mover(self.network, node) and self._reads_codes(node):
            self._move(node)
        elif not self._compute(node):
            self.made.append(node)

    def _again(self, node: Node, source: str) -> None:
        """Quantised, dequantised, and quantised again: the same codes, or int8 to int8."""
        target = node.outputs[0]
        if self.network.quants[target].same(self.network.quants[source]) and target not in self.network.outputs:
            self.same[target] = source
        else:
            self.made.append(node_like("QuantizeLinear", node, [source], target))

    def _operands(self, node: Node) -> list[str] | None:
        """The codes of what a node computes on, None when anything is float."""
        data = node.inputs[:1] if node.kind in MOVERS else node.inputs
        found = [self.codes.get(name, name) for name in data]
        places = range(len(found))
        return (
            found
            if all(self._is_integer(found[place]) or self._is_parameter(node, place) for place in places)
            else None
        )

    def _is_integer(self, name: str) -> bool:
        return name in self.network.quants

    def _is_parameter(self, node: Node, place: int) -> bool:
        """A bias may be float: it becomes int32. So may what is no number to compute with."""
        name = node.inputs[place]
        if not name:
            return True
        bias = node.kind in ("Conv", "ConvTranspose", "Dense") and place == 2
        return name in self.network.constants and (bias or self.network.dtypes[name] in ("int32", "int64"))

    def _reads_codes(self, node: Node) -> bool:
        """Whether it reads what codes of one scale stand for: those that were dequantised, or a table."""
        name = node.inputs[0]
        source = self.codes.get(name, name if name in self.network.constants else "")
        return source in self.network.quants and self.network.quants[source].scale.size == 1

    def _move(self, node: Node) -> None:
        source = self.codes.get(node.inputs[0], node.inputs[0])
        targets = [self.network.like(name, source, self.network.shapes[name]) if name else "" for name in node.outputs]
        self.made.append(
            Node(
                kind=node.kind,
                name=node.name,
                inputs=[source, *node.inputs[1:]],
                outputs=targets,
                attributes=node.attributes,
            )
        )
        for name, target in zip(node.outputs, targets, strict=True):
            if name:
                self.made.append(node_like("DequantizeLinear", node, [target], name))
                self.codes[name] = target

    def _compute(self, node: Node) -> bool:
        operands = self._operands(node)
        if operands is None or len(node.outputs) != 1:
            return False
        behind = self.readers.get(node.outputs[0], [])
        if len(behind) != 1 or behind[0].kind != "QuantizeLinear" or node.outputs[0] in self.network.outputs:
            return False
        made = integer_nodes(self.network, node, operands, behind[0].outputs[0])
        if made is None:
            return False
        self.made += made
        self.done.add(id(behind[0]))
        return True


FLEXIBLE = frozenset(
    {
        "Conv",
        "ConvTranspose",
        "Dense",
        "Add",
        "Sub",
        "Mul",
        "DequantizeLinear",
        "QuantizeLinear",
        "ReduceMean",
        "LeakyRelu",
        "HardSwish",
    }
)
"""They take codes of any scale."""


def _spare_fixed_scales(network: Network) -> None:
    """Sigmoid and its like answer in a scale of TFLite's own. Where only operators read it that take any, the step to our scale is left out."""
    makers, readers = network.producers(), network.readers()
    for node in network.nodes:
        source, target = node.inputs[0], node.outputs[0]
        if node.kind != "QuantizeLinear" or source not in network.quants or target in network.outputs:
            continue
        maker = makers.get(source)
        users = readers.get(target, [])
        if (
            maker is not None
            and maker.kind in ("Sigmoid", "Tanh", "Softmax")
            and all(user.kind in FLEXIBLE and "scales" not in user.attributes for user in users)
        ):
            for user in users:
                user.inputs = [source if name == target else name for name in user.inputs]


def _from_float(network: Network) -> None:
    """A matrix product that answers in float finds its operand's range while it runs: it need not be quantised before."""
    makers = network.producers()
    for node in network.nodes:
        back = makers.get(node.inputs[0]) if node.kind == "Dense" else None
        if back is None or back.kind != "DequantizeLinear" or not keeps_codes(network, node):
            continue
        quantiser = makers.get(back.inputs[0])
        if quantiser is not None and quantiser.kind == "QuantizeLinear" and quantiser.inputs[0] not in network.quants:
            node.inputs[0] = quantiser.inputs[0]


def keeps_codes(network: Network, node: Node) -> bool:
    """Whether a product in float may have int8 weights: the runtime's dynamic ranges are for matrices."""
    weight = node.inputs[1]
    quant = network.quants.get(weight)
    return (
        node.kind == "Dense"
        and node.inputs[0] not in network.quants
        and quant is not None
        and network.dtypes[weight] == "int8"
        and not quant.zero.any()
        and (quant.scale.size == 1 or quant.axis == 0)
    )


def _float_constants(network: Network) -> None:
    """What stays float reads float constants, also where they came as codes."""
    made: dict[str, str] = {}
    for node in network.nodes:
        if any(name in network.quants and name not in network.constants for name in (*node.inputs, *node.outputs)):
            continue
        for place, name in enumerate(node.inputs):
            if place == 1 and keeps_codes(network, node):
                continue
            if name in network.constants and name in network.quants:
                if name not in made:
                    value: Array = network.quants[name].real(network.constants[name])
                    made[name] = network.add(name, value)
                node.inputs[place] = made[name]
