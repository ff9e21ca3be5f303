"""After the pick: what the board keeps up of it, and of the original beside it."""

from __future__ import annotations

from edgeopt.domain.observer import Observer
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Candidate, Run
from edgeopt.domain.sustained import Sustained
from edgeopt.flows.trial import Trial
from edgeopt.measure.sustained import measure_sustained
from edgeopt.select.blocks import original_of


def sustain(trial: Trial, run: Run, pick: Pick, observer: Observer) -> tuple[Sustained, ...]:
    """Run the pick and its original back to back until the temperature is flat; nothing when it was not asked for or nothing was picked.

    Raises:
        AgentLost, LinkLost, LinkTimeout: the conversation ended.
    """
    minutes = trial.job.plan.sustained_minutes
    picked = next((candidate for candidate in run.candidates if candidate.id == pick.candidate), None)
    if minutes is None or picked is None:
        return ()
    asked: list[Candidate] = [picked]
    original = original_of(run, picked)
    if original is not None and original is not picked:
        asked.append(original)
    observer.stage("sustained", "measure what the board keeps up", float(len(asked)))
    found = []
    for done, candidate in enumerate(asked):
        observer.advance("sustained", float(done), f"{candidate.id}, at most {minutes:g} minutes")
        found.append(measure_sustained(trial.bench, candidate, 60.0 * minutes))
    observer.finish("sustained")
    return tuple(found)
