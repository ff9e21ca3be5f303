"""Recipes and what they built."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgeopt.domain.model import ModelFile

Budget = Literal["instant", "standard", "deep"]
"""How long a recipe may search: about a minute, ten, or as long as it helps."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One compression step: the name of a function in `compiler.steps` and its options, as data."""

    name: str
    options: dict[str, Any] = {}


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """Ordered steps from the original to a file in `format` for `runtime`.

    `encoding` is the number format in words: `fp32`, `fp16`, `int8 dynamic`, `int8 U8S8 per-channel`.
    """

    name: str
    title: str
    steps: tuple[Step, ...]
    encoding: str
    format: Literal["onnx"] = "onnx"
    runtime: str = "onnxruntime"
    needs_samples: bool = False


class Fidelity(msgspec.Struct, frozen=True, kw_only=True):
    """How far a variant's answers are from the original's, on samples that calibration never saw.

    `agreement` is top-1 agreement (0..1) for classification, mean cosine similarity (-1..1) otherwise. `agreement_lower` is the
    one-sided 95 % Clopper-Pearson lower bound of the top-1 agreement, None for other tasks; `1 - agreement_lower` therefore
    bounds the loss of accuracy. `sqnr_db` is the signal to quantisation noise ratio over all outputs; None when the noise is exactly zero
    (see `identical`). `where` says who computed the variant's answers.
    """

    where: Literal["host", "device"]
    metric: Literal["top1", "cosine"]
    samples: int
    agreement: float
    agreement_lower: float | None
    cosine: float
    sqnr_db: float | None
    max_abs_error: float
    identical: bool
    finite: bool
    notes: tuple[str, ...] = ()


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
