"""Records for tests, with only what a test cares about said."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.domain.device import Device, Profile
from edgeopt.domain.goal import Goal
from edgeopt.domain.model import ModelFile, ModelInfo, TensorSpec
from edgeopt.domain.pick import Loser, Pick, Summary
from edgeopt.domain.run import Block, Candidate, Failure, MeasurePlan, OutputCheck, Run, SamplesInfo, Setting
from edgeopt.domain.variant import Built, Fidelity, Recipe, Skipped, Step

NO_SENSOR = "this board has no power sensor"
FACTS: dict[str, Any] = {
    "system": "Linux",
    "kernel": "6.6.31",
    "machine": "aarch64",
    "python": {"version": "3.11.2"},
    "cpu": {"model": "Cortex-A72", "cores": 4},
    "board": {"dt_model": "Raspberry Pi 4 Model B Rev 1.4"},
    "governor": ["ondemand"],
}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def make_fidelity(agreement: float = 1.0, lower: float | None = 0.98, **changes: Any) -> Fidelity:
    fidelity = Fidelity(
        where="host",
        metric="top1" if lower is not None else "cosine",
        samples=200,
        agreement=agreement,
        agreement_lower=lower,
        cosine=0.999,
        sqnr_db=31.5,
        max_abs_error=0.01,
        identical=False,
        finite=True,
    )
    return msgspec.structs.replace(fidelity, **changes)


def make_recipe(name: str = "original", encoding: str = "fp32") -> Recipe:
    steps = () if name == "original" else (Step(name=name.replace("-", "_"), options={"per_channel": True}),)
    return Recipe(name=name, title=f"The {name} recipe", steps=steps, encoding=encoding)


def make_built(name: str = "original", *, size: int = 4_000_000, encoding: str = "fp32", **changes: Any) -> Built:
    built = Built(
        name=name,
        recipe=make_recipe(name, encoding),
        encoding=encoding,
        digest=digest(f"set {name}"),
        bytes=size,
        files=(ModelFile(path="model.onnx", digest=digest(name), bytes=size),),
        folder="variants/" + name,
        fidelity=make_fidelity(),
        build_s=1.25,
        cached=False,
    )
    return msgspec.structs.replace(built, **changes)


def make_skipped(name: str = "fp16", reason: str = "this CPU has no fp16 instructions") -> Skipped:
    return Skipped(name=name, recipe=make_recipe(name, name), reason=reason)


def make_model(**changes: Any) -> ModelInfo:
    model = ModelInfo(
        name="tiny",
        format="onnx",
        digest=digest("model"),
        bytes=4_000_000,
        files=(ModelFile(path="tiny.onnx", digest=digest("original"), bytes=4_000_000),),
        inputs=(TensorSpec(name="x", dtype="float32", shape=("N", 3, 8, 8)),),
        outputs=(TensorSpec(name="y", dtype="float32", shape=(1, 10)),),
        opset=17,
        ir_version=8,
        node_count=12,
        parameter_count=1_000_000,
        op_counts={"Conv": 10, "Gemm": 2},
        domains=("",),
        has_control_flow=False,
        task="classification",
        task_reason="the only output has 10 scores",
    )
    return msgspec.structs.replace(model, **changes)


def make_block(candidate: str, number: int = 0, latencies_ms: Sequence[float] = (10.0,) * 5, **changes: Any) -> Block:
    """One clean block; `latencies_ms` become its inferences."""
    block = Block(
        candidate=candidate,
        round=number,
        position=0,
        load_ns=50_000_000,
        first_ns=20_000_000,
        latencies_ns=tuple(round(value * 1e6) for value in latencies_ms),
        peak_rss_bytes=80_000_000,
        runtime_rss_bytes=40_000_000,
        provider_used="CPUExecutionProvider",
        runtime_version="1.21.0",
    )
    return msgspec.structs.replace(block, **changes)


def make_failure(kind: str = "signal", phase: str | None = "timed", detail: str = "killed by SIGILL") -> Failure:
    return msgspec.convert({"kind": kind, "phase": phase, "detail": detail}, Failure)


def make_blocks(
    candidate: str,
    round_ms: Sequence[float],
    *,
    inferences: int = 20,
    flags: Mapping[int, tuple[str, ...]] | None = None,
    failures: Mapping[int, Failure] | None = None,
    peak: int | None = 80_000_000,
) -> tuple[Block, ...]:
    """One block a round, its inferences a little apart around `round_ms[round]`; `flags` and `failures` by round."""
    blocks = []
    for number, level in enumerate(round_ms):
        failure = (failures or {}).get(number)
        if failure is not None:
            blocks.append(Block(candidate=candidate, round=number, position=0, failure=failure))
            continue
        spread = [level * (1 + 0.001 * ((k * 7) % 5 - 2)) for k in range(inferences)]
        blocks.append(make_block(candidate, number, spread, flags=(flags or {}).get(number, ()), peak_rss_bytes=peak))
    return tuple(blocks)


def make_candidate(name: str, threads: int = 0) -> Candidate:
    return Candidate(id=f"{name}@{threads or 'all'}", variant=name, setting=Setting(threads=threads))


def make_run(
    levels: Mapping[str, Sequence[float] | float] | None = None,
    *,
    sizes: Mapping[str, int] | None = None,
    encodings: Mapping[str, str] | None = None,
    agreements: Mapping[str, Fidelity | None] | None = None,
    flags: Mapping[str, Mapping[int, tuple[str, ...]]] | None = None,
    failures: Mapping[str, Mapping[int, Failure]] | None = None,
    peaks: Mapping[str, int | None] | None = None,
    skipped: Sequence[Skipped] = (),
    rounds: int = 8,
    **changes: Any,
) -> Run:
    """A run with one candidate (all cores) for each variant of `levels`.

    `levels`: variant -> ms per round, or one number for all rounds. The other mappings are by variant too; what they leave out is ordinary.
    `changes` replace any field of the run at the end.
    """
    levels = {"original": 10.0, "int8": 5.0} if levels is None else levels
    per_round = {n: [v] * rounds if isinstance(v, int | float) else list(v) for n, v in levels.items()}
    blocks: list[Block] = []
    for name, values in per_round.items():
        blocks += make_blocks(
            f"{name}@all",
            values,
            flags=(flags or {}).get(name),
            failures=(failures or {}).get(name),
            peak=(peaks or {}).get(name, 80_000_000),
        )
    variants = tuple(
        make_built(
            name,
            size=(sizes or {}).get(name, 4_000_000),
            encoding=(encodings or {}).get(name, "fp32" if name == "original" else "int8 dynamic"),
            fidelity=(agreements or {}).get(name, make_fidelity()),
        )
        for name in levels
    )
    run = Run(
        id="20261124-013045-7f3a9c",
        created_at="2026-11-24T01:30:45+00:00",
        edgeopt_version="0.1.0",
        app="tiny",
        model=make_model(),
        device=Device(name="kitchen", profile="pi4", address="ssh://pi@kitchen.local"),
        profile=Profile(name="pi4", title="Raspberry Pi 4", arch="aarch64", recipes=("original", "int8")),
        facts=FACTS,
        samples=SamplesInfo(source="photos", count=300, calibration=100, heldout=200, digest=digest("samples")),
        goal=Goal(),
        plan=MeasurePlan(rounds=rounds),
        variants=(*variants, *skipped),
        candidates=tuple(make_candidate(name) for name in levels),
        blocks=tuple(blocks),
        output_checks=(),
        energy_reason=NO_SENSOR,
        versions={"edgeopt": "0.1.0", "onnxruntime (device)": "1.21.0"},
    )
    return msgspec.structs.replace(run, **changes)


def make_check(variant: str, fidelity: Fidelity | None = None, failure: Failure | None = None) -> OutputCheck:
    """What the device itself answered, for the candidate of `variant` on all cores."""
    device = None if fidelity is None else msgspec.structs.replace(fidelity, where="device")
    return OutputCheck(candidate=f"{variant}@all", fidelity=device, failure=failure)


def make_summary(variant: str = "int8", **changes: Any) -> Summary:
    """A trusted summary of the candidate of `variant` on all cores."""
    summary = Summary(
        candidate=f"{variant}@all",
        variant=variant,
        threads=0,
        encoding="fp32" if variant == "original" else "int8 dynamic",
        size_bytes=4_000_000,
        blocks=8,
        flagged_blocks=0,
        failed_blocks=0,
        p50_ms=10.0,
        p50_low_ms=9.9,
        p50_high_ms=10.1,
        p90_ms=10.5,
        ratio=1.0,
        ratio_low=0.99,
        ratio_high=1.01,
        load_ms=50.0,
        first_ms=20.0,
        peak_memory_bytes=80_000_000,
        energy_mj=None,
        agreement=1.0,
        agreement_lower=0.98,
        agreement_where="host",
        verdict="trusted",
        reasons={"energy_mj": NO_SENSOR},
    )
    return msgspec.structs.replace(summary, **changes)


def make_pick(*summaries: Summary, **changes: Any) -> Pick:
    """A pick of the first of `summaries`; the others lose with a sentence."""
    chosen = summaries or (make_summary("int8", p50_ms=5.0, ratio=0.5), make_summary("original"))
    pick = Pick(
        status="picked",
        goal=Goal(),
        candidate=chosen[0].candidate,
        variant=chosen[0].variant,
        reason="fastest of those that meet the goal",
        frontier=(chosen[0].candidate,),
        losers=tuple(Loser(name=s.candidate, reason="slower than the picked one") for s in chosen[1:]),
        summaries=chosen,
    )
    return msgspec.structs.replace(pick, **changes)
