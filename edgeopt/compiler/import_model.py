"""Networks that are not files of ONNX or TensorFlow Lite: told apart here, written as ONNX once by a confined child, kept in the cache by content."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeopt.compiler.cache import tool_versions, write_durably
from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
from edgeopt.compiler.digests import hash_file
from edgeopt.compiler.stages import digest
from edgeopt.errors import ModelError, StoreError

Kind = Literal["huggingface", "archive", "callable", "keras"]

FORMAT = 2
"""Raised when the same source begins to give another file."""

NEEDED: dict[str, tuple[str, tuple[str, ...]]] = {
    "huggingface": ("hf", ("torch", "transformers", "tokenizers", "safetensors")),
    "archive": ("torch", ("torch",)),
    "callable": ("torch", ("torch",)),
    "keras": ("", ()),
}
"""Kind -> (our extra, what it brings)."""

WEIGHTS = ("*.safetensors", "*.safetensors.index.json")
DESCRIBED = ("config.json", "modules.json", "*_*/config.json", "*_*/model.safetensors", *WEIGHTS)
"""Files of a Hugging Face folder that the network depends on."""

CALLABLE = re.compile(r"([A-Za-z_]\w*(\.[A-Za-z_]\w*)*|[^:]+\.py):[A-Za-z_]\w*")
"""`module:callable` or `file.py:callable`."""

TIMEOUT_S = 900.0
BASE_MEMORY_BYTES = 4 << 30
MEMORY_PER_BYTE = 8
"""The module, what is traced, the file, and what the runtime makes of it."""

CONVERTER = "EDGEOPT_TF2ONNX"
"""Names the interpreter of an environment that has tf2onnx and TensorFlow."""

RECORD = "import.json"
FILE = "model.onnx"

HINTS = {
    "model-unsupported": "Or export it yourself, torch.onnx.export(model, inputs, 'model.onnx'), and give edgeopt that file.",
    "model-unreadable": "Download or save it again: model.save_pretrained(folder), torch.export.save(program, path).",
    "model-missing": "Name it as module:callable or file.py:callable; modules are looked for beside edgeopt.toml, or in the current folder, and on Python's path.",
}


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """The ONNX file that a source became, and what is to be said of it."""

    path: str
    notes: tuple[str, ...]


def find_kind(path: Path) -> Kind | None:
    """What a name stands for; None for a file that is read as it is, or for nothing that is known."""
    if path.suffix.lower() == ".pt2":
        return "archive"
    if is_keras(path):
        return "keras" if os.environ.get(CONVERTER) else None
    if CALLABLE.fullmatch(path.name) and not path.exists():
        return "callable"
    return "huggingface" if (path / "config.json").is_file() else None


def is_keras(path: Path) -> bool:
    """Whether it is a Keras file or a SavedModel folder."""
    return path.suffix.lower() in (".h5", ".keras") or (path / "saved_model.pb").is_file()


def import_model(path: Path, kind: Kind, cache: Path, shapes: Mapping[str, Sequence[int]] | None = None) -> Imported:
    """The ONNX file of a network, from the cache or made now. What the user's own code gives is made every time, for nothing tells whether it has changed.

    Args:
        path: what the user named.
        kind: as `find_kind` says.
        cache: folder of everything that can be made again; files go to `imports/<key>/`.
        shapes: of the inputs of a module that comes without an example, by name.

    Raises:
        ModelError: model-missing, -unsupported, -unreadable, -unsafe; what is missing is named with the extra that brings it.
        StoreError: the cache cannot be written.
    """
    _check_installed(path, kind)
    files = _files(path, kind)
    request = {
        "kind": kind,
        "python": os.environ.get(CONVERTER),
        "source": str(path.absolute()),
        "shapes": {name: list(each) for name, each in (shapes or {}).items()},
    }
    try:
        place = cache / "imports"
        key = _key(kind, path, files) if files else None
        found = _find(place / key) if key else None
        return found or _make(request, sum(file.stat().st_size for file in files), place, key)
    except OSError as error:
        raise StoreError(
            f"{cache}: cannot be written: {error}", hint="Free some space, or set EDGEOPT_HOME."
        ) from error


def _files(path: Path, kind: Kind) -> list[Path]:
    """The files that a network depends on; none of the user's own code.

    Raises:
        ModelError: model-missing.
    """
    if kind == "callable":
        return []
    if kind == "huggingface":
        return sorted({file for pattern in DESCRIBED for file in path.glob(pattern) if file.is_file()})
    if kind == "keras" and path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    if not path.is_file():
        raise ModelError(f"{path}: no such file", code="model-missing", hint="Check the path.")
    return [path]


def _check_installed(path: Path, kind: Kind) -> None:
    extra, packages = NEEDED[kind]
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{path}: reading it takes {' and '.join(missing)}, which is not installed",
            code="model-unsupported",
            hint=f"pip install 'edgeopt[{extra}]', or export it to ONNX elsewhere and name that file.",
        )


def _key(kind: Kind, path: Path, files: Iterable[Path]) -> str:
    """sha256 over content, kind and versions."""
    content = {
        file.relative_to(path if path.is_dir() else path.parent).as_posix(): hash_file(file)[0] for file in files
    }
    if path.is_file():
        content = dict.fromkeys(["archive"], *content.values())
    return digest([FORMAT, kind, content, tool_versions() | package_versions(NEEDED[kind][1])])


def package_versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of installed packages, without importing them."""
    from importlib.metadata import version

    return {name: version(name) for name in names}


def _find(folder: Path) -> Imported | None:
    """A finished file whose content is what was written."""
    try:
        record = msgspec.json.decode((folder / RECORD).read_bytes())
        if hash_file(folder / FILE)[0] == record["digest"]:
            return Imported(path=str(folder / FILE), notes=tuple(record["notes"]))
    except (OSError, msgspec.MsgspecError, KeyError, TypeError):
        pass
    shutil.rmtree(folder, ignore_errors=True)
    return None


def _make(request: dict[str, Any], size: int, place: Path, key: str | None) -> Imported:
    """Let a child write the file, and move it to its place in one step."""
    place.mkdir(parents=True, exist_ok=True)
    limits = Limits(
        timeout_s=TIMEOUT_S,
        memory_bytes=BASE_MEMORY_BYTES + MEMORY_PER_BYTE * size,
        output_bytes=(2 << 30) + (64 << 20),
    )
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=place, ignore_cleanup_errors=True) as work:
        room = Path(work) / "made"
        room.mkdir()
        answer = _ask(request | {"out": str(room / FILE)}, limits, Path(work))
        made = hash_file(room / FILE)[0]
        record = {"source": request["source"], "digest": made, "notes": answer["notes"]}
        write_durably(room / RECORD, msgspec.json.encode(record))
        folder = place / (key or made)
        try:
            room.rename(folder)
        except OSError:
            # Another process was first, or the user's module is what it was.
            found = _find(folder)
            if found is None:
                raise
            return found
    return Imported(path=str(folder / FILE), notes=tuple(answer["notes"]))


def _ask(request: dict[str, Any], limits: Limits, workdir: Path) -> dict[str, Any]:
    source, own_code = request["source"], request["kind"] == "callable"
    try:
        return run_confined("import_model", request, limits=limits, workdir=workdir, own_code=own_code)
    except ConfinedFailure as failure:
        if failure.kind == "refused":
            raise ModelError(
                f"{source}: {failure.detail}", code=failure.code, hint=HINTS.get(failure.code)
            ) from failure
        code = "model-unreadable" if failure.kind == "error" else "model-unsafe"
        raise ModelError(f"{source}: importing it failed: {failure.detail}", code=code) from failure
