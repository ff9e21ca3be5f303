"""The conditions of a run, read from what the device said of itself. Nothing of it is believed to have the right form."""

from __future__ import annotations

from typing import Any

from edgeopt.domain.run import Run
from edgeopt.report.cells import safe
from edgeopt.report.documents import Conditions


def conditions_of(run: Run) -> Conditions:
    """Return what the figures of a run depend on."""
    facts = run.facts
    versions = _versions(run)
    cores = _at(facts, "cpu", "cores")
    return Conditions(
        board=_text(_at(facts, "board", "dt_model")) or _text(_at(facts, "android", "model")),
        virtual=_text(_at(facts, "board", "virtual")),
        cpu=_text(_at(facts, "cpu", "model")),
        cores=cores if isinstance(cores, int) else None,
        machine=_text(_at(facts, "machine")),
        kernel=_text(_at(facts, "kernel")),
        governor=_governor(_at(facts, "governor")),
        python=_text(_at(facts, "python", "version")),
        runtime=", ".join(versions),
        runtime_version=", ".join(version or "unknown" for version in versions.values())
        if any(versions.values())
        else None,
        threads=tuple(sorted({c.setting.threads for c in run.candidates})),
        rounds=1 + max((block.round for block in run.blocks), default=-1),
        stopped=run.stopped,
        scenario=run.plan.scenario,
        streams=run.plan.streams if run.plan.scenario in ("multi-stream", "offline") else None,
        rate_hz=run.plan.rate_hz if run.plan.scenario == "fixed-rate" else None,
        block_min_s=run.plan.block_min_s,
        seed=run.plan.seed,
        samples=None if run.samples is None else run.samples.count,
        synthetic_samples=run.samples is not None and run.samples.synthetic,
        accept_disturbed=run.plan.accept_disturbed,
    )


def conditions_line(run: Run) -> str:
    """Return the conditions in one sentence for people."""
    c = conditions_of(run)
    cores = f", {c.cores} cores" if c.cores else ""
    threads = ", ".join("all" if count == 0 else str(count) for count in c.threads) or "none"
    parts = (
        f"{run.device.name}: {c.board or c.cpu or c.machine or 'a CPU that is not known'}{cores}",
        f"a virtual machine ({c.virtual}): these times say nothing about a board" if c.virtual else None,
        f"governor {c.governor}" if c.governor else None,
        ", ".join(f"{name} {version or 'of unknown version'}" for name, version in _versions(run).items()),
        f"threads {threads}",
        _scenario(run),
        f"{c.rounds} rounds",
        f"seed {c.seed}",
        f"inputs are {run.samples.source}" if run.samples is not None and c.synthetic_samples else None,
        "disturbed blocks count" if c.accept_disturbed else None,
    )
    return safe("; ".join(part for part in parts if part))


def _scenario(run: Run) -> str | None:
    """How inferences arrived, where that was not one after the other."""
    plan = run.plan
    if plan.scenario == "single-stream":
        return None
    if plan.scenario == "fixed-rate":
        return f"{plan.rate_hz:g} inferences a second, latency from the scheduled time"
    return (
        f"{plan.scenario}, {plan.streams} {'at once' if plan.scenario == 'multi-stream' else 'in a batch or at once'}"
    )


def _versions(run: Run) -> dict[str, str | None]:
    """Each runtime of the run and its version: what the blocks used; the version that was found before, where there is no block."""
    runtimes = {candidate.id: candidate.setting.runtime for candidate in run.candidates}
    used: dict[str, set[str]] = {name: set() for name in sorted(set(runtimes.values())) or ["onnxruntime"]}
    for block in run.blocks:
        if block.runtime_version and block.candidate in runtimes:
            used[runtimes[block.candidate]].add(block.runtime_version)
    return {name: " and ".join(sorted(found)) or run.versions.get(f"{name} (device)") for name, found in used.items()}


def _at(facts: Any, *path: str) -> Any:
    for key in path:
        if not isinstance(facts, dict):
            return None
        facts = facts.get(key)
    return facts


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _governor(value: Any) -> str | None:
    if isinstance(value, list | tuple):
        return ", ".join(sorted({str(item) for item in value})) or None
    return _text(value)
