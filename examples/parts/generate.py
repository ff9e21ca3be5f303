"""Write pictures of hardware parts as PNG files, and their labels when asked.

Needs numpy and Pillow only. The same seed always gives the same pictures.
"""

import argparse
import csv
import os
from pathlib import Path

from PIL import Image

from dataset import SAMPLES_SEED, labels, pictures
from outlines import CLASS_NAMES


def write_pictures(folder: Path, seed: int, count: int, workers: int) -> list[str]:
    """Write the first pictures of a seed into a folder and return the file names, which do not tell the class."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"part-{index:05d}.png" for index in range(count)]
    for name, pixels in zip(names, pictures(seed, count, workers), strict=True):
        Image.fromarray(pixels).save(folder / name)
    return names


def write_labels(folder: Path, seed: int, names: list[str]) -> None:
    """Write labels.csv beside the pictures: file name and class name."""
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["file", "label"])
        writer.writerows(
            (name, CLASS_NAMES[label]) for name, label in zip(names, labels(seed, len(names)), strict=True)
        )


def main() -> None:
    """Parse the command line and write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; made when absent")
    parser.add_argument("--count", type=int, default=520, help="number of pictures (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SAMPLES_SEED, help="default %(default)s; 1 trains, 2 tests")
    parser.add_argument("--labels", action="store_true", help="write labels.csv too")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    options = parser.parse_args()
    if options.count < 1 or options.seed < 0 or options.workers < 1:
        parser.error("--count and --workers must be at least 1, --seed at least 0")
    names = write_pictures(options.out, options.seed, options.count, options.workers)
    if options.labels:
        write_labels(options.out, options.seed, names)
    print(f"{len(names)} pictures of {len(CLASS_NAMES)} kinds of part written to {options.out}")


if __name__ == "__main__":
    main()
