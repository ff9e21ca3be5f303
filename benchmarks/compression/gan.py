"""Is a generative network worth its training as a source of calibration pictures? An ablation: a DCGAN (Radford, Metz and Chintala 2016) against the pictures that the product draws.

    python benchmarks/compression/gan.py [--seeds 3] [--steps 1500] [--json FILE]

For each seed a DCGAN learns from 200 unlabelled pictures of CIFAR-10, and `int8-static` of ResNet-8 is calibrated on those pictures, on 200 that the DCGAN makes, on 200 that are drawn without any
(`edgeopt.samples.invent`), and on noise. All are judged on the other pictures, by labels and by agreement with the float network. Needs the shared test data (EDGEOPT_TESTDATA) and edgeopt[torch].
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

import labelled
import msgspec
import numpy as np
import torch
from labelled import Array
from nodata import CALIBRATION, Network, _built, _classes, _networks, _read, _samples
from torch import Tensor, nn
from torch.nn import functional

from edgeopt.compiler.model_info import inspect_model
from edgeopt.samples.invent import invent_samples

LATENT, WIDTH, BATCH, RATE = 100, 64, 64, 2e-4


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """One seed and source of pictures: shares of the scored pictures, and the seconds that the source took."""

    seed: int
    source: str
    top1: float
    agrees: float
    source_s: float


def generator() -> nn.Sequential:
    """count x 100 x 1 x 1 latent values to count x 3 x 32 x 32 pictures in -1 .. 1."""
    widths = (LATENT, 4 * WIDTH, 2 * WIDTH, WIDTH)
    layers: list[nn.Module] = []
    for number, (fewer, more) in enumerate(pairwise(widths)):
        up = nn.ConvTranspose2d(fewer, more, 4, 1, 0) if number == 0 else nn.ConvTranspose2d(fewer, more, 4, 2, 1)
        layers += [up, nn.BatchNorm2d(more), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(WIDTH, 3, 4, 2, 1), nn.Tanh())


def discriminator() -> nn.Sequential:
    """count x 3 x 32 x 32 pictures to count x 1 logits of being real."""
    widths = (3, WIDTH, 2 * WIDTH, 4 * WIDTH)
    layers: list[nn.Module] = []
    for fewer, more in pairwise(widths):
        norm = [] if fewer == 3 else [nn.BatchNorm2d(more)]
        layers += [nn.Conv2d(fewer, more, 4, 2, 1), *norm, nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(4 * WIDTH, 1, 4), nn.Flatten())


def pictures_of_a_gan(real: Array, count: int, seed: int, steps: int) -> Array:
    """Train on pictures [N, 32, 32, 3] of 0 .. 255 and return as many new ones as asked for."""
    torch.manual_seed(seed)
    data = torch.from_numpy(real).permute(0, 3, 1, 2) / 127.5 - 1
    networks = (generator(), discriminator())
    makes, judges = networks
    optimisers = [torch.optim.Adam(each.parameters(), RATE, betas=(0.5, 0.999)) for each in networks]
    for _ in range(steps):
        rows = data[torch.randint(len(data), (BATCH,))]
        rows = torch.where(torch.rand(BATCH, 1, 1, 1) < 0.5, rows.flip(3), rows)
        made = makes(torch.randn(BATCH, LATENT, 1, 1))
        _step(optimisers[1], _judged(judges(rows), 1.0) + _judged(judges(made.detach()), 0.0))
        _step(optimisers[0], _judged(judges(made), 1.0))
    makes.eval()
    with torch.inference_mode():
        made = makes(torch.randn(count, LATENT, 1, 1))
    return ((made + 1) * 127.5).clamp(0, 255).round().permute(0, 2, 3, 1).numpy()


def _judged(logits: Tensor, truth: float) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, torch.full_like(logits, truth))


def _step(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _sources(network: Network, model: Any, real: Array, seed: int, steps: int) -> dict[str, tuple[Any, float]]:
    """Samples by their source, with the seconds that it took to have them."""
    began = monotonic()
    learned = _samples(model, pictures_of_a_gan(real, CALIBRATION, seed, steps))
    trained = monotonic()
    drawn = invent_samples(model, CALIBRATION, seed, preprocess=network.preprocess)
    done = monotonic()
    noise = np.random.default_rng(seed).uniform(0, 255, real.shape).astype(np.float32)
    return {
        "real": (_samples(model, real), 0.0),
        "DCGAN": (learned, trained - began),
        "drawn": (drawn, done - trained),
        "noise": (_samples(model, noise), 0.0),
    }


def _measure(network: Network, seed: int, steps: int, work: Path) -> list[Result]:
    model = inspect_model(network.model)
    inputs, labels = _read(network, model)
    order = np.random.default_rng(seed).permutation(len(inputs))
    rest = order[CALIBRATION:]
    scored, truth = _samples(model, inputs[rest]), labels[rest]
    original = _classes(network.model, scored, work)
    results = []
    for source, (samples, seconds) in _sources(network, model, inputs[order[:CALIBRATION]], seed, steps).items():
        found = _classes(_built(network.model, model, samples, "standard", work), scored, work)
        top1, agrees = float((found == truth).mean()), float((found == original).mean())
        results.append(Result(seed=seed, source=source, top1=top1, agrees=agrees, source_s=seconds))
        print(msgspec.json.encode(results[-1]).decode(), flush=True)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1500, help="of the DCGAN's training (default %(default)s)")
    parser.add_argument("--json", type=Path, help="write every result there")
    options = parser.parse_args()
    folder = labelled.testdata()
    if folder is None:
        parser.exit(2, "no shared test data: set EDGEOPT_TESTDATA\n")
    with tempfile.TemporaryDirectory() as work:
        network = next(each for each in _networks(folder, Path(work)) if each.name == "ResNet-8")
        results = [r for seed in range(options.seeds) for r in _measure(network, seed, options.steps, Path(work))]
    print(f"\nmeans over {options.seeds} seeds, %\n{'':<8}{'top-1':>8}{'agrees':>8}{'s':>8}")
    for source in dict.fromkeys(result.source for result in results):
        own = [result for result in results if result.source == source]
        top1, agrees = 100 * fmean(r.top1 for r in own), 100 * fmean(r.agrees for r in own)
        print(f"{source:<8}{top1:>8.2f}{agrees:>8.2f}{fmean(r.source_s for r in own):>8.0f}")
    if options.json is not None:
        options.json.write_text(json.dumps(msgspec.to_builtins(results)), encoding="utf-8")


if __name__ == "__main__":
    main()
