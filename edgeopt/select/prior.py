"""What is expected before the board is asked: a whole-model roofline of two parameters. It prunes what is hopeless and never chooses.

`T = MAC / P + (weight bytes + 2 x activations x bytes) / BW`: on CPUs the sum of both terms fits measured latencies better than the larger one does. P and BW are
the profile's (`Profile.roofline`), fitted to published latencies of another runtime, so a prediction is good to about a factor of two. What it says therefore counts
beyond a factor of three only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from edgeopt.domain.device import Profile, Roofline
from edgeopt.domain.goal import Goal
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.pick import Summary
from edgeopt.domain.prior import Prior, PriorCheck
from edgeopt.domain.run import Candidate, Scenario, plain_provider
from edgeopt.select.blocks import ORIGINAL
from edgeopt.select.wording import megabytes, ms, number

FACTOR = 3.0
"""Beyond this factor a prediction counts: about three standard deviations of what two parameters leave unexplained (1.3 to 1.5 on CPUs)."""
RUNTIME_BYTES = 46_000_000
"""Peak of a process that has imported numpy and onnxruntime 1.32 on x86-64, measured; the model comes on top of it."""
AS_GIVEN = "as given"
"""The encoding of recipes that change no number."""
_INT8_INSTRUCTION = "asimddp"
_FP16_INSTRUCTION = "asimdhp"


def expect(
    model: ModelInfo,
    profile: Profile,
    *,
    encoding: str,
    weight_bytes: int,
    threads: int,
    features: Collection[str] | None = None,
) -> tuple[float | None, str | None]:
    """Return the expected milliseconds of an inference, or None and the reason.

    Args:
        model: with its counts.
        profile: the kind of board.
        encoding: of the variant, in a recipe's words.
        weight_bytes: the size of the variant's files.
        threads: 0 means all cores.
        features: what the board's CPU says it can do; None before it was asked.
    """
    if not profile.roofline:
        return None, f"no board of the kind {profile.name!r} has been measured for it"
    if model.macs is None or model.activations is None:
        return None, f"what an inference computes could not be counted: {model.costs_reason or 'an older record'}"
    lacking = _lacking(profile, features)
    if lacking is not None:
        return None, lacking
    dtype, width = _arithmetic(encoding, model, profile)
    rate = _rate(profile, dtype, threads)
    if rate is None:
        return None, f"the profile {profile.name!r} has no rates for {dtype} with {threads or 'all'} threads"
    moved = weight_bytes + 2 * model.activations * width
    return 1e3 * (model.macs / (rate.gmac_per_s * 1e9) + moved / (rate.gb_per_s * 1e9)), None


def planned_bytes(model: ModelInfo, encoding: str) -> int:
    """Return about how large a variant will be that is not built yet: its parameters at the width of its encoding."""
    widths = {"int4": 0.5, "int8": 1.0, "fp16": 2.0}
    width = widths.get(encoding.split(maxsplit=1)[0])
    return model.bytes if width is None else round(model.parameter_count * width)


def _lacking(profile: Profile, features: Collection[str] | None) -> str | None:
    """The profile's rates are of its own CPU: with or without these instructions it would be another one."""
    if not features:
        return None
    for name in (_INT8_INSTRUCTION, _FP16_INSTRUCTION):
        if (name in profile.isa) != (name in features):
            has = "has" if name in features else "lacks"
            return f"the board's CPU {has} {name}, other than the kind {profile.name!r}, whose rates say nothing of it"
    return None


def _arithmetic(encoding: str, model: ModelInfo, profile: Profile) -> tuple[str, float]:
    """What is computed in, and the bytes of an activation. float16 without instructions for it is storage only; 4-bit weights are computed with in float."""
    words = encoding.split()
    kind = _own_kind(model) if encoding == AS_GIVEN else words[0]
    if kind == "int8":
        return "int8", 4.0 if "dynamic" in words else 1.0
    if kind == "fp16" and profile.fp16:
        return "fp16", 2.0
    return "fp32", 4.0


def _own_kind(model: ModelInfo) -> str:
    """The format of most of the model's own weights."""
    most = max(model.parameter_dtypes, key=lambda name: model.parameter_dtypes[name], default="float32")
    return {"float16": "fp16", "int8": "int8", "uint8": "int8"}.get(most, "fp32")


def _rate(profile: Profile, dtype: str, threads: int) -> Roofline | None:
    count = threads or profile.cores
    return next((rate for rate in profile.roofline if rate.dtype == dtype and rate.threads == count), None)


def priors(
    candidates: Sequence[Candidate],
    model: ModelInfo,
    profile: Profile,
    variants: Mapping[str, tuple[str, int]],
    features: Collection[str] | None = None,
    scenario: Scenario = "single-stream",
) -> tuple[Prior, ...]:
    """Return what is expected of every candidate.

    Args:
        candidates: in any order.
        model: with its counts.
        profile: the kind of board.
        variants: name -> (encoding, bytes).
        features: what the board's CPU says it can do; None before it was asked.
        scenario: the rates are of one inference after the other, and nothing is expected of another.
    """
    found: dict[str, tuple[float | None, str | None]] = {}
    for candidate in candidates:
        foreign = _foreign(candidate, scenario)
        if foreign is not None:
            found[candidate.id] = (None, foreign)
            continue
        encoding, size = variants[candidate.variant]
        found[candidate.id] = expect(
            model,
            profile,
            encoding=encoding,
            weight_bytes=size,
            threads=candidate.setting.threads,
            features=features,
        )
    original = {c.setting: found[c.id][0] for c in candidates if c.variant == ORIGINAL}
    return tuple(
        Prior(
            candidate=candidate.id,
            ms=found[candidate.id][0],
            times_original=_over(found[candidate.id][0], original.get(candidate.setting)),
            reason=found[candidate.id][1],
        )
        for candidate in candidates
    )


def _foreign(candidate: Candidate, scenario: Scenario) -> str | None:
    """Why the rates say nothing of a candidate, whatever the board."""
    if scenario != "single-stream":
        return f"rates are of one inference after the other, the scenario is {scenario}"
    if candidate.setting.provider != plain_provider(candidate.setting.runtime):
        return f"rates are of the CPU, not of {candidate.setting.provider}"
    return None


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def hopeless(candidates: Sequence[Candidate], expected: Sequence[Prior], goal: Goal) -> dict[str, str]:
    """Return the candidates that are not worth device time, each with its sentence. Never the original: everything is compared with it.

    A candidate is hopeless when even a third of what is expected of it is too slow: for the limit on p50 or p90, or, where latency is the objective, against the
    fastest that is expected of any.
    """
    known = {prior.candidate: prior.ms for prior in expected if prior.ms is not None}
    if not known:
        return {}
    fastest = min(known, key=lambda name: (known[name], name))
    limits = [limit for limit in (goal.max_latency_p50_ms, goal.max_latency_p90_ms) if limit is not None]
    lost = {}
    for candidate in candidates:
        expectation = known.get(candidate.id)
        if candidate.variant == ORIGINAL or expectation is None:
            continue
        if limits and expectation > FACTOR * min(limits):
            lost[candidate.id] = (
                f"was not measured: {ms(expectation)} are expected, {number(expectation / min(limits))} times the goal's {ms(min(limits))}"
            )
        elif goal.objective == "latency" and expectation > FACTOR * known[fastest]:
            lost[candidate.id] = (
                f"was not measured: {ms(expectation)} are expected, {number(expectation / known[fastest])} times what is expected of {fastest}"
            )
    return lost


def does_not_fit(size_bytes: int, memory_bytes: int | None) -> str | None:
    """Return why a variant cannot be held in the board's memory at all, None when it may. Its weights are in memory once at least, beside the runtime.

    Args:
        size_bytes: of the variant's files.
        memory_bytes: of the whole board; None when it is not known.
    """
    need = RUNTIME_BYTES + size_bytes
    if memory_bytes is None or need <= memory_bytes:
        return None
    return (
        f"does not fit into the board's memory: {megabytes(size_bytes)} of weights and {megabytes(RUNTIME_BYTES)} of runtime need {megabytes(need)}, "
        f"the board has {megabytes(memory_bytes)}"
    )


def compare(expected: Sequence[Prior], summaries: Sequence[Summary]) -> tuple[PriorCheck, ...]:
    """Return how every expectation turned out, in their order. Pure, so a saved run can be asked again."""
    measured = {s.candidate: s for s in summaries}
    return tuple(_compared(prior, measured.get(prior.candidate)) for prior in expected)


def _compared(prior: Prior, summary: Summary | None) -> PriorCheck:
    level = None if summary is None else summary.p50_ms
    factor = None if level is None or not prior.ms else level / prior.ms
    reason = prior.reason
    if reason is None and level is None:
        reason = "it was not measured" if summary is None else summary.reasons.get("p50_ms", "it was not measured")
    return PriorCheck(
        candidate=prior.candidate,
        expected_ms=prior.ms,
        measured_ms=level,
        factor=factor,
        sentence=None if factor is None else _surprise(prior, factor),
        reason=reason,
    )


def _surprise(prior: Prior, factor: float) -> str | None:
    if 1 / FACTOR <= factor <= FACTOR:
        return None
    word, times = ("slower", factor) if factor > 1 else ("faster", 1 / factor)
    return (
        f"{prior.candidate} is {number(times)} times {word} than expected of this kind of board: look at its power supply, its clocks and "
        "how the runtime places the operators, or doubt the expectation"
    )
