"""From what came back of a process to a block result."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.measure.phone.results import cpu_seconds, doubts, ending, judged
from edgeopt.measure.phone.shell import Part
from edgeopt.measure.phone.tools import BENCHMARK_MODEL, PERF_TEST, Reading
from tests.unit.measure.phone.test_tools import NEW_BENCHMARK, PERF, RESULT

TIMES = "0m0.02s 0m0.01s\n0m1.50s 1m0.25s\n"


def parts(code: str = "0", said: str = PERF, result: str = RESULT) -> list[Part]:
    return [Part(("said",), said), Part(("exit", code), ""), Part(("times",), TIMES), Part(("result",), result)]


def test_a_process_that_ended_well_is_read() -> None:
    found = ending(parts(), PERF_TEST)
    assert found.reading is not None
    assert found.cpu_s == pytest.approx(0.02 + 0.01 + 1.5 + 60.25)


@pytest.mark.parametrize(
    ("code", "said", "kind", "words"),
    [
        ("127", "sh: /p: not found", "runtime-missing", "cannot be started: sh: /p: not found"),
        ("126", "/p: not executable: 64-bit ELF file", "runtime-missing", "64-bit ELF"),
        ("139", "Segmentation fault", "signal", "SIGSEGV"),
        ("132", "", "signal", "SIGILL"),
        ("255", "there is no test data for model m", "error", "no test data"),
        ("1", "ERROR: Failed to load model", "error", "Failed to load model"),
        ("0", "Session creation time cost: 0.1 s", "error", "without its figures"),
        ("what", "", "error", "exit code 1"),
    ],
)
def test_an_end_has_its_name(code: str, said: str, kind: str, words: str) -> None:
    found = ending(parts(code, said, ""), PERF_TEST)
    assert found.reading is None
    assert found.failure["failure"]["kind"] == kind
    assert words in found.failure["failure"]["detail"]


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            Part,
            st.tuples(
                st.sampled_from(["said", "exit", "times", "result", "x"]),
                st.text(alphabet="0123456789-x", min_size=1, max_size=5),
            ),
            st.text(max_size=60),
        ),
        max_size=8,
    )
)
def test_whatever_comes_back_is_an_ending(found: list[Part]) -> None:
    end = ending(found, BENCHMARK_MODEL)
    assert end.reading is not None or end.failure["status"] == "failed"
    assert end.cpu_s >= 0


@settings(deadline=None)
@given(st.text(max_size=100))
def test_whatever_times_says_is_seconds(text: str) -> None:
    assert cpu_seconds(text) >= 0.0


def test_one_value_for_all_is_neither_steady_nor_not() -> None:
    found = ending([Part(("said",), NEW_BENCHMARK), Part(("exit", "0"), "")], BENCHMARK_MODEL)
    assert found.reading is not None
    block = judged(found.reading, BENCHMARK_MODEL)
    assert (block["steady"], block["latencies_are"], block["inferences"]) == (None, "median", 1061)
    assert block["steady_reason"] == "benchmark_model tells the median of a block's inferences, not each"
    assert doubts(found.reading) == []


def test_warm_up_among_single_latencies_is_cut_off() -> None:
    series = (*range(4_000_000, 2_000_000, -100_000), *[1_000_000] * 180)
    block = judged(Reading(latencies_ns=series), PERF_TEST)
    assert block["steady"] is True
    assert block["warmup_ns"] + block["latencies_ns"] == series
    assert set(block["latencies_ns"]) == {1_000_000}


def test_latencies_that_rise_are_a_doubt() -> None:
    rising = Reading(latencies_ns=tuple(range(1_000_000, 3_000_000, 10_000)))
    assert doubts(rising) == ["unsteady"]
    assert doubts(Reading(latencies_ns=(*[1_000_000] * 100, 900_000_000, *[1_000_000] * 100))) == ["stopped"]
