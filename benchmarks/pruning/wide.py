"""A network with something to spare: ResNet-18 (He et al. 2016) on the example's pictures, trained here. One command.

    python benchmarks/pruning/wide.py [--out DIR] [--pictures N] [--epochs N] [--half]

Writes `resnet18.onnx` (input `image` N x 3 x 96 x 96, output `logits` N x 13, 11 million weights: eight ReLU blocks of 64 to 512 channels for thirteen kinds of parts), which
`curve.py` prunes, and tells its accuracy on pictures of a seed not trained on. Takes a minute on a large GPU, half an hour of AVX512-BF16 with --half and --epochs 12 (one core). Needs edgeopt[torch].
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import monotonic

import torch
from torch import Tensor, nn
from torch.nn import functional

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "examples" / "parts"))

from dataset import PIXEL_MEAN, PIXEL_STD, TEST_SEED, TRAINING_SEED  # noqa: E402 - the example's own modules
from network import Residual, convolution  # noqa: E402
from outlines import CLASS_NAMES  # noqa: E402
from train import export, tensors, turned  # noqa: E402

BATCH = 128
PEAK_RATE = 2e-3
WIDTHS = (64, 128, 256, 512)


def resnet18(classes: int) -> nn.Sequential:
    """The untrained network: count x 3 x 96 x 96 to count x classes logits. A stem for small pictures: 3 x 3, then the pooling of the original."""
    blocks: list[nn.Module] = []
    inputs = WIDTHS[0]
    for stage, width in enumerate(WIDTHS):
        blocks += [Residual(inputs, width, stride=1 if stage == 0 else 2), Residual(width, width, stride=1)]
        inputs = width
    stem = [convolution(3, WIDTHS[0], stride=2, activation=nn.ReLU()), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def scaled(batch: Tensor) -> Tensor:
    """Pictures (uint8, count x 96 x 96 x 3) as the network takes them, where they are."""
    return batch.permute(0, 3, 1, 2).float().sub(PIXEL_MEAN).div(PIXEL_STD)


def train(network: nn.Module, images: Tensor, targets: Tensor, epochs: int, *, half: bool) -> None:
    """Train in place with AdamW and one learning-rate cycle; products in bfloat16 where `half`."""
    steps = len(images) // BATCH
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.05)
    cycle = torch.optim.lr_scheduler.OneCycleLR(optimiser, PEAK_RATE, total_steps=epochs * steps, pct_start=0.2)
    started = monotonic()
    network.train()
    for epoch in range(1, epochs + 1):
        total = torch.zeros((), device=images.device)
        for rows in torch.randperm(len(images), device=images.device)[: steps * BATCH].split(BATCH):
            with torch.autocast(images.device.type, torch.bfloat16, enabled=half):
                loss = functional.cross_entropy(network(turned(scaled(images[rows]))), targets[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            cycle.step()
            total += loss.detach()
        print(f"epoch {epoch}/{epochs}: loss {total.item() / steps:.3f}, {monotonic() - started:.0f} s", flush=True)


def accuracy(network: nn.Module, images: Tensor, targets: Tensor) -> float:
    """Share of right answers."""
    network.eval()
    with torch.inference_mode():
        answers = torch.cat([network(scaled(part)).argmax(-1) for part in images.split(BATCH)])
    return (answers == targets).float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "wide")
    parser.add_argument("--pictures", type=int, default=11_700, help="to train on (default %(default)s)")
    parser.add_argument("--test-pictures", type=int, default=2_600, help="to measure on (default %(default)s)")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument(
        "--half", action="store_true", help="products in bfloat16, as on a GPU (AVX512-BF16: twice as fast)"
    )
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    options.out.mkdir(parents=True, exist_ok=True)
    images, targets = (part.to(device) for part in tensors(TRAINING_SEED, options.pictures))
    network = resnet18(len(CLASS_NAMES)).to(device, memory_format=torch.channels_last)
    train(network, images, targets, options.epochs, half=options.half or device.type == "cuda")
    images, targets = (part.to(device) for part in tensors(TEST_SEED, options.test_pictures))
    print(f"accuracy {accuracy(network, images, targets):.4f} on {len(images)} pictures never trained on")
    export(network.cpu().to(memory_format=torch.contiguous_format), options.out / "resnet18.onnx")


if __name__ == "__main__":
    main()
