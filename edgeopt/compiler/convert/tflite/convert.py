"""The last step of the recipes `litert` and `litert-int8`: an ONNX graph as a TFLite file with the same inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edgeopt.compiler.convert.converted import Converted
from edgeopt.compiler.convert.tflite import pointwise, pooling, products, reducing, resizing, shaping
from edgeopt.compiler.convert.tflite.lowering import Lower, Lowering
from edgeopt.compiler.convert.tflite.network import Network, network_of
from edgeopt.compiler.convert.tflite.orders import plain
from edgeopt.compiler.convert.tflite.quantisers import absorb, take_constants
from edgeopt.compiler.convert.tflite.rewrite import EXPANSIONS, rewrite
from edgeopt.compiler.convert.tflite.static import FOLDED, static_model
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.widen import widen

FILE = "model.tflite"

TABLE: Mapping[str, Lower] = MappingProxyType(
    {**pointwise.TABLE, **products.TABLE, **pooling.TABLE, **shaping.TABLE, **reducing.TABLE, **resizing.TABLE}
)
"""Every operator that is covered, besides those that `rewrite` takes apart."""


def to_tflite(model: Any, _options: Mapping[str, Any], bench: Any) -> Converted:
    """A model (float, or QDQ in int8) as TFLite. Names, order, shapes and dtypes of inputs and outputs stay.

    Raises:
        Refused: step-failed with the operator and the node that cannot be converted.
    """
    made = type(model)()
    made.CopyFrom(model)
    widen(made)
    _check_covered(made)
    network = network_of(static_model(made, bench.samples))
    take_constants(network)
    rewrite(network)
    absorb(network)
    return Converted(files={FILE: tflite_of(network)})


def _check_covered(model: Any) -> None:
    """Name what is foreign before anything is computed: shapes cannot be known behind it."""
    known = TABLE.keys() | EXPANSIONS.keys() | FOLDED
    for node in model.graph.node:
        if node.op_type not in known or node.domain not in ("", "ai.onnx"):
            words = f"{node.op_type} ({(node.name or node.output[0])[:80]})"
            raise Refused("step-failed", f"TFLite files are not written with the operator {words}")


def tflite_of(network: Network) -> bytes:
    """The file of a network that `rewrite` has gone through.

    Raises:
        Refused: as `to_tflite`.
    """
    lowering = Lowering(network)
    for name in network.inputs:
        made = lowering.file.tensor(name, network.shapes[name], network.dtypes[name], network.quants.get(name))
        lowering.put(name, plain(lowering.rank(name)), made)
    for node in network.nodes:
        if node.kind not in TABLE:
            raise node.refuse("it depends on the model's inputs")
        TABLE[node.kind](lowering, node)
    inputs = {name: lowering.forms[name][plain(lowering.rank(name))] for name in network.inputs}
    return lowering.file.data(inputs, _outputs(lowering, inputs))


def _outputs(lowering: Lowering, inputs: Mapping[str, int]) -> dict[str, int]:
    """Each output as a tensor of its own, named as in the model."""
    found: dict[str, int] = {}
    for name in lowering.network.outputs:
        index = lowering.read(name, plain(lowering.rank(name)))
        taken = {*inputs.values(), *found.values()}
        if index in taken or index not in lowering.file.makers:
            shape = lowering.file.shape(index)
            index = lowering.make("RESHAPE", [index, lowering.ints(shape)], index, shape, newShape=list(shape))
        found[name] = index
    return found
