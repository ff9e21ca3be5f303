"""Whole blocks that can go: what is added to its own input. Child side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeopt.compiler.quantize.graph import Graph, captured


@dataclass(frozen=True, kw_only=True)
class Block:
    """`total` = `source` + what layers make of `source`; without the block, whatever reads `total` reads `source`."""

    total: str
    source: str
    name: str


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
    own = type(model)()
    own.CopyFrom(model)
    del own.graph.value_info[:]
    for node in own.graph.node:
        for place, name in enumerate(node.input):
            if name == block.total:
                node.input[place] = block.source
    graph = Graph(own)
    needed, kept = set(graph.outputs), []
    for node in reversed(list(own.graph.node)):
        if needed.intersection(node.output):
            needed |= {*node.input, *captured(node)}
            kept.append(node)
    graph.replace_nodes(reversed(kept))
    graph.prune()
    return own


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
