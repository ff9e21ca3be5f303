"""The training script still trains, and exports what it trained. Needs PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from dataset import pictures  # noqa: E402
from network import parts_network  # noqa: E402
from outlines import CLASS_NAMES  # noqa: E402
from train import BATCH, export, largest_difference, logits_of, tensors, train  # noqa: E402

PARTS = Path(__file__).resolve().parents[3] / "examples" / "parts"


def shapes_of_weights(path: Path) -> list[tuple[int, ...]]:
    """Of all initialisers with at least two axes, in the file's order."""
    return [tuple(each.dims) for each in onnx.load(path).graph.initializer if len(each.dims) > 1]


@pytest.fixture
def network() -> torch.nn.Module:
    """The untrained network, the same in each test."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return parts_network(len(CLASS_NAMES)).to(memory_format=torch.channels_last)


def test_training_lowers_the_loss_on_what_it_sees(network: torch.nn.Module) -> None:
    """Two batches, shown small, many times over, are learnt to some degree."""
    images, targets = tensors(7, 2 * BATCH)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        train(network, (images, targets), [32] * 12, 2e-3)
        network.train()
        with torch.inference_mode():
            small = torch.nn.functional.interpolate(prepared_batch(images), 32, mode="bilinear", antialias=True)
            loss = torch.nn.functional.cross_entropy(network(small), targets)
    assert float(loss) < np.log(len(CLASS_NAMES))


def prepared_batch(images: torch.Tensor) -> torch.Tensor:
    """As the training script feeds them."""
    from train import prepared

    return prepared(images)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_export_gives_the_answers_of_the_network_and_the_graph_of_the_committed_model(
    network: torch.nn.Module, tmp_path: Path
) -> None:
    """Even untrained, ONNX Runtime and PyTorch agree; the committed weights have the shapes of this code."""
    images = torch.from_numpy(np.stack(list(pictures(7, 5))))
    expected = logits_of(network, images)
    export(network, tmp_path / "model.onnx")
    assert largest_difference(tmp_path / "model.onnx", images, expected) < 1e-4
    assert shapes_of_weights(tmp_path / "model.onnx") == shapes_of_weights(PARTS / "model.onnx")
