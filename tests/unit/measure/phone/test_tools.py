"""What benchmark programs are asked, and what their words mean. The printed forms are written here after real ones, old and new."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.measure.phone.tools import (
    BENCHMARK_MODEL,
    MAX_LATENCIES,
    PERF_TEST,
    Run,
    Tool,
    arguments,
    gives_answers,
    mask,
    read,
    tool_of,
)

OLD_BENCHMARK = """STARTING!
Num threads: [4]
Graph: [/data/local/tmp/m.tflite]
Loaded model /data/local/tmp/m.tflite
Initialized session in 17.187ms.
Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
count=1 curr=3512391

Running benchmark for at least 50 iterations and at least 1 seconds but terminate if exceeding 150 seconds.
count=50 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798

Inference timings in us: Init: 17187, First inference: 3512391, Warmup (avg): 3.51239e+06, Inference (avg): 2.95034e+06
Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE
Memory footprint delta from the start of the tool (MB): init=4.21094 overall=46.0859
"""
NEW_BENCHMARK = """INFO: Created TensorFlow Lite XNNPACK delegate for CPU.
INFO: count=9 first=81913 curr=55502 min=55502 max=81913 avg=58984.7 std=8115 p5=55502 median=56001 p95=81913

INFO: count=1061 first=56576 curr=56299 min=54669 max=60236 avg=56265.8 std=982 p5=54800 median=56222 p95=58000

INFO: Inference timings in us: Init: 3337, First inference: 81913, Warmup (avg): 58984.7, Inference (avg): 56265.8
INFO: Overall peak memory footprint (MB) via periodic monitoring: 93.2383
"""
PERF = """Setting intra_op_num_threads to 4
Session creation time cost: 0.217932 s
First inference time cost: 196 ms
Total inference time cost: 0.49481 s
Total inference requests: 5
Average inference time cost total: 98.961997 ms
Avg CPU usage: 11 %
Peak working set size: 271122432 bytes
Runs:5
Min Latency: 0.0958204 s
"""
RESULT = "0.0958204,271122432\n0.0995086,271122432\n0.101519,271122432\n\nMin Latency: 0.0958204 s\n"
SETTING: dict[str, Any] = {"spinning": None, "arena": None}


def make_run(**changes: Any) -> Run:
    given = {
        "program": "/p",
        "model": "/m",
        "threads": 4,
        "result": "/r",
        "min_s": 1.0,
        "max_s": 15.0,
        "inferences": 20,
    }
    return Run(**(given | changes))


def test_an_old_benchmark_model_tells_the_mean() -> None:
    found = read(BENCHMARK_MODEL, OLD_BENCHMARK, "")
    assert found is not None
    assert (found.latencies_ns, found.latencies_are) == ((2_950_340_000,), "mean")
    assert (found.inferences, found.load_ns, found.first_ns) == (50, 17_187_000, 3_512_391_000)
    assert (found.peak_rss_bytes, found.provider_used) == (None, None)


def test_a_new_benchmark_model_tells_the_median_and_its_memory() -> None:
    found = read(BENCHMARK_MODEL, NEW_BENCHMARK, "")
    assert found is not None
    assert (found.latencies_ns, found.latencies_are, found.inferences) == ((56_222_000,), "median", 1061)
    assert found.peak_rss_bytes == round(93.2383 * (1 << 20))
    assert found.provider_used == "XNNPACK"


@pytest.mark.parametrize(
    ("median", "kind", "ns"), [("100", "median", 100_000), ("99", "mean", 56_265_800), ("3", "mean", 56_265_800)]
)
def test_a_median_of_a_few_microseconds_is_too_coarse(median: str, kind: str, ns: int) -> None:
    found = read(BENCHMARK_MODEL, NEW_BENCHMARK.replace("median=56222", f"median={median}"), "")
    assert found is not None
    assert (found.latencies_are, found.latencies_ns) == (kind, (ns,))


def test_a_delegate_that_takes_nothing_is_no_delegate() -> None:
    text = (
        NEW_BENCHMARK
        + "INFO: Though XNNPACK delegate is explicitly applied, the model graph will not be executed by the delegate.\n"
    )
    found = read(BENCHMARK_MODEL, text, "")
    assert found is not None
    assert found.provider_used == "CPU"


def test_onnxruntime_perf_test_tells_every_inference() -> None:
    found = read(PERF_TEST, PERF, RESULT)
    assert found is not None
    assert (found.latencies_ns, found.latencies_are) == ((95_820_400, 99_508_600, 101_519_000), "each")
    assert (found.load_ns, found.first_ns, found.peak_rss_bytes) == (217_932_000, 196_000_000, 271_122_432)


def test_a_first_inference_of_0_ms_is_not_known() -> None:
    found = read(PERF_TEST, PERF.replace("196 ms", "0 ms"), RESULT)
    assert found is not None
    assert found.first_ns is None


@pytest.mark.parametrize(
    ("tool", "text", "result"),
    [
        (BENCHMARK_MODEL, "", ""),
        (BENCHMARK_MODEL, OLD_BENCHMARK.partition("Inference timings")[0], ""),
        (BENCHMARK_MODEL, "count=1 curr=5\n", ""),
        (BENCHMARK_MODEL, NEW_BENCHMARK.replace("median=56222", "median=" + "9" * 30), ""),
        (PERF_TEST, PERF, ""),
        (PERF_TEST, PERF, "nan,1\n-1,2\ninf,3\n"),
        (PERF_TEST, "", RESULT),
    ],
)
def test_what_did_not_come_to_its_end_is_no_reading(tool: Tool, text: str, result: str) -> None:
    assert read(tool, text, result) is None


@settings(deadline=None)
@given(
    tool=st.sampled_from([BENCHMARK_MODEL, PERF_TEST]),
    pieces=st.lists(
        st.sampled_from([*OLD_BENCHMARK.splitlines(), *NEW_BENCHMARK.splitlines(), *PERF.splitlines()])
        | st.text(max_size=60),
        max_size=25,
    ),
    result=st.text(alphabet="0123456789.,e+-\nnaif", max_size=200),
)
def test_whatever_a_program_prints_is_read_or_refused(tool: Tool, pieces: list[str], result: str) -> None:
    found = read(tool, "\n".join(pieces), result)
    if found is not None:
        assert found.latencies_ns
        assert all(0 <= value < 1 << 62 for value in found.latencies_ns)


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_text_that_is_cut_anywhere_is_read_or_refused(cut: int, other: int) -> None:
    read(BENCHMARK_MODEL, NEW_BENCHMARK[:cut] + OLD_BENCHMARK[other:], "")
    read(PERF_TEST, PERF[:cut], RESULT[: other % 80])


def test_benchmark_model_is_told_times_threads_and_inputs_in_order() -> None:
    run = make_run(inputs=(((1, 3, 8, 8), "/a.bin"), ((1, 2), "/b.bin")), answers="/out", warmup_s=0.2, warmups=3)
    words = arguments(BENCHMARK_MODEL, run, SETTING)
    assert words[0] == "/p"
    for wanted in (
        "--graph=/m",
        "--num_threads=4",
        "--num_runs=20",
        "--min_secs=1",
        "--max_secs=15",
        "--warmup_runs=3",
        "--warmup_min_secs=0.2",
        "--input_layer=i0,i1",
        "--input_layer_shape=1,3,8,8:1,2",
        "--input_layer_value_files=i0:/a.bin,i1:/b.bin",
        "--output_filepath=/out",
    ):
        assert wanted in words


def test_benchmark_model_takes_random_inputs_where_none_are_named() -> None:
    assert not any(word.startswith("--input") for word in arguments(BENCHMARK_MODEL, make_run(), SETTING))


def test_perf_test_takes_whole_seconds_until_its_pace_is_known() -> None:
    assert arguments(PERF_TEST, make_run(min_s=0.3), SETTING)[3:7] == ["-m", "duration", "-t", "1"]
    assert arguments(PERF_TEST, make_run(min_s=0.3, pace_s=0.01), SETTING)[3:7] == ["-m", "times", "-r", "30"]
    assert arguments(PERF_TEST, make_run(min_s=0.3, pace_s=0.1), SETTING)[3:7] == ["-m", "times", "-r", "20"]
    assert arguments(PERF_TEST, make_run(min_s=0.3, pace_s=5.0), SETTING)[3:7] == ["-m", "times", "-r", "3"]
    assert arguments(PERF_TEST, make_run(min_s=10.0, pace_s=1e-6), SETTING)[3:7] == [
        "-m",
        "times",
        "-r",
        str(MAX_LATENCIES),
    ]
    assert arguments(PERF_TEST, make_run(min_s=0.0, inferences=1), SETTING)[3:7] == ["-m", "times", "-r", "1"]


def test_perf_test_is_told_of_spinning_and_the_arena() -> None:
    words = arguments(PERF_TEST, make_run(), {"spinning": False, "arena": False})
    assert {"-D", "-A"} <= set(words)
    assert words[-2:] == ["/m", "/r"]


@pytest.mark.parametrize(
    ("tool", "run", "setting"),
    [
        (BENCHMARK_MODEL, make_run(), {"spinning": False}),
        (BENCHMARK_MODEL, make_run(), {"arena": True}),
        (PERF_TEST, make_run(answers="/out"), SETTING),
    ],
)
def test_what_a_program_cannot_do_is_refused(tool: Tool, run: Run, setting: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=tool.name):
        arguments(tool, run, setting)


@pytest.mark.parametrize(
    ("file", "tool"),
    [
        ("benchmark_model", BENCHMARK_MODEL),
        ("android_aarch64_benchmark_model", BENCHMARK_MODEL),
        ("onnxruntime_perf_test", PERF_TEST),
        ("libonnxruntime.so", None),
        ("libbenchmark_model.so", None),
        ("run.sh", None),
    ],
)
def test_programs_are_known_by_their_names(file: str, tool: Tool | None) -> None:
    assert tool_of(file) is tool


def test_only_a_benchmark_model_with_both_flags_gives_answers() -> None:
    both = "--output_filepath= --input_layer_value_files="
    assert gives_answers(BENCHMARK_MODEL, both)
    assert not gives_answers(BENCHMARK_MODEL, "--input_layer_value_files=")
    assert not gives_answers(PERF_TEST, both)


def test_cores_are_a_mask_in_hexadecimal() -> None:
    assert [mask(cores) for cores in ([], [0], [4, 5, 6, 7], [0, 8])] == ["", "1", "f0", "101"]
