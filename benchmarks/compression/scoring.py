"""What a contender's file answers and what of it runs in int8, by edgeopt's own scorer and counter."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import onnx
from contenders import ORIGINAL, Made, compiler_digest

from edgeopt.compiler.confine import ConfinedFailure
from edgeopt.compiler.fidelity import Mismatch, compare
from edgeopt.compiler.outputs import Array, host_outputs
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.domain.model import ModelInfo, Task
from edgeopt.domain.variant import Fidelity
from edgeopt.samples.record import Samples


class Fused(msgspec.Struct, frozen=True, kw_only=True):
    """Products of a file, how many run in int8 by the runtime's x86 and ARM rules, and those as shares of all multiplications (None when a size is unknown)."""

    products: int
    x86: int
    arm: int
    x86_share: float | None
    arm_share: float | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contender on one split. No fidelity where there is no file, or where it cannot answer: `failure` says why."""

    seed: int
    made: Made
    fidelity: Fidelity | None = None
    fused: Fused | None = None
    failure: str | None = None


class _Remembered(msgspec.Struct, frozen=True, kw_only=True):
    key: str
    row: Row


def score(made: list[Made], place: Path, info: ModelInfo, held: Samples, task: Task, seed: int) -> list[Row]:
    """Score every file on samples that none of them saw."""
    reference: list[list[Array]] = []
    rows = []
    for one in made:
        if one.file is None:
            rows.append(Row(seed=seed, made=one, failure=one.failure))
            continue
        record = place / f"{Path(one.file).stem}.score.json"
        key = f"{one.key} {held.digest} {compiler_digest()} {task}"
        found = msgspec.json.decode(record.read_bytes(), type=_Remembered) if record.is_file() else None
        if found is None or found.key != key:
            if not reference:
                reference = host_outputs(place / _file(made, ORIGINAL), held, workdir=place)
            found = _Remembered(key=key, row=_score(one, reference, place, info, held, task, seed))
            record.write_bytes(msgspec.json.encode(found))
        rows.append(msgspec.structs.replace(found.row, made=one))
    return rows


def _file(made: list[Made], title: str) -> str:
    file = next(one.file for one in made if one.title == title)
    assert file is not None
    return file


def _score(
    made: Made, reference: list[list[Array]], place: Path, info: ModelInfo, held: Samples, task: Task, seed: int
) -> Row:
    assert made.file is not None
    path = place / made.file
    try:
        answers = host_outputs(path, held, workdir=place)
        fidelity = compare(reference, answers, task=task, where="host", inputs=info.inputs)
    except (ConfinedFailure, Mismatch) as failure:
        return Row(seed=seed, made=made, failure=str(failure))
    return Row(seed=seed, made=made, fidelity=fidelity, fused=_fused(path))


def _fused(path: Path) -> Fused:
    with tempfile.TemporaryDirectory() as scratch:
        found = coverage(onnx.load(path), Path(scratch))
    return Fused(
        products=len(found.products),
        x86=found.fused(arm=False),
        arm=found.fused(arm=True),
        x86_share=found.x86_share,
        arm_share=found.arm_share,
    )
