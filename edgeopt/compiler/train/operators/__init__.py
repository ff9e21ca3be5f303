"""ONNX operators in torch, by name. Each is `function(node, inputs) -> output or outputs`.

Inputs are tensors, None where an optional one is left out. Shapes and other small integers are int64 tensors on the CPU, whatever device the network is on, so that
arithmetic of shapes needs no second implementation and never waits for a GPU.
"""

from __future__ import annotations

from edgeopt.compiler.train.operators.convolution import CONVOLUTION
from edgeopt.compiler.train.operators.elementwise import ELEMENTWISE
from edgeopt.compiler.train.operators.layout import LAYOUT
from edgeopt.compiler.train.operators.matrix import MATRIX
from edgeopt.compiler.train.operators.node import Node, Operator
from edgeopt.compiler.train.operators.normalise import NORMALISE
from edgeopt.compiler.train.operators.pools import POOLS
from edgeopt.compiler.train.operators.quantised import QUANTISED
from edgeopt.compiler.train.operators.reduce import REDUCE
from edgeopt.compiler.train.operators.resize import RESIZE
from edgeopt.compiler.train.operators.select import SELECT

OPERATORS: dict[str, Operator] = {
    **CONVOLUTION,
    **ELEMENTWISE,
    **LAYOUT,
    **MATRIX,
    **NORMALISE,
    **POOLS,
    **QUANTISED,
    **REDUCE,
    **RESIZE,
    **SELECT,
}
"""Every operator that a twin knows."""

__all__ = ["OPERATORS", "Node", "Operator"]
