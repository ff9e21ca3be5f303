"""From a request to a measured, chosen and (for `deploy`) installed variant."""

from __future__ import annotations

import secrets
import tempfile
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from edgeopt.compiler.plan import fitted_to_cpu, fitted_to_onnxruntime
from edgeopt.compiler.recipes import get_recipe
from edgeopt.domain.bundle import Release
from edgeopt.domain.observer import Observer
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.errors import RuntimeMissing, SamplesError
from edgeopt.flows.build import build
from edgeopt.flows.connect import Runtimes, open_session, usable_runtimes
from edgeopt.flows.energy import Sensed, meter_of, sense, sensors_of, wants_energy, why_no_sensor
from edgeopt.flows.findings import against
from edgeopt.flows.keep_up import sustain
from edgeopt.flows.on_device import bring, check_outputs, measure, record
from edgeopt.flows.phone import refuse_unchecked
from edgeopt.flows.prepare import Job, prepare
from edgeopt.flows.release import install_pick
from edgeopt.flows.request import Request
from edgeopt.flows.screen import screen_settings
from edgeopt.measure.session import Owner
from edgeopt.measure.ship import Shipped
from edgeopt.profiles.load import list_profiles
from edgeopt.profiles.places import Places
from edgeopt.profiles.recognise import recognise
from edgeopt.samples.record import Samples, select
from edgeopt.samples.synthetic import synthetic_samples
from edgeopt.select.pick import choose
from edgeopt.select.summarise import summarise
from edgeopt.store.results import ResultsStore

TIMING_SAMPLES = 16
"""Random inputs when there are no samples, and none worth calibrating on could be invented (`bench` only)."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it. `release` is None unless something was installed. `shipped` says what the upload cost."""

    run: Run
    pick: Pick
    release: Release | None
    shipped: Shipped


def bench(request: Request, places: Places, observer: Observer) -> Outcome:
    """Build and measure; install nothing."""
    job = prepare(request, places, observer, default_device="local", invent=True)
    return _run(job, places, observer, install=False, ephemeral=request.ephemeral)


def deploy(request: Request, places: Places, observer: Observer) -> Outcome:
    """Build, measure, pick, install. With `ephemeral` nothing is installed and nothing is left on the device.

    Raises:
        SamplesError: there are no samples, so nothing could be said of faithfulness; or they are synthetic, and the user has not said that this is enough.
    """
    job = prepare(request, places, observer)
    _check_evidence(job)
    return _run(job, places, observer, install=not request.ephemeral, ephemeral=request.ephemeral)


def _run(job: Job, places: Places, observer: Observer, *, install: bool, ephemeral: bool) -> Outcome:
    run_id = new_run_id()
    job = _look_first(job, places, observer, install=install, ephemeral=ephemeral)
    built = build(job, places, observer)
    job = built.job
    samples = _inputs(job)
    with (
        tempfile.TemporaryDirectory(prefix="edgeopt-") as work,
        open_session(job.device, places, ephemeral=ephemeral) as session,
    ):
        session.lock("deploy" if install else "bench", Owner.this_process(run_id))
        trial = bring(session, run_id, job, built, samples, Path(work), observer)
        trial, checks = check_outputs(trial, observer)
        trial, checks = screen_settings(trial, checks, observer)
        measured = measure(trial, checks, observer)
        run = record(trial, checks, measured, Sensed(reason="the measurement ended before its energy windows did"))
        pick = choose(run, job.goal, summarise(run))
        try:
            run = record(trial, checks, measured, sense(trial, measured, observer))
            pick = choose(run, job.goal, summarise(run))
            run = msgspec.structs.replace(run, sustained=sustain(trial, run, pick, observer))
        finally:
            # Energy and sustained load take minutes: the rounds outlive a link that breaks in them, and Ctrl-C.
            ResultsStore(places.database_url, places.runs).save_run(run, pick)
        installs = install and pick.candidate is not None
        release = install_pick(trial, pick, observer) if installs else None
    return Outcome(run=run, pick=pick, release=release, shipped=trial.shipped)


def _look_first(job: Job, places: Places, observer: Observer, *, install: bool, ephemeral: bool) -> Job:
    """Before minutes are spent on building: is the device there, does it have the runtime, and what can its CPU do? The job, fitted to that.

    Raises:
        RuntimeMissing: the device has none of the runtimes, or not that of a recipe which was asked for.
        AgentError: unchecked, what would be installed could not be checked there.
        LinkError, PythonMissing.
    """
    observer.stage("look", f"look at {job.device.name}")
    meter = meter_of(job)
    with open_session(job.device, places, ephemeral=ephemeral) as session:
        facts = session.call("probe", {})
    found = usable_runtimes(facts, job.device, job.runtimes)
    refuse_unrunnable(job, found)
    if install:
        refuse_unchecked(facts, job.device, job.runtimes, accept=job.goal.accept_unchecked)
    observer.finish(
        "look", f"it answers and has {', '.join(f'{name} {found.versions[name]}' for name in found.versions)}"
    )
    if meter is None and wants_energy(job.plan, job.goal) and not sensors_of(facts):
        observer.note(f"Energy cannot be measured: {why_no_sensor(facts, job.profile)}.")
    doubt = against(recognise(facts, list_profiles(places.profiles)), job.profile)
    if doubt is not None:
        observer.note(f"The profile may be the wrong one. {doubt}")
    profile = fitted_to_cpu(job.profile, facts["machine"], facts["cpu"].get("features") or ())
    profile = fitted_to_onnxruntime(profile, found.versions.get("onnxruntime"), job.model.opset)
    return msgspec.structs.replace(job, profile=profile, unavailable=found.missing)


def refuse_unrunnable(job: Job, found: Runtimes) -> None:
    """Before minutes are spent: a recipe that was asked for by name needs its runtime.

    Raises:
        RuntimeMissing: it is not on the device.
    """
    for name in job.recipes or ():
        runtime = get_recipe(name).runtime
        why = found.missing.get(runtime)
        if why is not None:
            # What to do about it is in the reason.
            raise RuntimeMissing(f"{name} was asked for, and {why}")


def _check_evidence(job: Job) -> None:
    """Refuse to install on no evidence, or on weak evidence that was not accepted, before anything is built."""
    if job.samples_info is None:
        raise SamplesError(
            "no samples named, so nothing could be said of how faithful a variant is",
            hint="Name a folder of unlabelled inputs: --samples DIR, or `samples` in edgeopt.toml. `edgeopt bench` measures without.",
            code="samples-missing",
        )
    if not job.samples_info.synthetic:
        return
    if not job.goal.accept_synthetic:
        raise SamplesError(
            "samples are synthetic, so how faithful a variant is to your own inputs would not be known when it is installed",
            hint="Name a folder of unlabelled inputs (--samples DIR; 100 are a good start), or accept it: --accept-synthetic, or accept_synthetic = true under [goal]. "
            "`edgeopt bench` measures without installing.",
            code="samples-synthetic",
        )
    if job.assumed is not None:
        raise SamplesError(
            job.assumed, hint="`edgeopt init` writes a file in which every key is explained.", code="samples-synthetic"
        )


def new_run_id() -> str:
    """Return a name that sorts by time and does not collide: `20261124-013045-7f3a9c`."""
    return f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def _inputs(job: Job) -> Samples:
    """What the device is fed: held-out samples, or random numbers when only time is measured."""
    if job.heldout is not None:
        # The first ones, so that they stand in the order of the original's answers.
        return select(job.heldout, range(min(len(job.heldout), job.plan.output_samples)))
    return synthetic_samples(job.model, TIMING_SAMPLES, job.plan.seed)
