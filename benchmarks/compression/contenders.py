"""Who competes, and how each file is built: always in a child process of its own, one at a time, with its seconds and its peak memory.

What was built stays in the work folder, with a record of what it was built from, and is built again only when that changes.
"""

from __future__ import annotations

import hashlib
import json
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
from labelled import REPOSITORY

from edgeopt.compiler.build import build_variants
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Budget, Built, Skipped
from edgeopt.profiles.load import load_profile
from edgeopt.samples.record import Samples

ORIGINAL = "fp32 as given"
CLEAN = "clean fp32"
OURS = {
    CLEAN: ("clean", "standard"),
    "int8-static": ("int8-static", "standard"),
    "int8-stem": ("int8-stem", "standard"),
    "int8-mixed": ("int8-mixed", "standard"),
    "int8-static, instant": ("int8-static", "instant"),
}
"""Title -> (recipe, budget)."""

PEERS = {
    "ORT S8S8 per channel": "ort-s8s8",
    "ORT U8S8 per channel": "ort-u8s8",
    "ORT U8S8 per tensor": "ort-u8s8-tensor",
    "ORT dynamic": "ort-dynamic",
    "NNCF": "nncf",
    "NNCF, full bias correction": "nncf-bias",
}
"""Title -> tool of peer_build.py."""

LEGALISED = {f"{title}, legalised": title for title in ("ORT U8S8 per channel", "NNCF", "NNCF, full bias correction")}
"""Title -> the peer's file that our recipe `legalise` writes anew: their ranges, weights and biases, our places for them."""

PEER_TIMEOUT_S = 900.0
SCRIPT = Path(__file__).with_name("peer_build.py")


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A contender's file, or why there is none. `peak_memory_bytes` is of the process that built it; None for what was not built. `key` names all that it was made from."""

    title: str
    key: str
    file: str | None
    failure: str | None = None
    bytes: int = 0
    build_s: float | None = None
    cpu_s: float | None = None
    """Processor seconds of all children that the build took, imports included: what a shared computer leaves to compare."""
    peak_memory_bytes: int | None = None
    versions: dict[str, str] = {}
    notes: tuple[str, ...] = ()


class Room(msgspec.Struct, frozen=True, kw_only=True):
    """One split of one case: where its files lie, and what they are made from."""

    folder: Path
    model: Path
    info: ModelInfo
    calibration: Samples
    python: dict[str, str]
    """By tool family (`ort`, `nncf`) the interpreter that has it."""


def make_all(room: Room, titles: list[str]) -> list[Made]:
    """Every contender of `titles` that can be had, in their order."""
    room.folder.mkdir(parents=True, exist_ok=True)
    made: dict[str, Made] = {}
    for title in titles:
        if title == ORIGINAL:
            made[title] = _original(room)
        elif title in OURS:
            made[title] = _remembered(room, title, compiler_digest(), lambda key, t=title: _ours(room, t, key))
        elif title in LEGALISED and LEGALISED[title] in made:
            source = made[LEGALISED[title]]
            tool = compiler_digest() + source.key
            made[title] = _remembered(room, title, tool, lambda key, t=title, s=source: _legalised(room, t, key, s))
        elif title in PEERS and PEERS[title].split("-")[0] in room.python:
            made[title] = _remembered(room, title, _digest([SCRIPT]), lambda key, t=title: _peer(room, t, key))
    return list(made.values())


def compiler_digest() -> str:
    """Of the source of everything that makes our variants."""
    return _digest(sorted((REPOSITORY / "edgeopt" / "compiler").rglob("*.py")))


def _digest(paths: list[Path]) -> str:
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()[:16]


def _original(room: Room) -> Made:
    target = room.folder / f"{_slug(ORIGINAL)}.onnx"
    if not target.is_file():
        shutil.copyfile(room.model, target)
    return Made(title=ORIGINAL, key=room.info.digest, file=target.name, bytes=target.stat().st_size)


def _remembered(room: Room, title: str, tool: str, make: Callable[[str], Made]) -> Made:
    record = room.folder / f"{_slug(title)}.json"
    key = hashlib.sha256(f"{room.info.digest} {room.calibration.digest} {title} {tool}".encode()).hexdigest()
    if record.is_file():
        found = msgspec.json.decode(record.read_bytes(), type=Made)
        if found.key == key:
            return found
    print(f"  building {title}", flush=True)
    before = _cpu_of_children_s()
    made = msgspec.structs.replace(make(key), cpu_s=_cpu_of_children_s() - before)
    record.write_bytes(msgspec.json.encode(made))
    return made


def _cpu_of_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ours(room: Room, title: str, key: str) -> Made:
    """Through the product's own way: planned by the profile, in a confined child, alone so that its seconds are its own."""
    recipe, budget = OURS[title]
    return _built(room, title, key, recipe, room.model, room.info, budget)


def _legalised(room: Room, title: str, key: str, source: Made) -> Made:
    if source.file is None:
        return Made(title=title, key=key, file=None, failure="there is no file to write anew")
    model = room.folder / source.file
    return _built(room, title, key, "legalise", model, inspect_model(model), "standard")


def _built(room: Room, title: str, key: str, recipe: str, model: Path, info: ModelInfo, budget: Budget) -> Made:
    cache = room.folder / f"cache-{compiler_digest()}"
    planned = plan_variants(info, load_profile("generic-x86_64"), recipes=(recipe,), has_samples=True, budget=budget)
    with ThreadPoolExecutor(1) as executor:
        variants = build_variants(
            planned,
            model_path=model,
            model=info,
            calibration=room.calibration,
            cache=cache,
            executor=executor,
        )
    variant = next(v for v in variants if v.name == recipe)
    if isinstance(variant, Skipped):
        return Made(title=title, key=key, file=None, failure=variant.reason)
    return _kept(room, title, key, variant)


def _kept(room: Room, title: str, key: str, variant: Built) -> Made:
    target = room.folder / f"{_slug(title)}.onnx"
    shutil.copyfile(Path(variant.folder) / variant.files[0].path, target)
    return Made(
        title=title,
        key=key,
        file=target.name,
        bytes=variant.bytes,
        build_s=variant.build_s,
        peak_memory_bytes=int(variant.provenance["build_peak_memory_bytes"]),
        versions={name: variant.provenance[name] for name in ("edgeopt", "onnxruntime")},
        notes=variant.notes,
    )


def _peer(room: Room, title: str, key: str) -> Made:
    tool = PEERS[title]
    target, answer = room.folder / f"{_slug(title)}.onnx", room.folder / "answer.json"
    samples, order = room.folder / "samples.npz", room.folder / "order.json"
    answer.unlink(missing_ok=True)
    np.savez(samples, **{f"s{i:05}": row[0] for i, row in enumerate(room.calibration.arrays)})
    asked = {"tool": tool, "model": str(room.model), "samples": str(samples), "input": room.calibration.names[0]}
    order.write_text(json.dumps(asked | {"out": str(target), "answer": str(answer)}))
    interpreter = room.python[tool.split("-")[0]]
    try:
        done = subprocess.run(
            [interpreter, str(SCRIPT), str(order)], capture_output=True, text=True, timeout=PEER_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return Made(title=title, key=key, file=None, failure=f"not done after {PEER_TIMEOUT_S:.0f} s")
    finally:
        samples.unlink()
    if not answer.is_file():
        return Made(title=title, key=key, file=None, failure=_last_words(done.stderr, done.returncode))
    facts = json.loads(answer.read_text())
    return Made(title=title, key=key, file=target.name, bytes=target.stat().st_size, **facts)


def _last_words(log: str, status: int) -> str:
    """The last line that a failed tool wrote, without folders."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    words = [word.rsplit("/", 1)[-1] for word in lines[-1].split()] if lines else []
    return " ".join(words)[:160] or f"it ended with status {status}"


def _slug(title: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in title.lower())


def interpreters(nncf_python: str | None) -> dict[str, str]:
    """Which tools can be had: in this environment, and NNCF in that of another interpreter."""
    found = {"ort": sys.executable}
    candidate = nncf_python or sys.executable
    answer = subprocess.run([candidate, "-c", "import nncf, onnx, onnxruntime"], capture_output=True, check=False)
    if answer.returncode == 0:
        found["nncf"] = candidate
    return found
