"""Where the damage is: the samples that lost most, and kinds of samples that lose more than others.

Kinds are the teacher's classes when there are enough samples of each, otherwise k-means (Lloyd, IEEE Trans. Inf. Theory 28 (1982), seeded by k-means++) over
a sketch of the teacher's answers. A kind is reported when its mean error is above that of as many samples drawn at random, in a permutation test at 5 %
over all kinds together (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeopt.compiler.score.bounds import ALPHA
from edgeopt.compiler.score.form import Array, Outputs
from edgeopt.domain.variant import WorstCluster, WorstSample

MOST_SAMPLES, MOST_CLUSTERS = 5, 5
FEWEST = 20
"""Samples below which no kinds are told apart."""
PER_KIND = 10
"""Samples that a kind has on average."""
DRAWS = 2000
SKETCH = 32
ROUNDS = 25


def worst_samples(
    each: Array, kl: Array | None, cosines: Sequence[float], names: Sequence[str]
) -> tuple[WorstSample, ...]:
    """At most five samples that disagree, or whose answers are not the teacher's, worst first: by agreement, then KL, then cosine.

    Args:
        each: [n] agreement of each sample.
        kl: [n] in nats, NaN where it is not known; None when no sample has one.
        cosines: [n].
        names: of the samples, [n], or none.
    """
    divergence = np.full(len(each), np.nan) if kl is None else kl
    order = np.lexsort((np.array(cosines), -np.nan_to_num(divergence, nan=0.0), each))
    return tuple(
        WorstSample(
            index=i,
            name=names[i] if i < len(names) else None,
            agreement=float(each[i]),
            kl=None if np.isnan(divergence[i]) else float(divergence[i]),
            cosine=float(cosines[i]),
        )
        for i in order[:MOST_SAMPLES].tolist()
        if each[i] < 1.0 or cosines[i] < 1.0
    )


def worst_clusters(each: Array, labels: Array | None, reference: Outputs, *, seed: int = 0) -> tuple[WorstCluster, ...]:
    """At most five kinds of samples whose mean agreement is significantly below that of all, worst first; [] below 20 samples."""
    if len(each) < FEWEST or float(np.ptp(each)) == 0.0:
        return ()
    kinds, word = _kinds(labels, reference, seed)
    if kinds is None:
        return ()
    errors, values = 1.0 - each, np.unique(kinds)
    found = []
    for kind in values.tolist():
        members = kinds == kind
        p = _p_value(errors, int(members.sum()), float(errors[members].mean()), seed) * len(values)
        if p <= ALPHA:
            found.append(_cluster(f"{word} {kind}", np.flatnonzero(members), each, p))
    return tuple(sorted(found, key=lambda cluster: (cluster.agreement, cluster.label))[:MOST_CLUSTERS])


def _cluster(label: str, members: Array, each: Array, p: float) -> WorstCluster:
    return WorstCluster(
        label=label,
        samples=len(members),
        agreement=float(each[members].mean()),
        p_value=p,
        examples=tuple(members[np.argsort(each[members], kind="stable")][:MOST_SAMPLES].tolist()),
    )


def _p_value(errors: Array, size: int, observed: float, seed: int) -> float:
    """Share of random groups of `size` samples whose mean error is as large, the observed one among them."""
    generator = np.random.default_rng(seed)
    drawn = generator.random((DRAWS, len(errors))).argpartition(size - 1, axis=1)[:, :size]
    as_large = int((errors[drawn].mean(axis=1) >= observed - 1e-12).sum())
    return (1 + as_large) / (1 + DRAWS)


def _kinds(labels: Array | None, reference: Outputs, seed: int) -> tuple[Array | None, str]:
    """[n] the kind of every sample, None when answers differ in shape, and the word for it."""
    if labels is not None and len(np.unique(labels)) * PER_KIND <= len(labels):
        return labels, "class"
    points = sketch(reference, seed)
    return (None if points is None else k_means(points, min(10, len(points) // PER_KIND), seed)), "cluster"


def sketch(reference: Outputs, seed: int = 0) -> Array | None:
    """[n, 32] a count sketch of every sample's first output: values with random signs, added up in random bins.

    It keeps distances in expectation (Charikar, Chen and Farach-Colton, Theor. Comput. Sci. 312 (2004)). None when shapes differ.
    """
    if len({row[0].shape for row in reference}) > 1:
        return None
    size = reference[0][0].size
    generator = np.random.default_rng(seed)
    bins, signs = generator.integers(0, SKETCH, size), generator.choice([-1.0, 1.0], size)
    rows = [np.bincount(bins, weights=signs * _flat(row[0]), minlength=SKETCH) for row in reference]
    return np.array(rows)


def _flat(array: Array) -> Array:
    return np.nan_to_num(array.astype(np.float64).reshape(-1), nan=0.0, posinf=0.0, neginf=0.0)


def k_means(points: Array, k: int, seed: int = 0) -> Array:
    """[n] the cluster, 0 to k - 1, of each of the points [n, d]."""
    generator = np.random.default_rng(seed)
    centres = points[[int(generator.integers(len(points)))]]
    while len(centres) < k:
        distance = _distances(points, centres).min(axis=1)
        if distance.sum() <= 0.0:  # fewer distinct points than clusters
            break
        centres = np.concatenate([centres, points[[generator.choice(len(points), p=distance / distance.sum())]]])
    nearest = _distances(points, centres).argmin(axis=1)
    for _ in range(ROUNDS):
        centres = np.array(
            [points[nearest == i].mean(axis=0) if (nearest == i).any() else c for i, c in enumerate(centres)]
        )
        moved = _distances(points, centres).argmin(axis=1)
        if np.array_equal(moved, nearest):
            break
        nearest = moved
    kinds: Array = nearest
    return kinds


def _distances(points: Array, centres: Array) -> Array:
    """[n, k] squared."""
    squared: Array = np.square(points[:, None, :] - centres[None]).sum(axis=2)
    return squared
