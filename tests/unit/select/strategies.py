"""Runs of every kind: fast and slow, flagged, failed, dropped, without samples, with damaged answers."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from edgeopt.domain.goal import Goal
from edgeopt.domain.run import Run
from tests.builders import make_check, make_failure, make_fidelity, make_run, make_skipped

VARIANTS = ("original", "fp16", "int8", "int8-static")
ENCODINGS = {"original": "fp32", "fp16": "fp16", "int8": "int8 dynamic", "int8-static": "int8 U8S8"}
ROUNDS = 7

levels_ms = st.sampled_from([4.0, 5.0, 5.05, 6.0, 10.0, 30.0])
flags = st.dictionaries(
    st.integers(0, ROUNDS - 1),
    st.sampled_from([("foreign-load",), ("throttled",), ("unsteady",), ("clock-step", "swapped")]),
    max_size=ROUNDS,
)
failures = st.dictionaries(
    st.integers(0, ROUNDS - 1),
    st.sampled_from(["signal", "timeout", "lost"]).map(make_failure) | st.just(make_failure("memory", None, "")),
    max_size=2,
)
fidelities = st.none() | st.tuples(st.floats(0, 1), st.booleans()).map(
    lambda drawn: make_fidelity(drawn[0], drawn[0] * 0.98 if drawn[1] else None)
)
checks = st.one_of(
    st.none(),
    fidelities.map(lambda fidelity: {"fidelity": fidelity}),
    st.just({"failure": make_failure("bad-output", "outputs", "NaN")}),
)


def often(default: Any, other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly ordinary, so that there is something to pick."""
    return st.one_of(st.just(default), st.just(default), other)


@st.composite
def runs(draw: st.DrawFn) -> Run:
    names = draw(st.lists(st.sampled_from(VARIANTS), unique=True, max_size=4))

    def each(values: st.SearchStrategy[Any]) -> dict[str, Any]:
        return {name: draw(values) for name in names}

    asked = each(often(None, checks))
    dropped = [name for name, out in each(often(False, st.booleans())).items() if out]
    return make_run(
        each(levels_ms),
        sizes=each(st.sampled_from([1_000_000, 2_000_000, 4_000_000])),
        encodings=ENCODINGS,
        agreements=each(often(make_fidelity(), fidelities)),
        flags=each(often({}, flags)),
        failures=each(often({}, failures)),
        peaks=each(st.sampled_from([50_000_000, 80_000_000, None])),
        skipped=draw(st.lists(st.just(make_skipped("pruned")), max_size=1)),
        rounds=draw(st.sampled_from([0, 1, 3, ROUNDS])),
        output_checks=tuple(make_check(name, **asked[name]) for name in names if asked[name] is not None),
        dropped_early={f"{name}@all": "much slower than the fastest" for name in dropped},
    )


LIMITS: dict[str, st.SearchStrategy[float]] = {
    "max_latency_p50_ms": st.sampled_from([4.5, 5.0, 9.0, 100.0]),
    "max_latency_p90_ms": st.sampled_from([4.5, 5.02, 9.0, 100.0]),
    "max_memory_mb": st.sampled_from([40.0, 60.0, 100.0]),
    "max_size_mb": st.sampled_from([0.5, 1.5, 4.0]),
    "min_agreement": st.floats(0, 1),
    "max_certified_accuracy_drop": st.floats(0, 1),
}
objectives = st.sampled_from(["latency", "memory", "size", "energy"])


@st.composite
def goals(draw: st.DrawFn) -> Goal:
    given = draw(st.fixed_dictionaries({}, optional=LIMITS))  # type: ignore[arg-type]
    return Goal(**({"objective": draw(objectives), "min_agreement": None} | given))
