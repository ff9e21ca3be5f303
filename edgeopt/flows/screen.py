"""Before the rounds: a few short blocks decide in which settings the variants race."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeopt.domain.observer import Observer
from edgeopt.domain.run import Block, Candidate, OutputCheck
from edgeopt.domain.variant import Built
from edgeopt.flows.build import built_only
from edgeopt.flows.expectation import worth_measuring
from edgeopt.flows.on_device import check_outputs
from edgeopt.flows.trial import Trial
from edgeopt.measure.rounds import Bench
from edgeopt.select.blocks import ORIGINAL
from edgeopt.select.rounds import round_order
from edgeopt.select.settings import Offer, affordable, offers, screened_out, short_block_s, short_plan

Asked = tuple[Trial, tuple[OutputCheck, ...]]


def screen_settings(trial: Trial, checks: tuple[OutputCheck, ...], observer: Observer) -> Asked:
    """Compare settings on the original and on the smallest variant that answered; return the trial with candidates in the settings that go on, and their checks.

    With `settings = "fixed"`, or where a board offers one setting only, nothing is done. Every variant answered in the plain setting already; threads and cores do
    not change what is computed, so the other settings of the same provider count as checked. Another provider answers for itself.
    """
    plan, goal = trial.job.plan, trial.job.goal
    screened = _screened(trial, checks)
    if plan.settings == "fixed" or not screened:
        return trial, checks
    offered = offers(
        trial.facts,
        goal.objective,
        memory_limited=goal.max_memory_mb is not None,
        runtime=trial.candidates[0].setting.runtime,
    )
    offered = affordable(offered, len(screened), short_block_s(plan), plan.budget_s)
    if len(offered) == 1:
        return trial, checks
    blocks = _short_blocks(trial, screened, offered, observer)
    lost = screened_out(offered, blocks, goal.objective, accept_disturbed=plan.accept_disturbed)
    kept = [offer for offer in offered if offer.label not in lost]
    observer.finish("screen", f"on with {', '.join(offer.label for offer in kept)}")
    trial = msgspec.structs.replace(trial, screen_blocks=tuple(blocks.values()), pruned_settings=lost)
    return _expanded(trial, checks, kept, offered[0], observer)


def _screened(trial: Trial, checks: Sequence[OutputCheck]) -> list[Built]:
    """The original, which is moved by everything, and the smallest other one, which has the least to compute for each thread."""
    broken = {check.candidate for check in checks if check.failure is not None}
    names = {candidate.variant for candidate in trial.candidates if candidate.id not in broken}
    answering = sorted(
        (v for v in built_only(trial.built.variants) if v.name in names), key=lambda v: (v.bytes, v.name)
    )
    smallest = [variant for variant in answering if variant.name != ORIGINAL][:1]
    return [variant for variant in answering if variant.name == ORIGINAL] + smallest


def _short_blocks(
    trial: Trial, screened: Sequence[Built], offered: Sequence[Offer], observer: Observer
) -> dict[tuple[str, str], Block]:
    bench = Bench(
        trial.session,
        short_plan(trial.job.plan),
        models=trial.bench.models,
        inputs=trial.bench.inputs,
        site=trial.bench.site,
    )
    pairs = {_candidate(v.name, offer).id: (v.name, offer) for v in screened for offer in offered}
    observer.stage("screen", "compare settings", float(len(pairs)))
    blocks = {}
    for position, name in enumerate(round_order(list(pairs), trial.job.plan.seed, 0)):
        observer.advance("screen", float(position), name)
        variant, offer = pairs[name]
        blocks[variant, offer.label] = bench.run_block(_candidate(variant, offer), 0, position)
    return blocks


def _candidate(variant: str, offer: Offer) -> Candidate:
    return Candidate(id=f"{variant}@{offer.label}", variant=variant, setting=offer.setting)


def _expanded(
    trial: Trial, checks: tuple[OutputCheck, ...], kept: Sequence[Offer], plain: Offer, observer: Observer
) -> Asked:
    """Every variant in the settings that go on, and the original in the plain one, which is what runs without edgeopt."""
    variants = [v for v in built_only(trial.built.variants) if any(c.variant == v.name for c in trial.candidates)]
    candidates = [_candidate(v.name, offer) for v in variants for offer in kept]
    own = [_candidate(v.name, plain) for v in variants if v.name == ORIGINAL and plain not in kept]
    worth, priors, hopeless = worth_measuring(trial.job, variants, (*own, *candidates), trial.facts)
    before = {candidate.variant: candidate.id for candidate in trial.candidates}
    alike = [c for c in worth if c.setting.provider == plain.setting.provider]
    other = tuple(c for c in worth if c.setting.provider != plain.setting.provider)
    by_id = {check.candidate: check for check in checks}
    known = [msgspec.structs.replace(by_id[before[c.variant]], candidate=c.id) for c in alike]
    answers = {c.id: msgspec.structs.replace(trial.answers[before[c.variant]], candidate=c.id) for c in alike}
    if other:
        asked, more = check_outputs(msgspec.structs.replace(trial, candidates=other), observer)
        answers |= asked.answers
        known += more
    grown = msgspec.structs.replace(
        trial, candidates=worth, priors=priors, pruned=trial.pruned | hopeless, answers=answers
    )
    return grown, tuple(known)
