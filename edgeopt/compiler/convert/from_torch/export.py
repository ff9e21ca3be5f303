"""A network of PyTorch written as ONNX, and compared with it. Child side."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.convert.from_torch.network import Network, Tensors
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten
from edgeopt.compiler.runtime import open_session

OPSET = 17
"""The first with LayerNormalization as one operator, which every runtime that edgeopt knows reads."""

SAME = 1e-3
"""Largest difference between PyTorch's answers and the file's, over the largest value of each output."""

MAX_BYTES = (2 << 30) - (64 << 20)
"""The file holds its weights itself, and protobuf ends at 2 GiB."""


def export(network: Network, path: Path) -> float:
    """Write the file; returns the largest difference to the source.

    Raises:
        Refused: model-unsupported: an operator has no ONNX form, the network answers otherwise each time, or the file answers otherwise than the network.
    """
    import torch

    module = network.module.eval()
    size = sum(each.numel() * each.element_size() for each in (*module.parameters(), *module.buffers()))
    if size > MAX_BYTES:
        raise Refused("model-too-large", f"its weights have {size / 2**30:.1f} GiB, and 2 GiB is the most")
    with torch.no_grad(), quiet():
        expected = [answers(module, example) for example in network.examples]
        check_repeats(module, network.examples[0], expected[0])
        trace(network, path)
    return check_same(path, network.examples, expected)


def trace(network: Network, path: Path) -> None:
    """Write the ONNX file of what the first example runs through.

    Raises:
        Refused: model-unsupported with the exporter's words.
    """
    import torch

    example = network.examples[0]
    try:
        torch.onnx.export(
            network.module,
            tuple(example.values()),
            str(path),
            input_names=list(example),
            output_names=list(network.outputs),
            dynamic_axes=network.open_axes,
            opset_version=OPSET,
            # As it is, in the mode that it is in: the other mode merges batch norms, which say what it was trained on.
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unsupported", f"PyTorch cannot write it as ONNX: {shorten(str(error))}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporter's warnings: what it warns of is what the comparison finds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def answers(module: Any, example: Tensors) -> list[Any]:
    """What a module answers, as numpy arrays.

    Raises:
        Refused: model-unsupported: it fails, or answers something that is not a tensor.
    """
    import torch

    try:
        found = module(*example.values())
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unsupported", f"the module fails on its example: {shorten(str(error))}") from error
    outputs = list(found) if isinstance(found, (tuple, list)) else [found]
    if not outputs or not all(isinstance(each, torch.Tensor) for each in outputs):
        kinds = ", ".join(sorted({type(each).__name__ for each in outputs})) or "nothing"
        raise Refused("model-unsupported", f"it answers {kinds}; only tensors, alone or in a tuple, can be written")
    return [each.detach().cpu().numpy() for each in outputs]


def check_repeats(module: Any, example: Tensors, before: Sequence[Any]) -> None:
    """See that the network answers the same twice: with noise inside, nothing could be compared with it.

    Raises:
        Refused: model-unsupported.
    """
    if apart(before, answers(module, example)) > SAME:
        raise Refused(
            "model-unsupported", "it answers the same input differently each time: something in it draws random numbers"
        )


def check_same(path: Path, examples: Sequence[Tensors], expected: Sequence[Sequence[Any]]) -> float:
    """The largest difference over all examples, with ONNX Runtime on this computer.

    Raises:
        Refused: model-unsupported: it is larger than `SAME`, or the file does not run.
    """
    session = open_session(path)
    known = {each.name for each in session.get_inputs()}
    worst = 0.0
    for example, wanted in zip(examples, expected, strict=True):
        feed = {name: tensor.numpy() for name, tensor in example.items() if name in known}
        try:
            got = session.run(None, feed)
        except Exception as error:
            if out_of_memory(error):
                raise MemoryError from error
            sizes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in example.items())
            raise Refused(
                "model-unsupported", f"as ONNX it fails on {sizes}, which PyTorch takes: {shorten(str(error))}"
            ) from error
        worst = max(worst, apart(wanted, got))
    if worst > SAME:
        raise Refused(
            "model-unsupported",
            f"as ONNX it answers differently, by {worst:.1e} of the largest value, and {SAME:g} is the most",
        )
    return worst


def apart(wanted: Sequence[Any], got: Sequence[Any]) -> float:
    """Largest difference of each output over its largest value, the largest of all outputs; infinite where shapes differ or one is not a number."""
    worst = 0.0
    for expected, found in zip(wanted, got, strict=True):
        if expected.shape != found.shape:
            return float("inf")
        first, second = np.asarray(expected, np.float64), np.asarray(found, np.float64)
        known = np.isfinite(first)
        if not np.array_equal(known, np.isfinite(second)):
            return float("inf")
        size = max(float(np.abs(first[known]).max(initial=0.0)), 1e-6)
        worst = max(worst, float(np.abs(first - second)[known].max(initial=0.0)) / size)
    return worst
