"""A stand-in for NVIDIA's trtexec: Python runs it on this machine, through ONNX Runtime. Flags, files and printed forms are those of the real one as of TensorRT 8.5 and 10.

An engine of it is the ONNX file behind a line that says which version and GPU it is for; `TRTEXEC_VERSION` and `TRTEXEC_GPU` say what is here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
DTYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(float16)": "float16"}
KNOWN = frozenset(
    {
        *("onnx", "saveEngine", "loadEngine", "fp16", "int8", "noTF32", "loadInputs", "exportOutput", "exportTimes"),
        *("iterations", "duration", "warmUp", "exposeDMA", "help"),
    }
)


def write_trtexec(folder: Path, *, does: str | None = None) -> Path:
    """Make an executable `trtexec`; `does` is Python that runs before, with the flags in `flags` (to break it)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trtexec"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path[:0] = [{str(REPOSITORY)!r}, {str(REPOSITORY / 'agent')!r}]\n"
        "flags = dict(word.removeprefix('--').partition('=')[::2] for word in sys.argv[1:])\n"
        f"{does or ''}\nfrom tests.fakes.trtexec import trtexec\nsys.exit(trtexec(sys.argv[1:]))\n"
    )
    path.chmod(0o755)
    return path


def trtexec(argv: list[str]) -> int:
    number = os.environ.get("TRTEXEC_VERSION", "8502")
    call = f"TensorRT.trtexec [TensorRT v{number}] # trtexec {' '.join(argv)}"
    sys.stdout.write(f"&&&& RUNNING {call}\n")
    flags = dict(word.removeprefix("--").partition("=")[::2] for word in argv)
    unknown = [word for word in argv if word.removeprefix("--").partition("=")[0] not in KNOWN]
    if unknown:
        say("E", f"Unknown option: {unknown[0]}")
        sys.stdout.write(f"&&&& FAILED {call}\n")
        return 1
    if "help" in flags:
        sys.stdout.write("=== Model Options ===\n  --onnx=<file>               ONNX model\n")
        sys.stdout.write(f"&&&& PASSED {call}\n")
        return 0
    done = _run(flags, f"{number} {os.environ.get('TRTEXEC_GPU', '8.7')}")
    sys.stdout.write(f"&&&& {'PASSED' if done else 'FAILED'} {call}\n")
    return 0 if done else 1


def say(kind: str, text: str) -> None:
    sys.stdout.write(f"[11/26/2026-12:00:00] [{kind}] {text}\n")


def _run(flags: dict[str, str], here: str) -> bool:
    import onnxruntime as ort

    if "loadEngine" in flags:
        made_for, _, network = Path(flags["loadEngine"]).read_bytes().partition(b"\n")
        if made_for.decode() != here:
            say("E", "Error[1]: [stdArchiveReader.cpp::StdArchiveReader::42] Error Code 1: Serialization (Serialization assertion stdVersionRead == serializationVersion failed.Version tag does not match. Note: Current Version: 232, Serialized Engine Version: 205)")  # fmt: skip
            say("E", "Error[4]: [runtime.cpp::deserializeCudaEngine::66] Error Code 4: Internal Error (Engine deserialization failed.)")  # fmt: skip
            say("E", "Engine deserialization failed")
            say("E", "Got invalid engine!")
            say("E", "Inference set up failed")
            return False
        say("I", "Engine loaded in 0.0123 sec.")
    else:
        network = Path(flags["onnx"]).read_bytes()
        Path(flags["saveEngine"]).write_bytes(here.encode() + b"\n" + network)
        say("I", "Engine built in 1.234 sec.")
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    feed = _feed(flags, session)
    say("I", "Starting inference")
    entries, now = [], 0.0
    warm_ms, least, longest_ms = float(flags["warmUp"]), int(flags["iterations"]), 1000 * float(flags["duration"])
    while not entries or now < warm_ms + longest_ms or len(entries) < least:
        begun = time.perf_counter()
        outputs = session.run(None, feed)
        took = 1000 * (time.perf_counter() - begun)
        entries.append(_entry(now, took))
        now += took
    kept = [entry for entry in entries if entry["startComputeMs"] >= warm_ms] or entries[-1:]
    if "exportTimes" in flags:
        Path(flags["exportTimes"]).write_text("[\n  " + "\n, ".join(json.dumps(entry) for entry in kept) + "\n]\n")
    if "exportOutput" in flags:
        names = [item.name for item in session.get_outputs()]
        Path(flags["exportOutput"]).write_text(_answers(names, outputs))
    return True


def _feed(flags: dict[str, str], session: Any) -> dict[str, Any]:
    import numpy as np  # here, since most of the time only the version is asked for

    given = [word.rpartition(":")[::2] for word in flags.get("loadInputs", "").split(",") if word]
    files = {name.strip("'"): path for name, path in given}
    feed = {}
    for item in session.get_inputs():
        dtype = DTYPES[item.type]
        if item.name in files:
            feed[item.name] = np.frombuffer(Path(files[item.name]).read_bytes(), dtype).reshape(item.shape)
        else:
            feed[item.name] = np.zeros(item.shape, dtype)
    return feed


def _entry(start: float, took: float) -> dict[str, float]:
    """Times of one inference in ms, as sampleReporting.cpp writes them."""
    h2d, d2h = 0.01, 0.005
    return {
        "startEnqMs": start,
        "endEnqMs": start + 0.02,
        "startH2dMs": start,
        "endH2dMs": start + h2d,
        "startComputeMs": start + h2d,
        "endComputeMs": start + h2d + took,
        "startD2hMs": start + h2d + took,
        "endD2hMs": start + h2d + took + d2h,
        "h2dMs": h2d,
        "computeMs": took,
        "d2hMs": d2h,
        "latencyMs": h2d + took + d2h,
    }


def _answers(names: list[str], outputs: list[Any]) -> str:
    """Six digits, as a C++ stream prints them."""
    parts = [
        f'{{ "name" : "{name}"\n  , "dimensions" : "{"x".join(map(str, output.shape))}"\n'
        f'  , "values" : [ {", ".join(f"{value:.6g}" for value in output.ravel().tolist())} ]\n  }}\n'
        for name, output in zip(names, outputs, strict=True)
    ]
    return "[\n  " + ", ".join(parts) + "]\n"
