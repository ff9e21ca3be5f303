"""Which axes of a network may have any size: told by running it on other sizes. Child side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeopt.compiler.convert.from_torch.export import answers
from edgeopt.compiler.convert.from_torch.network import Tensors
from edgeopt.compiler.refuse import Refused

BATCH, SEQUENCE = "batch", "sequence"
Axes = dict[str, dict[int, str]]
"""By input or output, the axes that are open and what they are called."""


def likely_axes(example: Tensors) -> list[Axes]:
    """What to try, the most open first: the batch and the length of token inputs, the batch alone, nothing.

    The first axis is a batch where all inputs have one of the same size; the second a sequence in inputs of whole numbers of two axes, and in those that go with them.
    """
    batches = {tensor.shape[0] if tensor.dim() else None for tensor in example.values()}
    batch: Axes = {name: {0: BATCH} for name in example} if len(batches) == 1 and None not in batches else {}
    tokens = [name for name, tensor in example.items() if tensor.dim() == 2 and not tensor.is_floating_point()]
    lengths = {example[name].shape[1] for name in tokens}
    tokens = [name for name, tensor in example.items() if tensor.dim() == 2 and tensor.shape[1] in lengths]
    both = {name: batch.get(name, {}) | ({1: SEQUENCE} if name in tokens else {}) for name in example}
    tries = [both if len(lengths) == 1 else {}, batch, {}]
    return [axes for i, axes in enumerate(tries) if (axes or i == len(tries) - 1) and axes not in tries[:i]]


def resized(example: Tensors, axes: Mapping[str, Mapping[int, str]], sizes: Mapping[str, int]) -> Tensors:
    """The example with other sizes: what is longer repeats itself."""
    made = {}
    for name, tensor in example.items():
        wanted = list(tensor.shape)
        for axis, called in axes.get(name, {}).items():
            wanted[axis] = sizes[called]
        repeats = [-(-size // have) for size, have in zip(wanted, tensor.shape, strict=True)] if tensor.dim() else []
        cut = tuple(slice(0, size) for size in wanted)
        made[name] = tensor.repeat(repeats)[cut].contiguous() if repeats else tensor
    return made


def other_sizes(
    example: Tensors, axes: Mapping[str, Mapping[int, str]], bounds: Mapping[str, tuple[int, int]] | None = None
) -> list[dict[str, int]]:
    """Sizes to compare on besides the example's own: one more, and the least. bounds: (least, most) by name."""
    own = sizes_of(example, axes)
    if not own:
        return []
    low = {name: max(1, (bounds or {}).get(name, (1, 0))[0]) for name in own}
    high = {name: (bounds or {}).get(name, (1, 1 << 20))[1] for name in own}
    more = {name: min(size + 1, high[name]) for name, size in own.items()}
    return [sizes for sizes in (more, low) if sizes != own]


def sizes_of(example: Tensors, axes: Mapping[str, Mapping[int, str]]) -> dict[str, int]:
    """What each open axis measures in the example."""
    return {called: example[name].shape[axis] for name, open_ in axes.items() for axis, called in open_.items()}


def output_axes(module: Any, example: Tensors, axes: Mapping[str, Mapping[int, str]], names: Sequence[str]) -> Axes:
    """The axes of the outputs that follow the inputs' open ones.

    Raises:
        Refused: model-unsupported: it fails on another size.
    """
    own = sizes_of(example, axes)
    before = [array.shape for array in answers(module, example)]
    found: Axes = {}
    for called in own:
        after = answers(module, resized(example, axes, own | {called: own[called] + 1}))
        for name, old, new in zip(names, before, after, strict=True):
            if len(old) != new.ndim:
                raise Refused("model-unsupported", f"output {name} has another number of axes for another {called}")
            found.setdefault(name, {}).update({i: called for i in range(len(old)) if old[i] != new.shape[i]})
    return {name: open_ for name, open_ in found.items() if open_}
