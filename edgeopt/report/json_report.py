"""Runs, picks and variants as documents for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from edgeopt._version import __version__
from edgeopt.domain.bundle import Release
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.domain.variant import Built, Variant
from edgeopt.report.conditions import conditions_of
from edgeopt.report.documents import (
    BenchDocument,
    BuiltEntry,
    Choice,
    DeployDocument,
    ModelEntry,
    SkippedEntry,
    VariantEntry,
    VariantsDocument,
)


def bench_document(run: Run, pick: Pick) -> BenchDocument:
    """Return a run and a pick from it as one object."""
    return BenchDocument(**_measured(run, pick))


def deploy_document(run: Run, pick: Pick, release: Release | None) -> DeployDocument:
    """Return a run, the pick from it, and what was installed."""
    return DeployDocument(**_measured(run, pick), release=release)


def variants_document(model: ModelInfo, variants: Sequence[Variant]) -> dict[str, Any]:
    """Return the content of `variants.json`; files are relative to its folder, as `<name>/<file>`."""
    document = VariantsDocument(
        edgeopt_version=__version__,
        model=_model(model),
        variants=tuple(_variant(variant, in_folder=True) for variant in variants),
    )
    built: dict[str, Any] = msgspec.to_builtins(document)
    return built


def _measured(run: Run, pick: Pick) -> dict[str, Any]:
    return {
        "edgeopt_version": run.edgeopt_version,
        "run": run.id,
        "created_at": run.created_at,
        "app": run.app,
        "device": run.device.name,
        "profile": run.profile.name,
        "model": _model(run.model),
        "goal": pick.goal,
        "status": pick.status,
        "pick": Choice(candidate=pick.candidate, variant=pick.variant, reason=pick.reason),
        "frontier": pick.frontier,
        "losers": pick.losers,
        "candidates": pick.summaries,
        "more_time": pick.more_time,
        "variants": tuple(_variant(variant, in_folder=False) for variant in run.variants),
        "energy_reason": run.energy_reason,
        "energy_note": pick.energy_note,
        "conditions": conditions_of(run),
        "prior": pick.prior,
        "pruned": run.pruned,
        "pruned_settings": run.pruned_settings,
        "sustained": run.sustained,
    }


def _model(model: ModelInfo) -> ModelEntry:
    return ModelEntry(name=model.name, digest=model.digest, bytes=model.bytes)


def _variant(variant: Variant, *, in_folder: bool) -> VariantEntry:
    if not isinstance(variant, Built):
        return SkippedEntry(name=variant.name, recipe=variant.recipe, reason=variant.reason)
    graph = variant.files[0]
    return BuiltEntry(
        name=variant.name,
        recipe=variant.recipe,
        file=f"{variant.name}/{graph.path}" if in_folder else None,
        format=variant.recipe.format,
        runtime=variant.recipe.runtime,
        encoding=variant.encoding,
        bytes=variant.bytes,
        sha256=graph.digest,
        digest=variant.digest,
        fidelity=variant.fidelity,
        fidelity_reason=variant.fidelity_reason,
        notes=variant.notes,
        provenance=variant.provenance,
        build_s=variant.build_s,
        cached=variant.cached,
    )
