"""Whole blocks that can go, or become one convolution: what is added to its own input. Child side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeopt.compiler.quantize.graph import Graph, captured


@dataclass(frozen=True, kw_only=True)
class Block:
    """`total` = `source` + what layers make of `source`; without the block, whatever reads `total` reads `source`."""

    total: str
    source: str
    name: str


Change = Callable[[Any, Block], Any | None]
"""What is done to a block: (model, block) -> a changed copy, None where it cannot be done."""


def find_blocks(graph: Graph) -> list[Block]:
    """Every residual block whose way past it is the identity, in order of execution."""
    ancestors: dict[str, set[str]] = {}
    found = []
    for node in graph.graph.node:
        mine = {name for name in node.input if name}
        for name in node.input:
            mine |= ancestors.get(name, set())
        ancestors.update(dict.fromkeys(node.output, mine))
        block = _block(graph, node, ancestors) if node.op_type == "Add" else None
        if block is not None:
            found.append(block)
    return found


def _block(graph: Graph, node: Any, ancestors: dict[str, set[str]]) -> Block | None:
    total, shapes = node.output[0], [graph.shape(name) for name in node.input]
    if total in graph.outputs or shapes[0] is None or shapes[0] != shapes[1]:
        return None
    for source, other in (tuple(node.input), tuple(node.input)[::-1]):
        # A constant is added, not a block; what is added to the model's input is the model itself.
        if source in graph.producer and other in graph.producer and source in ancestors[other]:
            return Block(total=total, source=source, name=node.name or total)
    return None


def without_block(model: Any, block: Block) -> Any:
    """A copy in which a block is gone, with all that only it needed. Names of tensors stay."""
    own = _copy(model)
    for node in own.graph.node:
        for place, name in enumerate(node.input):
            if name == block.total:
                node.input[place] = block.source
    return _with_what_is_needed(own)


def as_one_convolution(model: Any, block: Block) -> Any | None:
    """A copy in which one convolution makes a block's `total` of its `source`, the identity until it is fitted. None for a block that does not end in a convolution.

    After Fu et al., *DepthShrinker*, ICML 2022, which merges what lies between activations that are not needed; here nothing has to be linear, since least squares decide what the convolution does.
    """
    import onnx

    own = _copy(model)
    graph = Graph(own)
    found = _channels_and_kernel(graph, block)
    if found is None:
        return None
    channels, kernel = found
    middle = [side // 2 for side in kernel]
    point = np.eye(channels, dtype=np.float32).reshape(channels, channels, *[1] * len(kernel))
    identity = np.pad(point, [(0, 0), (0, 0), *[(side, side) for side in middle]])
    constants = [graph.add_constant(block.name, value) for value in (identity, np.zeros(channels, np.float32))]
    name, pads = graph.fresh(block.name), [*middle, *middle]
    one = onnx.helper.make_node("Conv", [block.source, *constants], [block.total], name=name, pads=pads)
    graph.replace_nodes(one if block.total in node.output else node for node in own.graph.node)
    return _with_what_is_needed(own)


def _channels_and_kernel(graph: Graph, block: Block) -> tuple[int, tuple[int, ...]] | None:
    """Channels of a block's answer, and along each axis the longest side of its kernels, all of them odd; None where it does not end in a convolution."""
    end = next(name for name in graph.producer[block.total].input if name != block.source)
    if graph.producer[end].op_type != "Conv" or (last := graph.constant(graph.producer[end].input[1])) is None:
        return None
    longest = np.array(last.shape[2:])
    seen, stack = {block.source}, [end]
    while stack:
        name = stack.pop()
        node = graph.producer.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        stack += node.input
        weight = graph.constant(node.input[1]) if node.op_type == "Conv" else None
        if weight is not None and weight.ndim == last.ndim:
            longest = np.maximum(longest, weight.shape[2:])
    return (int(last.shape[0]), tuple(longest.tolist())) if (longest % 2 == 1).all() else None


def _copy(model: Any) -> Any:
    own = type(model)()
    own.CopyFrom(model)
    del own.graph.value_info[:]
    return own


def _with_what_is_needed(model: Any) -> Any:
    """The model itself, less the nodes and constants that no output needs."""
    graph = Graph(model)
    needed, kept = set(graph.outputs), []
    for node in reversed(list(model.graph.node)):
        if needed.intersection(node.output):
            needed |= {*node.input, *captured(node)}
            kept.append(node)
    graph.replace_nodes(reversed(kept))
    graph.prune()
    return model


def first_readers(graph: Graph, tensor: str, products: dict[str, str]) -> list[str]:
    """Names of the layers that read a tensor, directly or behind what is no layer. `products`: layer names by what they make."""
    seen, stack, found = set(), [tensor], []
    while stack:
        name = stack.pop()
        for node in graph.consumers.get(name, []):
            made = node.output[0]
            if made in seen:
                continue
            seen.add(made)
            if made in products:
                found.append(products[made])
            else:
                stack.extend(node.output)
    return sorted(found)
