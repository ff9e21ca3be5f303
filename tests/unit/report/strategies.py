"""Runs and picks of every kind that the records allow."""

from __future__ import annotations

from hypothesis import strategies as st

from edgeopt.domain.pick import Loser, Pick, Summary
from edgeopt.domain.run import Run
from tests.builders import make_built, make_fidelity, make_pick, make_run, make_skipped, make_summary

nasty = st.text(max_size=60) | st.sampled_from(
    ["[bold]x[/bold]", "\x1b[2J", "a\nb", "[/]", "\u202egnp.exe", "\u4e2d\u6587 wide", "word " * 40, "x" * 150]
)
sentences = nasty.map(lambda text: f"because {text}")
maybe_ms = st.none() | st.floats(min_value=1e-4, max_value=1e6)
shares = st.none() | st.floats(min_value=0, max_value=1)


@st.composite
def summaries(draw: st.DrawFn, variant: str) -> Summary:
    names = ("p50_ms", "p50_low_ms", "p50_high_ms", "p90_ms", "ratio", "ratio_low", "ratio_high", "energy_mj")
    return make_summary(
        variant,
        **{name: draw(maybe_ms) for name in names},
        size_bytes=draw(st.integers(0, 10**10)),
        peak_memory_bytes=draw(st.none() | st.integers(0, 10**10)),
        agreement=draw(shares),
        agreement_lower=draw(shares),
        verdict=draw(st.sampled_from(["trusted", "inconclusive", "contaminated"])),
    )


@st.composite
def stories(draw: st.DrawFn) -> tuple[Run, Pick]:
    """A run and a pick from it, with texts that a hostile device or file could have supplied."""
    variants = draw(st.lists(nasty.map(lambda text: f"v{text}"), max_size=4, unique=True))
    facts = draw(st.dictionaries(st.sampled_from(["cpu", "board", "machine", "governor", "python"]), facts_values))
    run = make_run(
        dict.fromkeys(variants, 5.0),
        skipped=[make_skipped(draw(nasty), draw(sentences)) for _ in range(draw(st.integers(0, 2)))],
        rounds=2,
        facts=facts,
        app=draw(nasty),
        energy_reason=draw(sentences),
    )
    losers = tuple(Loser(name=draw(nasty), reason=draw(sentences)) for _ in range(draw(st.integers(0, 4))))
    status = draw(st.sampled_from(["picked", "goal-not-met", "inconclusive"]))
    picked = draw(st.sampled_from(variants)) if variants and status == "picked" else None
    return run, make_pick(
        *[draw(summaries(name)) for name in variants or ["original"]],
        status=status,
        candidate=f"{picked}@all" if picked else None,
        variant=picked,
        reason=draw(sentences),
        losers=losers,
    )


facts_values = (
    nasty
    | st.none()
    | st.integers()
    | st.lists(nasty, max_size=2)
    | st.fixed_dictionaries(
        {},
        optional={
            "model": nasty | st.integers(),
            "cores": st.integers(0, 512) | nasty,
            "dt_model": nasty,
            "version": st.none() | nasty,
        },
    )
)

variants = st.lists(
    st.builds(
        lambda name, text, agreement, noise: make_built(
            name, encoding=text, fidelity=agreement and make_fidelity(agreement[0], sqnr_db=noise)
        ),
        nasty,
        nasty,
        st.none() | st.tuples(st.floats(min_value=0, max_value=1)),
        st.none() | st.floats(min_value=-50, max_value=200),
    )
    | st.builds(make_skipped, nasty, sentences),
    max_size=4,
)
