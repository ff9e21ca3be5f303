"""How a variant may be run on a board: which settings are worth a look, and which of them a few short blocks rule out. Pure.

More threads are not always faster: small networks are memory-bound, and slow cores hold up fast ones (ncnn's MobileNetV2 on a Snapdragon 8 Gen 2: 3.1 ms on four big cores, 6.0 ms
on all eight). So threads, clusters and the runtime's spinning are tried, briefly, before the candidates race.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from edgeopt.domain.device import Profile
from edgeopt.domain.goal import Goal, Objective
from edgeopt.domain.run import ON_GPU, Block, MeasurePlan, Precision, Setting, plain_provider, plain_setting
from edgeopt.select.blocks import EXCLUDING, block_ms, is_timed
from edgeopt.select.rounds import OVERHEAD_S
from edgeopt.select.wording import number

BIG_SHARE = 0.75
"""Cores of a cluster slower than this share of the fastest are little ones. Turbo bins of one kind of core differ by less."""
FAR_BEHIND = 1.2
"""A setting that takes longer than this times the best setting, for every variant that was screened, is left out. One short block is good to some per cent."""
KEPT = 2
"""Settings that go on into the race at most: each multiplies the candidates."""
BUDGET_SHARE = 0.2
"""Part of the time budget that the screen may take."""
ASSUMED_CORES = 4
"""Of a board whose profile does not say."""
SHORT_S = 0.3
SHORT_WARMUP_S = 0.1
SHORT_MAX_S = 1.0
SHORT_INFERENCES = 5
SHORT_COOL_DOWN_S = 5.0
"""Of a short block: enough to tell 20 % apart, with its process about two seconds on a desktop and four on a Pi."""
BF16, FP16 = frozenset({"avx512_bf16", "amx_bf16"}), "asimdhp"
"""CPU flags, by the kernel's names, of arithmetic in half precision."""
ACCELERATORS = (
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "QNNExecutionProvider",
    "OpenVINOExecutionProvider",
    "ACLExecutionProvider",
    "ArmNNExecutionProvider",
    "XnnpackExecutionProvider",
)
"""Providers of onnxruntime that may beat its own CPU kernels on a board."""
OPENVINO_DEVICES = ("GPU", "NPU")
"""What OpenVINO may compute on besides the CPU."""


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A setting and the short name that stands behind the `@` of its candidates."""

    label: str
    setting: Setting


def label(setting: Setting) -> str:
    """Return a setting in a few letters: `all`, `2`, `big4`, `2 nospin`, `cuda`, `all bf16`. An affinity is called big, since no other is offered. The runtime is not told: its variants have names of their own."""
    count = setting.threads or len(setting.affinity)
    words = [f"{'big' if setting.affinity else ''}{count or 'all'}"]
    if setting.provider != plain_provider(setting.runtime):
        words = [setting.provider.removesuffix("ExecutionProvider").lower(), *(words if count else [])]
    words = ["gpu"] if setting.runtime in ON_GPU else words
    words += ["nospin"] if setting.spinning is False else []
    words += ["noarena"] if setting.arena is False else []
    words += [setting.precision] if setting.precision is not None else []
    return " ".join(words)


def offers(facts: Mapping[str, Any], objective: Objective, *, memory_limited: bool, runtime: str) -> tuple[Offer, ...]:
    """Return the settings worth a look on a board, the plain one (all cores) first, the least likely last.

    Args:
        facts: of the agent's probe.
        objective: the size of a file does not depend on how it is run.
        memory_limited: the goal limits memory, so ONNX Runtime's arena counts.
        runtime: the runtime's name.
    """
    plain = plain_setting(runtime)
    if objective == "size":
        return _labelled([plain])
    cores = facts.get("cpu") or {}
    big = big_cores(cores.get("clusters") or ())
    usable = cores.get("usable_cores") or cores.get("cores") or 1
    widest = len(big) or usable
    settings = [plain]
    if runtime in ON_GPU:
        return _labelled([plain, *(_with(plain, precision=precision) for precision in _precisions((), runtime))])
    settings += [_with(plain, threads=widest, affinity=big)] if big else []
    settings += [_with(plain, threads=count, affinity=big) for count in (2, 1) if count < widest]
    settings += [_with(plain, provider=provider) for provider in _providers(facts, runtime)]
    settings += [_with(plain, precision=precision) for precision in _precisions(cores.get("features") or (), runtime)]
    if runtime == "onnxruntime" and usable > 1:
        settings.append(_with(plain, spinning=False))
    if runtime == "onnxruntime" and (memory_limited or objective == "memory"):
        settings.insert(1, _with(plain, arena=False))
    return _labelled(settings)


def _with(setting: Setting, **changes: Any) -> Setting:
    return msgspec.structs.replace(setting, **changes)


def _precisions(features: Collection[str], runtime: str) -> list[Precision]:
    """Half precisions that the CPU has arithmetic for and the runtime can be told to use: answers change by them, so they answer for themselves."""
    has = set(features)
    if runtime == "tensorrt":
        return ["fp16"]
    if runtime == "openvino" and not BF16.isdisjoint(has):
        return ["bf16"]
    return ["fp16"] if runtime in ("openvino", "ncnn") and FP16 in has else []


def _labelled(settings: Sequence[Setting]) -> tuple[Offer, ...]:
    return tuple(Offer(label=label(setting), setting=setting) for setting in dict.fromkeys(settings))


def big_cores(clusters: Sequence[Mapping[str, Any]]) -> tuple[int, ...]:
    """Return the numbers of the fast cores, in ascending order; () where all are alike or nobody says.

    Args:
        clusters: {"cores": numbers, "capacity": of the kernel, or None, "max_mhz": or None}, of the cores that may be used.
    """
    for unit in ("capacity", "max_mhz"):
        speeds = [cluster.get(unit) for cluster in clusters]
        known = [speed for speed in speeds if speed]
        if len(known) == len(clusters) and len(clusters) > 1:
            least = BIG_SHARE * max(known)
            if min(known) >= least:
                continue
            return tuple(
                sorted(core for cluster in clusters if cluster[unit] >= least for core in cluster.get("cores") or ())
            )
    return ()


def _providers(facts: Mapping[str, Any], runtime: str) -> list[str]:
    has = {name for item in facts.get("runtimes") or () if item.get("name") == runtime for name in item["providers"]}
    return [name for name in (*ACCELERATORS, *OPENVINO_DEVICES) if name in has]


def short_plan(plan: MeasurePlan) -> MeasurePlan:
    """Return a plan for the short blocks of a screen."""
    return msgspec.structs.replace(
        plan,
        block_min_s=min(SHORT_S, plan.block_min_s),
        block_min_inferences=min(SHORT_INFERENCES, plan.block_min_inferences),
        block_max_s=min(SHORT_MAX_S, plan.block_max_s),
        warmup_min_s=min(SHORT_WARMUP_S, plan.warmup_min_s),
        cool_down_max_s=min(SHORT_COOL_DOWN_S, plan.cool_down_max_s),
    )


def short_block_s(plan: MeasurePlan) -> float:
    """Return what a short block costs in seconds, with its process."""
    short = short_plan(plan)
    return OVERHEAD_S + short.warmup_min_s + short.block_min_s


class ScreenOutlook(msgspec.Struct, frozen=True, kw_only=True):
    """What a screen will cost in seconds on the device, and how many candidates go on at most; None when there is no screen."""

    seconds: float
    candidates: int | None


def screen_outlook(plan: MeasurePlan, profile: Profile, goal: Goal, variants: Mapping[str, int]) -> ScreenOutlook:
    """Return what can be said of the screen before the board is asked: its cores are the profile's, all alike.

    Args:
        plan: what it is measured by.
        profile: of the board.
        goal: its objective, and whether it limits memory.
        variants: runtime -> number of variants that it runs.
    """
    if plan.settings == "fixed":
        return ScreenOutlook(seconds=0.0, candidates=None)
    facts = {"cpu": {"usable_cores": profile.cores or ASSUMED_CORES}}
    limited = goal.max_memory_mb is not None
    share_s = None if plan.budget_s is None else plan.budget_s / max(1, len(variants))
    seconds, candidates = 0.0, 1
    for runtime, count in variants.items():
        screened = min(count, 2)
        offered = offers(facts, goal.objective, memory_limited=limited, runtime=runtime)
        offered = affordable(offered, screened, short_block_s(plan), share_s)
        seconds += len(offered) * screened * short_block_s(plan) if len(offered) > 1 else 0.0
        candidates += count * min(len(offered), KEPT)
    return ScreenOutlook(seconds=seconds, candidates=candidates if seconds else None)


def affordable(offered: Sequence[Offer], variants: int, block_s: float, budget_s: float | None) -> tuple[Offer, ...]:
    """Return as many of the settings, from the first, as can be screened in the budget's share; the plain one alone needs no screen.

    Args:
        offered: likeliest first.
        variants: how many are screened.
        block_s: what a short block costs, in seconds.
        budget_s: device time of the whole measurement; None is no limit.
    """
    if budget_s is None:
        return tuple(offered)
    count = int(BUDGET_SHARE * budget_s / max(variants * block_s, 1e-9))
    return tuple(offered[: max(count, 1)])


def screened_out(
    offered: Sequence[Offer],
    blocks: Mapping[tuple[str, str], Block],
    objective: Objective,
    *,
    accept_disturbed: bool = False,
) -> dict[str, str]:
    """Return the labels of settings that are not worth more time, each with its sentence. At least one setting is left.

    Latency is compared, or the peak memory where that is the objective. A setting stays when it is near the best one for any variant, and of those that stay
    the KEPT best do. Disturbed blocks rule nothing out; a setting that has no others comes behind those that have.

    Args:
        offered: in order of preference among equals.
        blocks: (variant, label) -> its short block.
        objective: of the goal.
        accept_disturbed: on a board that is never quiet, disturbed blocks count like others.
    """
    lost = {
        offer.label: f"did not run: {why}" for offer in offered if (why := _failed(offer.label, blocks)) is not None
    }
    running = [offer.label for offer in offered if offer.label not in lost]
    usable = {key: block for key, block in blocks.items() if _is_usable(block, accept_disturbed=accept_disturbed)}
    levels = {name: _levels(name, usable, objective) for name in running}
    variants = {variant for found in levels.values() for variant in found}
    if not variants:
        kept = running[0] if running else offered[0].label
        rest = [offer.label for offer in offered if offer.label != kept]
        return {
            name: lost.get(name, "no short block was undisturbed, so only the first setting goes on") for name in rest
        }
    best = {
        variant: min((found[variant], name) for name, found in levels.items() if variant in found)
        for variant in variants
    }
    times = {
        name: min(found[variant] / best[variant][0] for variant in found) for name, found in levels.items() if found
    }
    ahead = ", ".join(sorted({name for _, name in best.values()}))
    word = "memory" if objective == "memory" else "time"
    far = {name: least for name, least in times.items() if least > FAR_BEHIND}
    lost |= {
        name: f"needs at least {number(least)} times the {word} of the best setting ({ahead}) for every variant that was screened"
        for name, least in far.items()
    }
    near = sorted((name for name in running if name not in far), key=lambda name: times.get(name, FAR_BEHIND))
    return lost | {name: f"{KEPT} settings were better: {', '.join(near[:KEPT])}" for name in near[KEPT:]}


def _levels(name: str, blocks: Mapping[tuple[str, str], Block], objective: Objective) -> dict[str, float]:
    """Levels of a setting by variant."""
    mine = {variant: block for (variant, setting), block in blocks.items() if setting == name}
    if objective == "memory":
        return {v: float(block.peak_rss_bytes) for v, block in mine.items() if block.peak_rss_bytes is not None}
    return {variant: block_ms(block) for variant, block in mine.items()}


def _is_usable(block: Block, *, accept_disturbed: bool) -> bool:
    """Tell whether a short block counts. It may be too short to have settled."""
    disturbed = not (EXCLUDING - {"unsteady"}).isdisjoint(block.flags)
    return block.failure is None and is_timed(block) and (accept_disturbed or not disturbed)


def _failed(name: str, blocks: Mapping[tuple[str, str], Block]) -> str | None:
    """Why a setting failed for every variant; None when it did not."""
    mine = [block.failure for (_, setting), block in blocks.items() if setting == name]
    failures = [failure for failure in mine if failure is not None]
    return failures[0].detail if mine and len(failures) == len(mine) else None
