"""Variants by content: `<cache>/variants/<key>/` holds the files and `variant.json`, complete or absent."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from edgeopt._version import __version__
from edgeopt.compiler.digests import describe_files, digest_files
from edgeopt.compiler.plan import Pins
from edgeopt.compiler.stages import digest
from edgeopt.domain.variant import Built, Recipe

RECORD = "variant.json"
BUILD_FORMAT = 16
"""Raised when the same recipe begins to give other files."""

LEFT_OVER = timedelta(days=1)
"""Work folders older than this belong to builds that were killed, and so do training runs, or to builds that are done."""

TRAINING = "training"
"""Folder of the cache with a folder for each training run, named by all that its bytes depend on: a run that was killed goes on from there."""

TOOLS = ("onnx", "onnxruntime", "onnxslim", "numpy")

_DECODER = msgspec.json.Decoder(Built)
# Made once, before threads: msgspec 0.22 crashes when two threads meet a record type for the first time.


class VariantCache:
    """The folder of built variants. Several processes may use one: who comes second takes what is there."""

    def __init__(self, cache: Path) -> None:
        self.variants = cache / "variants"
        self.work = cache / "work"
        self.training = cache / TRAINING

    def find(self, key: str, name: str, recipe: Recipe) -> Built | None:
        """A finished variant whose files still have their digests; a damaged one is removed."""
        folder = self.variants / key
        try:
            built = _DECODER.decode((folder / RECORD).read_bytes())
            if describe_files(folder, [file.path for file in built.files]) == built.files:
                return msgspec.structs.replace(built, name=name, recipe=recipe, folder=str(folder), cached=True)
        except FileNotFoundError:
            if not folder.exists():
                return None
        except (OSError, msgspec.MsgspecError):
            pass
        shutil.rmtree(folder, ignore_errors=True)
        return None

    def has(self, key: str) -> bool:
        """Whether it seems to be there. `find` may still see that it is damaged."""
        return (self.variants / key / RECORD).is_file()

    @contextlib.contextmanager
    def room(self, key: str) -> Iterator[Path]:
        """An empty folder on the cache's file system to build in; what is left of it is removed afterwards."""
        self.work.mkdir(parents=True, exist_ok=True)
        self.variants.mkdir(parents=True, exist_ok=True)
        self._sweep()
        with tempfile.TemporaryDirectory(prefix=f"{key[:12]}-", dir=self.work, ignore_cleanup_errors=True) as work:
            folder = Path(work) / "variant"
            folder.mkdir()
            yield folder

    def keep(self, key: str, folder: Path, name: str, recipe: Recipe, answer: dict[str, Any]) -> Built:
        """Move a finished folder to its place, in one step."""
        files = describe_files(folder, answer["files"])
        confinement = answer["confinement"]
        built = Built(
            name=name,
            recipe=recipe,
            encoding=recipe.encoding,
            digest=digest_files(files),
            bytes=sum(file.bytes for file in files),
            files=files,
            folder=str(self.variants / key),
            fidelity=None,
            fidelity_reason="not compared yet",
            build_s=confinement["wall_s"],
            cached=False,
            provenance=provenance(answer["graph_digest"], confinement),
            notes=tuple(answer["notes"]),
        )
        write_durably(folder / RECORD, msgspec.json.format(msgspec.json.encode(built), indent=1))
        sync_folder(folder)
        try:
            folder.rename(self.variants / key)
        except OSError:
            found = self.find(key, name, recipe)
            if found is None:
                raise
            return found
        sync_folder(self.variants)
        return built

    def _sweep(self) -> None:
        oldest = (datetime.now(timezone.utc) - LEFT_OVER).timestamp()
        runs = self.training.iterdir() if self.training.is_dir() else ()
        for folder in (*self.work.iterdir(), *runs):
            with contextlib.suppress(OSError):
                if folder.stat().st_mtime < oldest:
                    shutil.rmtree(folder, ignore_errors=True)


def variant_key(model: str, recipe: Recipe, pins: Pins, samples: str | None) -> str:
    """sha256 over all that a variant is made from: the model, the recipe, the pins, the samples, the tools' versions."""
    parts = {
        "format": BUILD_FORMAT,
        "model": model,
        "recipe": msgspec.to_builtins(recipe),
        "pins": msgspec.to_builtins(pins),
        "samples": samples,
        "tools": tool_versions(),
    }
    return digest(parts)


def source_key(model: str, ir_version: int) -> str:
    """sha256 over what every build of a model starts from: the copy of the original, whose IR version may have been lowered, and the tools' versions."""
    parts = {"format": BUILD_FORMAT, "model": model, "ir_version": ir_version, "tools": tool_versions()}
    return digest(parts)


def tool_versions() -> dict[str, str]:
    """Versions of what builds; found without importing it."""
    versions = {"edgeopt": __version__}
    for tool in TOOLS:
        with contextlib.suppress(PackageNotFoundError):
            versions[tool] = version(tool)
    return versions


def provenance(graph_digest: str, confinement: dict[str, Any]) -> dict[str, str]:
    """How a variant came to be."""
    return tool_versions() | {
        "graph_sha256": graph_digest,
        "build_peak_memory_bytes": str(confinement["peak_memory_bytes"]),
        "build_network": str(confinement["network"]),
    }


def write_durably(path: Path, data: bytes) -> None:
    """Write a file that survives a power cut."""
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Make what was renamed in a folder survive a power cut."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
