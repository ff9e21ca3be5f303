"""Numbered pictures with known labels: the same seed and number always give the same picture.

Picture i of a seed does not depend on how many pictures are asked for, nor on the order they are made in. Within each
run of as many pictures as there are classes every class comes once, in a random order, so that any prefix is balanced.
"""

from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from outlines import CLASS_NAMES
from scene import render

TRAINING_SEED, TEST_SEED, SAMPLES_SEED = 1, 2, 3
"""Seeds of the pictures that the network learns from, of those that its accuracy is told by, and of unlabelled ones."""

PIXEL_MEAN, PIXEL_STD = 104.0, 56.0
"""Of all three channels, in pixel units from 0 to 255; edgeopt.toml says the same."""

Pictures = NDArray[np.uint8]
"""count x 96 x 96 x 3, RGB."""


def label_of(seed: int, index: int) -> int:
    """The class number of one picture, known before it is drawn."""
    block, place = divmod(index, len(CLASS_NAMES))
    return int(np.random.default_rng([seed, 0, block]).permutation(len(CLASS_NAMES))[place])


def labels(seed: int, count: int) -> NDArray[np.int64]:
    """Class numbers of the first pictures of a seed."""
    return np.array([label_of(seed, index) for index in range(count)], dtype=np.int64)


def picture(seed: int, index: int) -> Pictures:
    """One picture, 96 x 96 x 3."""
    return render(label_of(seed, index), np.random.default_rng([seed, 1, index]))


def pictures(seed: int, count: int, workers: int = 1) -> Iterable[Pictures]:
    """The first pictures of a seed, in order; made by several processes when there are many."""
    if workers == 1:
        yield from starmap(picture, ((seed, index) for index in range(count)))
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(partial(picture, seed), range(count), chunksize=32)


def network_input(batch: Pictures) -> NDArray[np.float32]:
    """Pictures as the network takes them: count x 3 x 96 x 96, normalised."""
    return np.ascontiguousarray(((batch - np.float32(PIXEL_MEAN)) / np.float32(PIXEL_STD)).transpose(0, 3, 1, 2))
