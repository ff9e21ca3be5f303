"""Train the example's network on generated pictures and export it to ONNX.

Needs PyTorch (edgeopt[torch]). The first epochs see the pictures small, which costs a fraction; a second cycle at
full size learns the details that small pictures lose, such as the slit of a lock washer. A part seen from above stays
what it is when turned by 90 degrees or mirrored, so each batch is.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from dataset import TEST_SEED, TRAINING_SEED, labels, network_input, pictures
from network import parts_network
from outlines import CLASS_NAMES

BATCH = 32
CYCLES = (((48,) * 5 + (64,) * 4 + (96,) * 3, 2e-3), ((96,) * 5, 1e-3))
"""Learning-rate cycles: pixels a side that the pictures are shrunk to, one for each epoch, and the peak rate."""


def tensors(seed: int, count: int) -> tuple[Tensor, Tensor]:
    """Pictures (uint8, count x 96 x 96 x 3) and class numbers of a seed."""
    stack = np.stack(list(pictures(seed, count, workers=os.cpu_count() or 1)))
    return torch.from_numpy(stack), torch.from_numpy(labels(seed, count))


def prepared(batch: Tensor) -> Tensor:
    """A batch as the network takes it, in the memory order that is fastest to train in."""
    return torch.from_numpy(network_input(batch.numpy())).contiguous(memory_format=torch.channels_last)


def turned(batch: Tensor) -> Tensor:
    """The batch in one of the eight ways to lay a square down."""
    choice = int(torch.randint(8, ()))
    return torch.rot90(batch.flip(-1) if choice >= 4 else batch, choice % 4, (-2, -1))


def train(network: nn.Module, data: tuple[Tensor, Tensor], sides: Sequence[int], peak_rate: float) -> None:
    """Train in place with AdamW and one learning-rate cycle, one epoch for each picture size."""
    images, targets = data
    steps = len(images) // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.02)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak_rate, total_steps=len(sides) * steps, pct_start=0.2)
    network.train()
    started = monotonic()
    for epoch, side in enumerate(sides, start=1):
        total_loss = 0.0
        for rows in torch.randperm(len(images))[: steps * BATCH].split(BATCH):
            batch = turned(prepared(images[rows]))
            if side < batch.shape[-1]:
                batch = functional.interpolate(batch, side, mode="bilinear", antialias=True)
            loss = functional.cross_entropy(network(batch), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
            total_loss += loss.item()
        print(f"epoch {epoch}/{len(sides)}: loss {total_loss / steps:.3f}, {monotonic() - started:.0f} s", flush=True)


def logits_of(network: nn.Module, images: Tensor) -> NDArray[np.float32]:
    """Logits of all pictures, count x classes."""
    network.eval()
    with torch.inference_mode():
        return torch.cat([network(prepared(batch)) for batch in images.split(BATCH)]).numpy()


def export(network: nn.Module, path: Path) -> None:
    """Write the network as ONNX opset 17 with a free batch size."""
    network.eval().to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        network,
        (torch.zeros(1, 3, 96, 96),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
        opset_version=17,
        dynamo=False,
    )


def largest_difference(path: Path, images: Tensor, expected: NDArray[np.float32]) -> float:
    """Largest absolute difference of the exported network's logits from the given ones."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": network_input(images.numpy())})
    return float(np.abs(found - expected).max())


def main() -> None:
    """Train, export, compare the export with the original, and tell the accuracy on pictures never trained on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "model.onnx")
    parser.add_argument("--pictures", type=int, default=11_700, help="to train on (default %(default)s)")
    parser.add_argument("--test-pictures", type=int, default=2_600, help="to measure on (default %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="default %(default)s")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(options.threads)
    network = parts_network(len(CLASS_NAMES)).to(memory_format=torch.channels_last)
    data = tensors(TRAINING_SEED, options.pictures)
    for sides, peak_rate in CYCLES:
        train(network, data, sides, peak_rate)
    test_images, test_targets = tensors(TEST_SEED, options.test_pictures)
    logits = logits_of(network, test_images)
    print(f"accuracy on {len(logits)} test pictures: {np.mean(logits.argmax(1) == test_targets.numpy()):.4f}")
    export(network, options.out)
    difference = largest_difference(options.out, test_images[:260], logits[:260])
    if difference > 1e-3:
        raise SystemExit(f"{options.out} does not give PyTorch's answers: logits differ by up to {difference:.2g}")
    print(f"wrote {options.out}, {options.out.stat().st_size} bytes; logits within {difference:.1g} of PyTorch's")


if __name__ == "__main__":
    main()
