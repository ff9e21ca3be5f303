"""Whether a twin is one, and whether there is something that can be learned: the checks before training and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from edgeopt.compiler.refuse import Refused, out_of_memory, shorten
from edgeopt.compiler.running import Feed
from edgeopt.compiler.runtime import open_session
from edgeopt.compiler.train.data import stacked
from edgeopt.compiler.train.twin import Twin

TOLERANCE = 1e-3
"""Largest error over the largest answer."""

LEAST = 1e-2
"""Answers whose largest value is smaller are compared with this: a runtime's sigmoid is not exact where it is nearly 0."""

SAMPLES = 2


def answers_of(model: Any, feeds: Sequence[Feed], whose: str) -> list[list[Any]]:
    """ONNX Runtime's answers.

    Raises:
        Refused: samples-unfit: it does not take them.
    """
    session = open_session(model.SerializeToString())
    try:
        return [list(session.run(None, feed)) for feed in feeds]
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("samples-unfit", f"{whose} does not take the samples: {shorten(str(error))}") from error


def check_steady(model: Any, feeds: Sequence[Feed]) -> None:
    """Refuse a teacher that answers the same question in two ways: whoever learns from it learns noise.

    Raises:
        Refused: teacher-random.
    """
    one, two = answers_of(model, feeds[:1], "the model"), answers_of(model, feeds[:1], "the model")
    for a, b in zip(one[0], two[0], strict=True):
        if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            raise Refused(
                "teacher-random",
                "the model answers the same sample differently each time, so nothing can be learned from it",
            )


def check_twin(twin: Twin, model: Any, feeds: Sequence[Feed], whose: str) -> float:
    """Compare a twin with ONNX Runtime. Returns the largest error as a share of the largest answer.

    Raises:
        Refused: twin-differs, samples-unfit.
    """
    few = feeds[:SAMPLES]
    expected, worst = answers_of(model, few, whose), 0.0
    for feed, answers in zip(few, expected, strict=True):
        with torch.no_grad():
            made = twin(stacked([feed]))
        for name, answer in zip(twin.output_names, answers, strict=True):
            worst = max(worst, _error(answer, made[name].detach().float().cpu().numpy()))
    if not worst <= TOLERANCE:
        raise Refused(
            "twin-differs",
            f"{whose} in torch answers differently than in ONNX Runtime (by {worst:.1e} of its largest value)",
        )
    return worst


def most_together(twin: Twin, feeds: Sequence[Feed], most: int) -> int:
    """How many samples go through a twin at once: `most`, or 1 where a batch answers differently than its samples do."""
    pair = [feed for feed in feeds if all(feed[n].shape == feeds[0][n].shape for n in feed)][:2]
    if len(pair) < 2 or any(array.ndim and array.shape[0] != 1 for array in pair[0].values()):
        return 1
    try:
        with torch.no_grad():
            both, each = twin(stacked(pair)), [twin(stacked([feed])) for feed in pair]
    except Refused:
        return 1
    for name in twin.output_names:
        one = torch.cat([answer[name] for answer in each]) if each[0][name].dim() else each[0][name]
        if (
            one.shape != both[name].shape
            or _error(one.float().cpu().numpy(), both[name].float().cpu().numpy()) > TOLERANCE
        ):
            return 1
    return most


def bytes_of_a_sample(twin: Twin, feed: Feed) -> int:
    """What a training step keeps of one sample: every tensor of the graph."""
    names = tuple(name for node in twin.nodes for name in node.outputs if name)
    with torch.no_grad():
        made = twin(stacked([feed]), names)
    return sum(tensor.numel() * tensor.element_size() for tensor in made.values() if tensor is not None)


def macs_of_a_sample(twin: Twin, feed: Feed) -> int:
    """Multiplications of products for one sample, counted while they run: for graphs whose sizes are the samples'."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        twin(stacked([feed]))
    return int(counter.get_total_flops()) // 2


def _error(expected: Any, got: Any) -> float:
    if expected.shape != got.shape:
        return float("inf")
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    known = np.isfinite(expected)
    if not np.array_equal(known, np.isfinite(got)):
        return float("inf")
    gap = np.max(np.abs(expected[known] - got[known]), initial=0.0)
    return float(gap / max(float(np.max(np.abs(expected[known]), initial=0.0)), LEAST))
