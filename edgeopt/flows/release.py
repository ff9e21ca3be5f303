"""From a pick to a release: the picked files, a few inputs, and the answers that this very candidate gave on this very device."""

from __future__ import annotations

from pathlib import Path

from edgeopt._version import __version__
from edgeopt.domain.bundle import Manifest, Probe, Release
from edgeopt.domain.model import ModelFile
from edgeopt.domain.observer import Observer
from edgeopt.domain.pick import Pick
from edgeopt.errors import AgentError
from edgeopt.flows.build import built_only
from edgeopt.flows.on_device import describe
from edgeopt.flows.phone import unchecked
from edgeopt.flows.trial import Trial
from edgeopt.measure.install import install_bundle
from edgeopt.measure.ship import Content, ship
from edgeopt.samples.record import Samples, read_npz, select, write_npz

PROBE_SAMPLES = 4
"""Inputs that travel with a bundle for its health check."""

PROBE_TOLERANCE = 1e-3
"""The release answers on the same board with the same runtime and setting, so only the order of float additions may differ."""


def install_pick(trial: Trial, pick: Pick, observer: Observer) -> Release:
    """Make the bundle of what was picked, ship what is missing of it, let the agent check and switch.

    Raises:
        HealthCheckFailed: nothing was switched.
        DiskFull, LinkError, AgentError.
    """
    job = trial.job
    observer.stage("install", f"install {pick.variant} as {job.app}")
    candidate = next(c for c in trial.candidates if c.id == pick.candidate)
    variant = next(v for v in built_only(trial.built.variants) if v.name == candidate.variant)
    probe, probes = _probe(trial, candidate.id)
    ship(trial.session, probes, observer)
    manifest = Manifest(
        app=job.app,
        run=trial.run_id,
        variant=variant.name,
        encoding=variant.encoding,
        model=variant.files[0].path,
        setting=candidate.setting,
        runtime_version=trial.versions[candidate.setting.runtime],
        inputs=job.model.inputs,
        outputs=job.model.outputs,
        files=(*variant.files, *(_file(content.path, content.digest, content.bytes) for content in probes)),
        probe=probe,
        edgeopt_version=__version__,
    )
    release = install_bundle(trial.session, manifest, timeout_s=job.plan.block_timeout_s)
    observer.finish("install", f"release {release.digest[:12]}")
    return release


def _probe(trial: Trial, candidate: str) -> tuple[Probe, list[Content]]:
    """A few inputs and the answers that this very candidate gave; no answers where the device gives none and the user accepts that."""
    why = trial.answers[candidate].unchecked
    if why is not None and not trial.job.goal.accept_unchecked:
        raise unchecked(trial.job.device, why)
    inputs, outputs = trial.work / "probe-inputs.npz", trial.work / "probe-outputs.npz"
    if why is not None:
        write_npz(select(trial.samples, range(1)), inputs)
        return Probe(inputs=inputs.name, outputs=None, rtol=0.0, atol=0.0), [describe(inputs, "probe inputs")]
    answered = _answered(trial, candidate)
    write_npz(select(trial.samples, range(len(answered))), inputs)
    write_npz(answered, outputs)
    probe = Probe(inputs=inputs.name, outputs=outputs.name, rtol=PROBE_TOLERANCE, atol=_absolute(answered))
    return probe, [describe(inputs, "probe inputs"), describe(outputs, "probe outputs")]


def _file(path: Path, digest: str, size: int) -> ModelFile:
    return ModelFile(path=path.name, digest=digest, bytes=size)


def _answered(trial: Trial, candidate: str) -> Samples:
    fetched = trial.answers[candidate]
    if fetched.path is None:
        msg = f"{trial.job.device.name}: {candidate} was picked but gave no answers to check it by"
        raise AgentError(msg)
    answers = read_npz(fetched.path, [o.name for o in trial.job.model.outputs], "the device")
    return select(answers, range(min(PROBE_SAMPLES, len(answers))))


def _absolute(answers: Samples) -> float:
    """Absolute tolerance in the outputs' own size: their largest magnitude times the relative one."""
    import numpy as np

    floats = [
        array for row in answers.arrays for array in row if np.issubdtype(array.dtype, np.floating) and array.size
    ]
    return PROBE_TOLERANCE * max((float(np.max(np.abs(array))) for array in floats), default=0.0)
