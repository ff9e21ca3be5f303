"""Build variants into a folder, with no device."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec

from edgeopt.domain.model import ModelInfo
from edgeopt.domain.observer import Observer
from edgeopt.domain.variant import Built, Variant
from edgeopt.errors import StoreError
from edgeopt.flows.build import build
from edgeopt.flows.prepare import prepare
from edgeopt.flows.request import Request
from edgeopt.profiles.places import Places
from edgeopt.store.blobs import write_atomic


class Compiled(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the folder: `variants.json` says the same."""

    model: ModelInfo
    variants: tuple[Variant, ...]
    document: dict[str, object]


def compile_model(request: Request, out: Path | None, places: Places, observer: Observer) -> Compiled:
    """Build every variant that the request allows; copy them to `out` and write `out/variants.json` there.

    Raises:
        StoreError: `out` cannot be written.
        UserError: see `prepare`.
    """
    from edgeopt.report.json_report import variants_document

    job = prepare(request, places, observer, default_device="local", invent=True)
    variants = build(job, places, observer).variants
    if out is not None:
        variants = tuple(_copy(variant, out) if isinstance(variant, Built) else variant for variant in variants)
    document = variants_document(job.model, variants)
    if out is not None:
        write_atomic(out / "variants.json", msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    return Compiled(model=job.model, variants=variants, document=document)


def _copy(variant: Built, out: Path) -> Built:
    folder = out / variant.name
    try:
        for file in variant.files:
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(Path(variant.folder) / file.path, target)
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise StoreError(msg, hint="Check the folder named with --out.") from error
    return msgspec.structs.replace(variant, folder=str(folder))
