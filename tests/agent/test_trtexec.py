"""What trtexec says, read: forms from NVIDIA/TensorRT's samples/common, and sentences as people have reported them with issues."""

from __future__ import annotations

import json

import pytest

from edgeopt_agent.errors import BlockFailed
from edgeopt_agent.runtimes import trtexec

ENTRY = {"startEnqMs": 0.1, "startComputeMs": 210.0, "h2dMs": 0.05, "computeMs": 1.9, "d2hMs": 0.05, "latencyMs": 2.0}


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8205] # ./trtexec --onnx=debug.onnx", "8.2.5"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v8502] # trtexec --help", "8.5.2"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v100400] [b26] # trtexec --onnx=m.onnx", "10.4.0"),
        ("&&&& RUNNING TensorRT.trtexec [TensorRT v101303] [b9] # trtexec", "10.13.3"),
        ("trtexec: error while loading shared libraries: libnvinfer.so.8", None),
    ],
)
def test_the_version_is_in_the_banner(banner: str, version: str | None) -> None:
    assert trtexec.version_of(banner) == version


def test_latencies_are_those_after_the_warm_up() -> None:
    """TensorRT 8.2 writes warm-up too; later versions do not."""
    early = ENTRY | {"startComputeMs": 20.0, "latencyMs": 9.0}
    text = "[\n  " + "\n, ".join(json.dumps(entry) for entry in (early, ENTRY, ENTRY | {"latencyMs": 2.5})) + "\n]\n"

    assert trtexec.latencies_ns(text, 0.2) == [2_000_000, 2_500_000]


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "[]", "{}", "[1]", "[[]]", "[" * 5000, json.dumps([{"latencyMs": 1.0}])),
        *(json.dumps([ENTRY | {"latencyMs": value}]) for value in (0, -1, True, "2", None, 1e300, float("nan"))),
    ],
)
def test_times_that_are_none_are_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"its file of times|it tells of"):
        trtexec.latencies_ns(text, 0.0)


def test_answers_by_name_also_those_that_are_no_json() -> None:
    text = """[
  { "name" : "scores:0"
  , "dimensions" : "1x3"
  , "values" : [ 1.5e-05, -nan, inf ]
  }
, { "name" : "nan"
  , "dimensions" : "1"
  , "values" : [ -inf ]
  }
]
"""
    found = trtexec.answers(text)

    assert found["scores:0"][0] == 1.5e-05
    assert str(found["scores:0"]) == "[1.5e-05, nan, inf]"
    assert found["nan"] == [float("-inf")]
    for broken in ("", "[{}]", '[{"name": "x", "values": ["y"]}]', "{", "[" * 5000):
        with pytest.raises(ValueError, match="its file of answers cannot be read"):
            trtexec.answers(broken)


@pytest.mark.parametrize(
    ("line", "ns"),
    [
        ("[07/22/2022-13:25:12] [I] Engine loaded in 0.0123 sec.", 12_300_000),
        ("[12/06/2024-17:09:59] [I] Engine deserialized in 1.5e-02 sec.", 15_000_000),
        ("[I] Engine built in 12.5 sec.", None),
    ],
)
def test_how_long_loading_took(line: str, ns: int | None) -> None:
    assert trtexec.load_ns(line) == ns


STALE = [
    "[E] [TRT] 6: The engine plan file is generated on an incompatible device, expecting compute 8.6 got compute 7.5, please rebuild.",
    "[06/29/2022-16:20:45] [E] [TRT] 1: [stdArchiveReader.cpp::StdArchiveReader::35] Error Code 1: Serialization (Serialization assertion safeVersionRead == safeSerializationVersion failed.Version tag does not match. Note: Current Version: 0, Serialized Engine Version: 43)",
    "[E] Error[1]: [runtime.cpp::parsePlan::314] Error Code 1: Serialization (Serialization assertion plan->header.magicTag == rt::kPLAN_MAGIC_TAG failed.)",
]


@pytest.mark.parametrize("line", STALE)
def test_an_engine_of_another_gpu_or_version_is_known_as_such(line: str) -> None:
    assert isinstance(trtexec.refusal(f"{line}\n[E] Engine deserialization failed\n"), trtexec.StaleEngine)


BUILD_FAILS = """[06/07/2022-19:05:53] [W] [TRT] Skipping tactic 0 due to insufficient memory on requested size of 29147520 detected for tactic 0.
[06/07/2022-19:05:53] [E] Error[10]: [optimizer.cpp::computeCosts::2011] Error Code 10: Internal Error (Could not find any implementation for node {ForeignNode[onnx::Gather_72...ScatterND_170]}.)
[06/07/2022-19:05:53] [E] Error[2]: [builder.cpp::buildSerializedNetwork::609] Error Code 2: Internal Error (Assertion enginePtr != nullptr failed. )
[06/07/2022-19:05:53] [E] Engine could not be created from network
[06/07/2022-19:05:53] [E] Building engine failed
[06/07/2022-19:05:53] [E] Failed to create engine from model.
[06/07/2022-19:05:53] [E] Engine set up failed
&&&& FAILED TensorRT.trtexec [TensorRT v8205] # ./trtexec --onnx=debug.onnx --saveEngine=debug.trt
"""


@pytest.mark.parametrize(
    ("said", "kind", "sentence"),
    [
        (BUILD_FAILS, "error", "no kernel for {ForeignNode[onnx::Gather_72...ScatterND_170]}, or too little memory"),
        (
            '[E] [TRT] ModelImporter.cpp:728: --- Begin node ---\n[E] [TRT] ModelImporter.cpp:729: input: "x"\n[E] [TRT] op_type: "NonZeroish"\n[E] Failed to parse onnx file',
            "error",
            "does not know the operator NonZeroish",
        ),
        (
            "[E] [TRT] ModelImporter.cpp:779: ERROR: builtin_op_importers.cpp:4870 In function importFallbackPluginImporter:\n[8] No importer registered for op: Foo",
            "error",
            "In function importFallbackPluginImporter",
        ),
        ("[E] [TRT] No importer registered for op: Foo\n", "error", "does not know the operator Foo"),
        ("[E] Unknown option: --exposeDMA 1\n", "error", "does not know --exposeDMA"),
        (
            "[E] Error[1]: [defaultAllocator.cpp::allocate::20] Error Code 1: Cuda Runtime (out of memory)",
            "memory",
            "ran out",
        ),
        ("Cuda failure: ...\n[E] CUDA initialization failure with error: 35", "error", "finds no GPU"),
        ("[E] Engine set up failed\n", "error", "Engine set up failed"),
        ("Aborted\n&&&& FAILED TensorRT.trtexec\n", "error", "Aborted"),
        ("", "error", "without a word"),
    ],
)
def test_what_is_in_the_way_is_one_sentence(said: str, kind: str, sentence: str) -> None:
    found = trtexec.refusal(said)

    assert isinstance(found, BlockFailed)
    assert found.kind == kind
    assert sentence in str(found)
    assert "\n" not in str(found)


def test_names_go_in_quotes_and_float_is_no_tf32() -> None:
    words = trtexec.answer_words("trtexec", "e", {"input_1:0": "/a/i0.bin", "y": "/a/i1.bin"}, "out")

    assert "--loadInputs='input_1:0':/a/i0.bin,'y':/a/i1.bin" in words
    assert "--noTF32" in trtexec.build_words("trtexec", "m", "e", "fp32")
    assert {"--fp16", "--int8"} <= set(trtexec.build_words("trtexec", "m", "e", "fp16", int8=True))
    timed = trtexec.time_words("trtexec", "e", {"x": "i"}, "t", least=20, min_s=0.5, warmup_s=0.25)
    assert {"--iterations=20", "--duration=0.5", "--warmUp=250"} <= set(timed)
