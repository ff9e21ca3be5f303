"""Drawn pictures of a job whose network remembers in its batch norms what it was trained on."""

from __future__ import annotations

import msgspec

from edgeopt.compiler.fit_pictures import NORM, NotFitted, fit_pictures, has_norms
from edgeopt.compiler.recipes import get_recipe
from edgeopt.domain.observer import Observer
from edgeopt.flows.prepare import Job
from edgeopt.profiles.places import Places


def with_fitted_pictures(job: Job, places: Places, observer: Observer) -> Job:
    """The job with its drawn pictures moved until the network's batch norms see in them what they saw in training; as it is where there are none, where that cannot be, where nothing is calibrated, or where nothing may take long.

    Raises:
        StoreError: the cache cannot be written.
    """
    from edgeopt.samples.invent import DRAWN_PICTURES

    info = job.samples_info
    drawn = info is not None and info.synthetic and DRAWN_PICTURES in info.source
    calibrates = job.recipes is None or any(get_recipe(name).needs_samples for name in job.recipes)
    if info is None or not drawn or not calibrates or not has_norms(job.model) or job.budget == "instant":
        return job
    observer.stage("fit", "fit drawn pictures to the network's batch norms")

    def tell(words: str) -> None:
        observer.advance("fit", 0.0, words)

    try:
        (calibration, fit), (heldout, _) = (
            fit_pictures(job.model_path, job.model, part, places.cache, tell) for part in (job.calibration, job.heldout)
        )
    except NotFitted as reason:
        observer.finish("fit", "as they are")
        count = job.model.op_counts[NORM]
        observer.note(
            f"drawn pictures were not fitted to the network's {count} batch norms, which would calibrate better: {reason}"
        )
        return job
    observer.finish("fit", f"{fit.norms} norms, distance {fit.before:.2g} before, {fit.after:.2g} now")
    return msgspec.structs.replace(
        job,
        calibration=calibration,
        heldout=heldout,
        samples_info=msgspec.structs.replace(
            info,
            source=calibration.source,
            digest=calibration.digest,
            calibration=len(calibration),
            heldout=len(heldout),
            count=len(calibration) + len(heldout),
        ),
    )
