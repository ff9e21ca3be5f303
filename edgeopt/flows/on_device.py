"""What a run does on the device: bring everything there, let it answer, measure, write it all down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from edgeopt._version import __version__
from edgeopt.compiler.fidelity import Mismatch
from edgeopt.domain.observer import Observer
from edgeopt.domain.run import ON_GPU, Candidate, Failure, OutputCheck, Run, SamplesInfo, plain_setting
from edgeopt.domain.variant import Built
from edgeopt.flows import expectation
from edgeopt.flows.build import Build, built_only, compare_answers
from edgeopt.flows.connect import usable_runtimes
from edgeopt.flows.energy import Sensed
from edgeopt.flows.phone import describe_network
from edgeopt.flows.prepare import Job
from edgeopt.flows.trial import Trial
from edgeopt.measure.outputs import Fetched, fetch_outputs
from edgeopt.measure.rounds import Bench, Measured, measure_candidates
from edgeopt.measure.session import Session
from edgeopt.measure.ship import Content, ship
from edgeopt.samples.record import Samples, read_npz, write_npz
from edgeopt.select.race import Race
from edgeopt.select.rounds import round_order
from edgeopt.select.settings import label
from edgeopt.select.standing import Standing
from edgeopt.store.blobs import file_digest

INPUTS = "inputs.npz"


def plan_candidates(variants: Sequence[Built], threads: Sequence[int]) -> tuple[Candidate, ...]:
    """Return every variant in every setting. 0 threads means all cores."""
    settings = [
        (variant.name, plain_setting(variant.recipe.runtime, count)) for variant in variants for count in threads
    ]
    settings = [(name, msgspec.structs.replace(s, threads=0) if s.runtime in ON_GPU else s) for name, s in settings]
    return tuple(
        Candidate(id=f"{name}@{label(setting)}", variant=name, setting=setting)
        for name, setting in dict.fromkeys(settings)
    )


def describe(path: Path, label: str) -> Content:
    """Return a file of this computer as content to ship."""
    return Content(digest=file_digest(path), bytes=path.stat().st_size, path=path, label=label)


def bring(
    session: Session, run_id: str, job: Job, built: Build, samples: Samples, work: Path, observer: Observer
) -> Trial:
    """Ship the variants and the samples, stage them, find the runtime.

    Raises:
        RuntimeMissing, DiskFull, LinkError.
    """
    observer.stage("connect", f"look at {job.device.name}")
    facts = session.call("probe", {})
    runtimes = usable_runtimes(facts, job.device, job.runtimes)
    named = ", ".join(f"{name} {version}" for name, version in runtimes.versions.items())
    observer.finish("connect", f"{facts['machine']}, {_software(facts)}, {named}")
    describe_network(session, job.model)
    runnable = [v for v in built_only(built.variants) if v.recipe.runtime in runtimes.sites]
    unrunnable = {v.name: runtimes.missing[v.recipe.runtime] for v in built_only(built.variants) if v not in runnable}
    fitting, refused = expectation.that_fit(runnable, facts)
    candidates, priors, hopeless = expectation.worth_measuring(
        job, fitting, plan_candidates(fitting, job.threads), facts
    )
    variants = [v for v in fitting if any(candidate.variant == v.name for candidate in candidates)]
    write_npz(samples, work / INPUTS)
    inputs = describe(work / INPUTS, "samples")
    contents = [
        Content(digest=f.digest, bytes=f.bytes, path=Path(v.folder) / f.path, label=v.name)
        for v in variants
        for f in v.files
    ]
    shipped = ship(session, [*contents, inputs], observer)
    models = {v.name: f"{_stage(session, v.digest, msgspec.to_builtins(v.files))}/{v.files[0].path}" for v in variants}
    where = _stage(session, inputs.digest, [{"path": INPUTS, "digest": inputs.digest, "bytes": inputs.bytes}])
    return Trial(
        run_id=run_id,
        job=job,
        built=built,
        samples=samples,
        session=session,
        work=work,
        facts=facts,
        bench=Bench(session, job.plan, models=models, inputs=f"{where}/{INPUTS}", sites=runtimes.sites),
        versions=runtimes.versions,
        shipped=shipped,
        candidates=candidates,
        priors=priors,
        pruned=unrunnable | refused | hopeless,
    )


def _software(facts: dict[str, Any]) -> str:
    android = facts.get("android")
    return f"Python {facts['python']['version']}" if android is None else f"Android {android.get('release') or '?'}"


def _stage(session: Session, digest: str, files: Any) -> str:
    return str(session.call("stage", {"digest": digest, "files": list(files)})["folder"])


def check_outputs(trial: Trial, observer: Observer) -> tuple[Trial, tuple[OutputCheck, ...]]:
    """Let the device answer first: what crashes, hangs or answers NaN there is not worth timing."""
    observer.stage("check", "compare the device's own answers", float(len(trial.candidates)))
    answers = {}
    for done, candidate in enumerate(trial.candidates):
        observer.advance("check", float(done), candidate.id)
        answers[candidate.id] = fetch_outputs(trial.bench, candidate, trial.work)
    observer.finish("check")
    checks = tuple(_check(fetched, trial) for fetched in answers.values())
    return msgspec.structs.replace(trial, answers=answers), checks


def _check(fetched: Fetched, trial: Trial) -> OutputCheck:
    found = _compare(fetched, trial)
    return msgspec.structs.replace(found, placement=fetched.placement, placement_reason=fetched.placement_reason)


def _compare(fetched: Fetched, trial: Trial) -> OutputCheck:
    model, teacher = trial.job.model, trial.built.teacher
    if fetched.path is None or teacher is None:
        return OutputCheck(
            candidate=fetched.candidate, fidelity=None, failure=fetched.failure, unchecked=fetched.unchecked
        )
    outputs = read_npz(fetched.path, [o.name for o in model.outputs], "the device").arrays
    try:
        fidelity = compare_answers(
            trial.job,
            teacher[: len(outputs)],
            [list(row) for row in outputs],
            where="device",
            names=trial.samples.items,
        )
    except Mismatch as mismatch:
        failure = Failure(kind="bad-output", phase="outputs", detail=str(mismatch))
        return OutputCheck(candidate=fetched.candidate, fidelity=None, failure=failure)
    if not fidelity.finite:
        failure = Failure(kind="bad-output", phase="outputs", detail="NaN or infinity where the original has none")
        return OutputCheck(candidate=fetched.candidate, fidelity=fidelity, failure=failure)
    return OutputCheck(candidate=fetched.candidate, fidelity=fidelity)


def measure(trial: Trial, checks: tuple[OutputCheck, ...], observer: Observer) -> Measured:
    """Run the rounds over every candidate that answered."""
    broken = {check.candidate for check in checks if check.failure is not None}
    alive = [candidate for candidate in trial.candidates if candidate.id not in broken]
    race = Race(record(trial, checks, Measured(blocks=(), dropped={}), Sensed()), trial.job.goal)
    return measure_candidates(
        trial.bench, alive, order=round_order, judge=race.after_round, observer=observer, words=Standing(alive).line
    )


def record(trial: Trial, checks: tuple[OutputCheck, ...], measured: Measured, sensed: Sensed) -> Run:
    """Write everything down, so that nothing has to be measured twice."""
    job = trial.job
    return Run(
        id=trial.run_id,
        created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        edgeopt_version=__version__,
        app=job.app,
        model=job.model,
        device=job.device,
        profile=job.profile,
        facts=trial.facts,
        samples=job.samples_info or _synthetic(trial.samples),
        goal=job.goal,
        plan=job.plan,
        variants=trial.built.variants,
        candidates=trial.candidates,
        blocks=measured.blocks,
        output_checks=checks,
        energy_reason=sensed.reason,
        energy_sensor=sensed.sensor,
        energy_windows=sensed.windows,
        dropped_early=measured.dropped,
        priors=trial.priors,
        pruned=trial.pruned,
        stopped=measured.stopped,
        screen_blocks=trial.screen_blocks,
        pruned_settings=trial.pruned_settings,
        versions={"edgeopt": __version__} | {f"{name} (device)": version for name, version in trial.versions.items()},
    )


def _synthetic(samples: Samples) -> SamplesInfo:
    return SamplesInfo(
        source="random numbers of the right form",
        count=len(samples),
        calibration=0,
        heldout=0,
        digest=samples.digest,
        synthetic=True,
    )
