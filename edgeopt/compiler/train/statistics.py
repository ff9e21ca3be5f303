"""The child's task `fit_pictures`: pictures that nobody took, moved until a network's batch norms see in them what they saw in training.

What a norm answers for a channel has its shift as mean and its scale as deviation over the pictures that it was trained on. Pictures are moved against the gradient of the squared differences of both: Haroush et al.,
*The Knowledge Within: Methods for Data-Free Model Compression*, CVPR 2020, section 3.1; Cai et al., *ZeroQ: A Novel Zero Shot Quantization Framework*, CVPR 2020, section 3.1 (there before the norm; behind it the norm may be merged into
the weights, as it is in the tidy graph that is run here).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeopt.compiler import progress
from edgeopt.compiler.reading import parse
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feed, feeds_of
from edgeopt.compiler.train.check import bytes_of_a_sample, check_twin, macs_of_a_sample, most_together
from edgeopt.compiler.train.device import pick_device
from edgeopt.compiler.train.twin import Twin

TOGETHER, LEAST_TOGETHER = 32, 8
"""Pictures whose statistics are taken as one; of fewer they say little."""

STEP_BYTES = 1 << 30
"""Of activations that are kept for the gradients."""

STEPS, LEAST_STEPS = 20, 10
"""Ten bring most of what eighty do."""
RATE = 0.025
"""Of the range of the pixels, falling by a cosine."""

WORK = 4e12
"""Multiplications that may be spent, counted and not timed: the same pictures on every computer. One or two minutes on two cores."""

LEAST_PICTURES = 32
"""Of a large network: rather few that are fitted than many that are not."""

PASSES = 3.0
"""Forward passes that a step costs, with the gradients."""

LEAST_DEVIATION = 1e-3
"""Of a channel, as a share of its norm's largest: one that is constant has nothing to fit."""

Array = np.ndarray[Any, np.dtype[Any]]
Statistics = Mapping[str, tuple[Any, Any]]
"""By a tensor's name the mean and the deviation of its channels, float32 [C] each."""


def fit_pictures_task(request: dict[str, Any], scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"model", "samples", "out"}` and at will `{"progress"}` -> `{"norms": number, "before": distance, "after": distance}`; the moved pictures go to `out` as arrays `s<i>.0`.

    `samples` are pictures of one float input. Distances are mean squared differences, in deviations of each channel.

    Raises:
        Refused: norms-missing: no norm of the file is in the tidy graph; batch-fixed: pictures do not go through it together; picture-large: there is no time for one of so many multiplications; what the twin refuses.
    """
    progress.begin(request.get("progress"))
    progress.tell("preparing to fit pictures")
    source = Path(request["model"])
    model, statistics = tidy(source, scratch)
    feeds = list(feeds_of(request["samples"]) or ())
    twin = Twin(model)
    check_twin(twin, model, feeds, "the model")
    twin.requires_grad_(False).to(pick_device())
    pictures, before, after = fitted(twin, feeds, statistics)
    np.savez(request["out"], allow_pickle=False, **{f"s{i}.0": picture for i, picture in enumerate(pictures)})
    return {"norms": len(statistics), "before": before, "after": after}


def tidy(source: Path, scratch: Path) -> tuple[Any, Statistics]:
    """The graph as recipes make it, and what its tensors should be like.

    Raises:
        Refused: norms-missing.
    """
    import onnx

    from edgeopt.compiler.steps import STEPS, Bench

    model = parse(source)
    onnx.load_external_data_for_model(model, str(source.parent))
    known = norm_statistics(model)
    bench = Bench(source=source, scratch=scratch, samples=None, max_opset=21, max_ir_version=10)
    for name in ("clean", "float32"):
        model = STEPS[name](model, {}, bench)
    there = {name for node in model.graph.node for name in node.output}
    kept = {name: found for name, found in known.items() if name in there}
    if not kept:
        raise Refused("norms-missing", "none of its batch norms is known by name once they are merged")
    return model, kept


def norm_statistics(model: Any) -> Statistics:
    """What the batch norms of a graph answer, by their constants: the second input is the scale, the third the shift."""
    from onnx import numpy_helper

    constants = _constants(model)
    found = {}
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and {node.input[1], node.input[2]} <= constants.keys():
            scale, shift = (
                torch.from_numpy(numpy_helper.to_array(constants[name]).astype(np.float32)) for name in node.input[1:3]
            )
            found[node.output[0]] = shift, scale.abs()
    return found


def _constants(model: Any) -> dict[str, Any]:
    """Tensors by name, also those that a node passes on: exporters write equal ones once."""
    from onnx import helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            constants[node.output[0]] = helper.get_attribute_value(node.attribute[0])
        elif node.op_type == "Identity" and node.input[0] in constants:
            constants[node.output[0]] = constants[node.input[0]]
    return constants


def fitted(twin: Twin, feeds: Sequence[Feed], statistics: Statistics) -> tuple[list[Array], float, float]:
    """Pictures [1, ...] of the same type, each value within the range of all that were given, and as many as there is time for; with the mean distance before and afterwards.

    Raises:
        Refused: batch-fixed, picture-large.
    """
    together = min(TOGETHER, max(1, STEP_BYTES // max(1, bytes_of_a_sample(twin, feeds[0]))))
    together = min(most_together(twin, feeds, together), len(feeds))
    if together < min(LEAST_TOGETHER, len(feeds)):
        raise Refused("batch-fixed", "too few pictures go through it together to have statistics")
    affordable = int(WORK / (PASSES * max(1, macs_of_a_sample(twin, feeds[0]))))
    if affordable < LEAST_STEPS * min(LEAST_PICTURES, len(feeds)):
        raise Refused("picture-large", "to fit to so large a network would take too long")
    feeds = feeds[: affordable // LEAST_STEPS]
    steps = min(STEPS, affordable // len(feeds))
    arrays = [feed[twin.input_names[0]] for feed in feeds]
    limits = min(float(array.min()) for array in arrays), max(float(array.max()) for array in arrays)
    made: list[Array] = []
    distances = []
    for places in np.array_split(np.arange(len(feeds)), -(-len(feeds) // together)):
        progress.tell("pictures fitted:", len(made), len(feeds))
        pictures = torch.from_numpy(np.concatenate([arrays[place] for place in places]))
        moved, *far = _moved(twin, pictures.to(twin.device).float(), statistics, steps, limits)
        distances.append(far)
        made += [picture[None].astype(arrays[0].dtype) for picture in moved.cpu().numpy()]
    before, after = np.mean(distances, axis=0)
    return made, float(before), float(after)


def _moved(
    twin: Twin, pictures: Any, statistics: Statistics, steps: int, limits: tuple[float, float]
) -> tuple[Any, float, float]:
    """Pictures whose statistics are taken as one: moved, with the distances before and afterwards."""
    low, high = limits
    x = pictures.clone().requires_grad_(True)
    optimiser = torch.optim.Adam([x])
    with torch.no_grad():
        before = float(distance(twin, x, statistics))
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = RATE * (high - low) * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimiser.zero_grad()
        distance(twin, x, statistics).backward()
        optimiser.step()
        with torch.no_grad():
            x.clamp_(low, high)
    with torch.no_grad():
        return x.detach(), before, float(distance(twin, x, statistics))


def distance(twin: Twin, pictures: Any, statistics: Statistics) -> Any:
    """Mean over norms and their channels of the squared differences of mean and deviation, in deviations."""
    (name,) = twin.input_names
    seen = twin({name: pictures}, tuple(statistics))
    far = []
    for tensor, wanted in statistics.items():
        mean, deviation = (each.to(pictures.device) for each in wanted)
        axes = [axis for axis in range(seen[tensor].dim()) if axis != 1]
        found = seen[tensor].mean(axes), (seen[tensor].var(axes, unbiased=False) + 1e-12).sqrt()
        varies = deviation > LEAST_DEVIATION * deviation.max()
        squared = ((found[0] - mean) ** 2 + (found[1] - deviation) ** 2)[varies] / deviation[varies] ** 2
        far.append(squared.mean())
    return torch.stack(far).mean()
