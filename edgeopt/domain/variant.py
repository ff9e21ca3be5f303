"""Recipes and what they built."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from edgeopt.domain.model import ModelFile

Budget = Literal["instant", "standard", "deep"]
"""How long a recipe may search: about a minute, ten, or as long as it helps."""


Objective = Literal["masked", "nce", "seed", "minilm", "mlm", "clm", "plm", "multitask"]
"""What a student is asked to do beside mimicry of its teacher."""


class Recovery(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How what pruning broke is trained, without labels.

    `objectives` stand beside mimicry; none by default. `trainable` is what learns: `all`, `affine` (biases, scales, norms), or `lora` (affine, and low-rank additions that are merged).
    """

    objectives: tuple[Objective, ...] = ()
    trainable: Literal["all", "affine", "lora"] = "all"
    seed: Annotated[int, msgspec.Meta(ge=0, le=(1 << 31) - 1)] = 0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One compression step: the name of a function in `compiler.steps` and its options, as data."""

    name: str
    options: dict[str, Any] = {}


Format = Literal["onnx", "tflite", "openvino", "ncnn", "tensorrt"]
"""Of a variant's files: what its runtime opens."""


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Ordered steps from the original to a file in `format` for `runtime`.

    `encoding` is the number format in words: `fp32`, `fp16`, `int8 dynamic`, `int8 U8S8 per-channel`. `encoded_as` is how int8 is written where the format or its runtime
    wants it, whatever the profile says; None: as the profile says.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    encoding: str
    format: Format = "onnx"
    runtime: str = "onnxruntime"
    needs_samples: bool = False
    encoded_as: str | None = None


Metric = Literal["top1", "cosine", "box_f1", "cell_f1", "miou", "one_minus_nrmse", "token_top1"]


class WorstSample(msgspec.Struct, frozen=True, kw_only=True):
    """A held-out sample and its own figures. `index` counts held-out samples from 0, `name` is its file's where it has one."""

    index: int
    name: str | None
    agreement: float
    kl: float | None
    cosine: float


class WorstCluster(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of samples that loses more than others: `label` is `class 3` (the original answers that) or `cluster 2` (its answers are alike).

    `p_value` is that of a permutation test, times the number of kinds. `examples` are indices of held-out samples.
    """

    label: str
    samples: int
    agreement: float
    p_value: float
    examples: tuple[int, ...] = ()


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """How far a variant's answers are from the original's, on samples that calibration never saw.

    `agreement` is in 0..1, by `metric`: `top1` share of equal answers (classification), `token_top1` the same over positions, averaged over samples; `box_f1`
    F1 of the original's boxes and the variant's (IoU 0.5 or more, same class), `cell_f1` the same of confident cells where boxes cannot be decoded; `miou` mean
    intersection over union of masks; `one_minus_nrmse` of numbers, cut at 0; `cosine` mean similarity of anything else, cut at 0 for embeddings.

    `agreement_lower` is the one-sided 95 % lower bound of the agreement for `top1` (Clopper-Pearson) and `token_top1` (over samples), None for others;
    `1 - agreement_lower` bounds the loss of accuracy. `expected_drop` is the loss of accuracy that the original's own probabilities
    expect: never negative, and too high where the original is over-confident. `expected_drop_low` to `expected_drop_high` is where labels of as many samples
    would show the drop in 95 of 100 cases, if those probabilities were right; below 0 is a gain. `kl` is the
    mean divergence from the original's class probabilities in nats.

    `sqnr_db` is the signal to quantisation noise ratio over all outputs; None when the noise is exactly zero (see `identical`). `neighbour_recall` and
    `similarity_spearman` are of embeddings, `r2` of regressions. `where` says who computed the variant's answers. `reasons` says by field name why a figure
    that the task could have is None; `notes` are sentences for people. `synthetic`: the samples were invented, so nothing is claimed about accuracy.
    """

    where: Literal["host", "device"]
    metric: Metric
    samples: int
    agreement: float
    agreement_lower: float | None
    cosine: float
    sqnr_db: float | None
    max_abs_error: float
    identical: bool
    finite: bool
    notes: tuple[str, ...] = ()
    kl: float | None = None
    expected_drop: float | None = None
    expected_drop_low: float | None = None
    expected_drop_high: float | None = None
    neighbour_recall: float | None = None
    similarity_spearman: float | None = None
    r2: float | None = None
    worst_samples: tuple[WorstSample, ...] = ()
    worst_clusters: tuple[WorstCluster, ...] = ()
    reasons: dict[str, str] = {}
    synthetic: bool = False


class Built(msgspec.Struct, frozen=True, kw_only=True, tag="built", tag_field="status"):
    """A variant that exists: `digest` names the whole set of files, `files[0]` is the graph, `folder` is where they lie on the host."""

    name: str
    recipe: Recipe
    encoding: str
    digest: str
    bytes: int
    files: tuple[ModelFile, ...]
    folder: str
    fidelity: Fidelity | None
    fidelity_reason: str | None = None
    build_s: float
    cached: bool
    provenance: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class Skipped(msgspec.Struct, frozen=True, kw_only=True, tag="skipped", tag_field="status"):
    """A variant that does not exist, and why, in a sentence for people."""

    name: str
    recipe: Recipe
    reason: str


Variant = Built | Skipped
