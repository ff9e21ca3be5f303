"""Guess what a model is for from its signature and how its graph ends. Pure; works on anything that looks like onnx's records.

The first rule that speaks decides; each says why in words that can follow "because". A wrong guess costs no correctness, only a worse
figure of agreement, and `task` in edgeopt.toml or `--task` overrules it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeopt.compiler.endings import ending, is_normalised
from edgeopt.compiler.guess_detector import guess_detector
from edgeopt.compiler.signature import axis, said, shape_words, sides, takes_tokens
from edgeopt.domain.model import Task, TensorSpec

Guess = tuple[Task, str]

VECTOR = 64
"""Entries of an embedding, at least."""
EMBEDDING_WORDS = ("embed", "feature", "pooler", "hidden")


def guess_task(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], graph: Any) -> Guess:
    """Return the task and the reason, in words that can follow "because"."""
    found = guess_detector(inputs, outputs)
    if found is not None:
        return found
    return _several(inputs, outputs, graph) if len(outputs) != 1 else _single(inputs, outputs[0], graph)


def _single(inputs: Sequence[TensorSpec], output: TensorSpec, graph: Any) -> Guess:
    if not output.dtype.startswith("float"):
        return _labels(inputs, output)
    if any(_like(spec, output) for spec in inputs):
        return "regression", "its output has the shape of its input, as in an autoencoder or a filter"
    rules = {2: _vector, 3: _sequence, 4: _picture}
    rule = rules.get(len(output.shape or ()))
    if rule is None:
        return "other", f"its output {output.name!r} has the shape {shape_words(output)}, which no task known here has"
    return rule(inputs, output, graph)


def _several(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], graph: Any) -> Guess:
    """Of a text model the first output counts, the others are caches and pooled copies."""
    first = outputs[0]
    if takes_tokens(inputs) and first.shape is not None and len(first.shape) == 3 and first.dtype.startswith("float"):
        return _sequence(inputs, first, graph)
    return "other", f"it has {len(outputs)} outputs, which do not look like boxes and scores"


def _labels(inputs: Sequence[TensorSpec], output: TensorSpec) -> Guess:
    picture = sides(inputs)
    if (
        output.dtype.startswith("int")
        and picture is not None
        and output.shape is not None
        and picture == output.shape[-2:]
    ):
        return "segmentation", f"{said(output)} of {output.dtype}, a label for every pixel of its input"
    return "other", f"its output {output.name!r} is {output.dtype}, class scores are floats"


def _vector(inputs: Sequence[TensorSpec], output: TensorSpec, graph: Any) -> Guess:
    """[N, C]: scores, an embedding, or a single number."""
    end = ending(graph, output.name)
    width = axis(output, 1)
    if width == 1:
        if end == "Sigmoid":
            return "classification", f"{said(output)} and the graph ends in Sigmoid: yes or no"
        return "regression", f"{said(output)}, one number"
    if width is None or width < 2:
        return "other", f"its output {output.name!r} has the shape {shape_words(output)}, class scores are [N, C]"
    if _is_embedding(inputs, output, graph, end, width):
        return "embedding", f"{said(output)} and is named, normalised or pooled as a vector to compare"
    if end is None:
        return "other", "its graph does not end in class scores (Softmax, a dense layer, or pooling)"
    return "classification", f"{said(output)} and the graph ends in {end}"


def _is_embedding(inputs: Sequence[TensorSpec], output: TensorSpec, graph: Any, end: str | None, width: int) -> bool:
    """A name says it, or the vector is brought to length 1, or a text is averaged over its tokens."""
    if width < VECTOR:
        return False
    named = any(word in output.name.lower() for word in EMBEDDING_WORDS)
    pooled_text = takes_tokens(inputs) and end in {"ReduceMean", None}
    return named or pooled_text or is_normalised(graph, output.name)


def _sequence(inputs: Sequence[TensorSpec], output: TensorSpec, graph: Any) -> Guess:
    """[N, T, V]: scores of tokens when it ends in a dense layer or Softmax, hidden states otherwise."""
    width, end = axis(output, 2), ending(graph, output.name)
    named = any(word in output.name.lower() for word in EMBEDDING_WORDS)
    if width is not None and width >= VECTOR and (named or (end is None and takes_tokens(inputs))):
        return "embedding", f"{said(output)}, a vector for every token, and the graph does not end in scores"
    if width is not None and width >= 2 and end is not None:
        return "tokens", f"{said(output)} and the graph ends in {end}: scores at every position"
    return "other", f"its output {output.name!r} has the shape {shape_words(output)} and does not end in scores"


def _picture(inputs: Sequence[TensorSpec], output: TensorSpec, graph: Any) -> Guess:
    """[N, C, 1, 1] is a vector; a map as large as the input is a mask or a picture."""
    shape, picture = output.shape or (), sides(inputs)
    if shape[2:] == (1, 1):
        return _vector(inputs, output, graph)
    if picture is None or picture not in (shape[2:], shape[1:3]):
        return (
            "other",
            f"its output {output.name!r} has the shape {shape_words(output)}, not the height and width of its input",
        )
    channels = axis(output, 1) if picture == shape[2:] else axis(output, 3)
    if channels == 1 and ending(graph, output.name) != "Sigmoid":
        return "regression", f"{said(output)}, one number for every pixel"
    return "segmentation", f"{said(output)}, scores for every pixel of its input"


def _like(spec: TensorSpec, output: TensorSpec) -> bool:
    """Same rank and the same axes after the batch."""
    return spec.shape is not None and output.shape is not None and spec.shape[1:] == output.shape[1:]
