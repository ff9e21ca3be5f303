"""Before the rounds: a few short blocks decide in which settings the variants race, for each runtime by itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from edgeopt.domain.observer import Observer
from edgeopt.domain.run import Block, Candidate, OutputCheck, Setting
from edgeopt.domain.variant import Built
from edgeopt.flows.build import built_only
from edgeopt.flows.expectation import worth_measuring
from edgeopt.flows.on_device import check_outputs
from edgeopt.flows.trial import Trial
from edgeopt.measure.rounds import Bench
from edgeopt.select.blocks import ORIGINAL
from edgeopt.select.rounds import round_order
from edgeopt.select.settings import Offer, affordable, label, offers, screened_out, short_block_s, short_plan

Asked = tuple[Trial, tuple[OutputCheck, ...]]


class Screen(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime's settings, and the variants that they are compared on."""

    runtime: str
    variants: tuple[Built, ...]
    offered: tuple[Offer, ...]

    def pairs(self) -> Iterator[tuple[str, Offer]]:
        """Every variant in every setting."""
        return ((variant.name, offer) for variant in self.variants for offer in self.offered)

    def key(self, offer: str) -> str:
        """What a setting is called among those of all runtimes."""
        return offer if self.runtime == "onnxruntime" else f"{self.runtime} {offer}"


def screen_settings(trial: Trial, checks: tuple[OutputCheck, ...], observer: Observer) -> Asked:
    """Compare settings, for each runtime on its first variant and its smallest one that answered; return the trial with candidates in the settings that go on, and their checks.

    With `settings = "fixed"`, or where no runtime has a choice, nothing is done. Every variant answered in the plain setting already; threads and cores do
    not change what is computed, so the other settings of the same provider and precision count as checked. Another provider or precision answers for itself.
    """
    plan, goal = trial.job.plan, trial.job.goal
    screens = _screens(trial, checks) if plan.settings != "fixed" else []
    choices = [screen for screen in screens if len(screen.offered) > 1]
    if not choices:
        return trial, checks
    blocks = _short_blocks(trial, choices, observer)
    kept: dict[str, list[Offer]] = {}
    lost: dict[str, str] = {}
    for screen in screens:
        mine = {(name, offer.label): blocks[name, offer.label] for name, offer in screen.pairs() if screen in choices}
        out = screened_out(screen.offered, mine, goal.objective, accept_disturbed=plan.accept_disturbed) if mine else {}
        kept[screen.runtime] = [offer for offer in screen.offered if offer.label not in out]
        lost |= {screen.key(name): why for name, why in out.items()}
    named = [screen.key(offer.label) for screen in screens for offer in kept[screen.runtime]]
    observer.finish("screen", f"on with {', '.join(named)}")
    trial = msgspec.structs.replace(trial, screen_blocks=tuple(blocks.values()), pruned_settings=lost)
    return _expanded(trial, checks, kept, observer)


def _screens(trial: Trial, checks: Sequence[OutputCheck]) -> list[Screen]:
    """What there is to choose, in the order of the candidates."""
    plan, goal = trial.job.plan, trial.job.goal
    broken = {check.candidate for check in checks if check.failure is not None}
    answering = {c.variant for c in trial.candidates if c.id not in broken}
    variants = [variant for variant in built_only(trial.built.variants) if variant.name in answering]
    runtimes = list(dict.fromkeys(variant.recipe.runtime for variant in variants))
    share_s = None if plan.budget_s is None else plan.budget_s / max(1, len(runtimes))
    screens = []
    for runtime in runtimes:
        screened = _screened([variant for variant in variants if variant.recipe.runtime == runtime])
        offered = offers(trial.facts, goal.objective, memory_limited=goal.max_memory_mb is not None, runtime=runtime)
        offered = affordable(offered, len(screened), short_block_s(plan), share_s)
        screens.append(Screen(runtime=runtime, variants=tuple(screened), offered=offered))
    return screens


def _screened(variants: Sequence[Built]) -> list[Built]:
    """The first, which is the original or another in float, and the smallest other one, which has the least to compute for each thread."""
    smallest = sorted(variants[1:], key=lambda variant: (variant.bytes, variant.name))
    return [variants[0], *smallest[:1]]


def _short_blocks(trial: Trial, screens: Sequence[Screen], observer: Observer) -> dict[tuple[str, str], Block]:
    bench = Bench(
        trial.session,
        short_plan(trial.job.plan),
        models=trial.bench.models,
        inputs=trial.bench.inputs,
        sites=trial.bench.sites,
    )
    pairs = {_candidate(name, offer).id: (name, offer) for screen in screens for name, offer in screen.pairs()}
    observer.stage("screen", "compare settings", float(len(pairs)))
    blocks = {}
    for position, name in enumerate(round_order(list(pairs), trial.job.plan.seed, 0)):
        observer.advance("screen", float(position), name)
        variant, offer = pairs[name]
        blocks[variant, offer.label] = bench.run_block(_candidate(variant, offer), 0, position)
    return blocks


def _candidate(variant: str, offer: Offer) -> Candidate:
    return Candidate(id=f"{variant}@{offer.label}", variant=variant, setting=offer.setting)


def _expanded(trial: Trial, checks: tuple[OutputCheck, ...], kept: dict[str, list[Offer]], observer: Observer) -> Asked:
    """Every variant in the settings of its runtime that go on; and the original on all cores, which is what runs without edgeopt, and on as many threads as any other, to compare with."""
    names = {candidate.variant for candidate in trial.candidates}
    variants = [variant for variant in built_only(trial.built.variants) if variant.name in names]
    candidates = [
        _candidate(variant.name, offer) for variant in variants for offer in kept.get(variant.recipe.runtime, ())
    ]
    before = {candidate.variant: candidate for candidate in trial.candidates}
    own = _originals(before.get(ORIGINAL), candidates)
    worth, priors, hopeless = worth_measuring(trial.job, variants, (*own, *candidates), trial.facts)
    alike = [c for c in worth if _computes(c.setting) == _computes(before[c.variant].setting)]
    other = tuple(c for c in worth if c not in alike)
    by_id = {check.candidate: check for check in checks}
    known = [msgspec.structs.replace(by_id[before[c.variant].id], candidate=c.id) for c in alike]
    answers = {c.id: msgspec.structs.replace(trial.answers[before[c.variant].id], candidate=c.id) for c in alike}
    if other:
        asked, more = check_outputs(msgspec.structs.replace(trial, candidates=other), observer)
        answers |= asked.answers
        known += more
    grown = msgspec.structs.replace(
        trial, candidates=worth, priors=priors, pruned=trial.pruned | hopeless, answers=answers
    )
    return grown, tuple(known)


def _originals(original: Candidate | None, candidates: Sequence[Candidate]) -> list[Candidate]:
    """The original in settings that are not among the candidates and that something is compared in."""
    if original is None:
        return []
    has = {candidate.setting.threads for candidate in candidates if candidate.variant == ORIGINAL}
    wanted = dict.fromkeys([original.setting.threads, *(candidate.setting.threads for candidate in candidates)])
    settings = [msgspec.structs.replace(original.setting, threads=count) for count in wanted if count not in has]
    return [_candidate(ORIGINAL, Offer(label=label(setting), setting=setting)) for setting in settings]


def _computes(setting: Setting) -> tuple[str, str | None]:
    """What answers depend on."""
    return setting.provider, setting.precision
