"""Tell the true accuracy of any ONNX variant of the example's network on generated pictures with known labels.

edgeopt itself never sees these labels. This script is the judge of what edgeopt claims without them: with --original it
also tells how often the variant agrees with the original and what the variant truly lost.
"""

import argparse
import json
import math
import os
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from dataset import TEST_SEED, labels, network_input, pictures
from surfaces import SIZE

Classes = NDArray[np.int64]
"""One class number per picture."""
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
_BATCH = 32


def predict(model: Path, images: NDArray[np.uint8]) -> Classes:
    """Class numbers that a model gives for pictures (count x 96 x 96 x 3)."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (declared,) = session.get_inputs()
    fits = len(declared.shape) == 4 and declared.shape[1:] == [3, SIZE, SIZE] and declared.type in _FLOATS
    if not fits:
        raise SystemExit(f"{model} takes {declared.type} {declared.shape}: not a variant of this example's network")
    size = declared.shape[0] if isinstance(declared.shape[0], int) else _BATCH
    batches = np.split(images, range(size, len(images), size))
    return np.concatenate([_predict_batch(session, batch, size, _FLOATS[declared.type]) for batch in batches])


def _predict_batch(
    session: onnxruntime.InferenceSession, batch: NDArray[np.uint8], size: int, dtype: type[np.floating]
) -> Classes:
    """Class numbers of one batch, which is filled up to the size that a fixed-batch model insists on."""
    (declared,) = session.get_inputs()
    filled = np.resize(batch, (size, *batch.shape[1:]))
    (logits,) = session.run(None, {declared.name: network_input(filled).astype(dtype)})
    return np.asarray(logits.argmax(axis=1)[: len(batch)], dtype=np.int64)


def interval(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    z = 1.959964
    share, spread = hits / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    return middle - half, middle + half


def judge(model: Path, original: Path | None, count: int) -> dict[str, float | int]:
    """All figures of one model on the first pictures of the test seed."""
    images = np.stack(list(pictures(TEST_SEED, count, workers=os.cpu_count() or 1)))
    truth, found = labels(TEST_SEED, count), predict(model, images)
    hits = int((found == truth).sum())
    low, high = interval(hits, count)
    figures: dict[str, float | int] = {"count": count, "accuracy": hits / count, "low": low, "high": high}
    if original is not None:
        teacher = predict(original, images)
        figures["original_accuracy"] = float((teacher == truth).mean())
        figures["agreement"] = float((teacher == found).mean())
        figures["accuracy_drop"] = figures["original_accuracy"] - figures["accuracy"]
    return figures


def main() -> None:
    """Parse the command line and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path(__file__).parent / "model.onnx")
    parser.add_argument("--original", type=Path, help="model that the variant was made from")
    parser.add_argument("--count", type=int, default=1_300, help="test pictures (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    for path in filter(None, (options.model, options.original)):
        if not path.is_file():
            parser.error(f"no such model: {path}")
    if options.count < 1:
        parser.error("--count must be at least 1")
    figures = judge(options.model, options.original, options.count)
    if options.json:
        print(json.dumps(figures))
        return
    low, high = figures["low"], figures["high"]
    print(
        f"true accuracy {figures['accuracy']:.4f} (95 %: {low:.4f} to {high:.4f}) on {options.count} labelled pictures"
    )
    if options.original is not None:
        print(f"original {figures['original_accuracy']:.4f}, true drop {figures['accuracy_drop']:+.4f}")
        print(
            f"agreement with the original {figures['agreement']:.4f}, so on these pictures the drop cannot be above "
            f"{1 - figures['agreement']:.4f}"
        )


if __name__ == "__main__":
    main()
