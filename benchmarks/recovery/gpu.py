"""The same recovery on the CPU and on a GPU: is it the same answer, and how long does each take?

    python benchmarks/recovery/gpu.py --work DIR [--data DIR] [--only NAME,..] [--steps 50] [--json FILE]

Three things, each told by itself, so that one that fails leaves the others: what CUDA takes of a process's memory limit (RLIMIT_DATA, as the confined child has it); a recovery in the confined child, as builds do it; and for every network the same
steps on both, in this process. Two trained networks are the same answer when they agree with each other on 99 of 100 pictures that nothing saw (floats are added in another order, and training enlarges that), and their agreement with the original
differs by a point at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cases

SAME_CLASS, SAME_AGREEMENT = 0.99, 0.01
ROOMS_GIB = (6, 8, 12, 16, 24, 38)
PROBE = """
import resource, sys
room = int(sys.argv[1]) << 30
resource.setrlimit(resource.RLIMIT_DATA, (room, room))
import torch
a = torch.randn(32, 64, 56, 56, device="cuda", requires_grad=True)
w = torch.randn(64, 64, 3, 3, device="cuda", requires_grad=True)
torch.nn.functional.conv2d(a, w).square().mean().backward()
torch.cuda.synchronize()
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("VmData")][0])
"""


def main() -> None:
    options = _options()
    import torch

    found = torch.cuda.is_available()
    report: dict[str, Any] = {"torch": torch.__version__, "gpu": torch.cuda.get_device_name() if found else None}
    print(json.dumps(report), flush=True)
    report["memory"] = memory_limits() if found else None
    print(json.dumps({"memory": report["memory"]}), flush=True)
    names = options.only.split(",") if options.only else list(cases.NETWORKS)
    report["child"] = confined(names[-1], options)
    print(json.dumps({"child": report["child"]}), flush=True)
    report["networks"] = []
    for name in names:
        report["networks"].append(both(name, options, found=found))
        print(json.dumps(report["networks"][-1]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=1))


def memory_limits() -> dict[str, Any]:
    """The least room of RLIMIT_DATA in which a training step runs on the GPU, and what it has mapped there."""
    for room in ROOMS_GIB:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(room)], capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode == 0:
            return {"room_gib": room, "mapped_gib": round(int(done.stdout) / 2**20, 2)}
    return {
        "room_gib": None,
        "error": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"status {done.returncode}",
    }


def confined(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """A recovery as builds do it: the original's own graph is damaged by what pruning took, so the child only has to train."""
    from edgeopt.compiler import confine
    from edgeopt.compiler.confine import ConfinedFailure, Limits, run_confined
    from edgeopt.compiler.gpu import limits_for

    # The child looks nowhere but in the installation; packages of a machine that is only lent lie elsewhere.
    roots = [*confine._roots(), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]  # noqa: SLF001
    confine._roots = lambda: roots  # noqa: SLF001
    case = cases.load(name, options.data, options.work)
    wishes = {
        "budget": "standard",
        "trainable": "all",
        "objectives": [],
        "task": "classification",
        "seed": 0,
        "steps": options.steps,
        "at_least": 13,
    }
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "begin").mkdir()
        (place / "out").mkdir()
        feeds = case.samples(place)
        (place / "begin" / "model.onnx").write_bytes(case.student.SerializeToString())
        order = {
            "source": str(options.work / f"{name}.teacher.onnx"),
            "files": [],
            "begin": {"folder": str(place / "begin"), "notes": []},
            "steps": [{"name": "recover", "options": wishes}],
            "samples": {"path": str(feeds.path), "names": list(feeds.names), "count": feeds.count},
            "pins": {"max_opset": 21, "max_ir_version": 10},
            "out": str(place / "out"),
        }
        try:
            answer = run_confined("build", order, limits=limits_for(Limits(timeout_s=300), ["recover"]), workdir=place)
        except ConfinedFailure as failure:
            return {"network": name, "failure": str(failure), "log": failure.log[-600:]}
    return {
        "network": name,
        "notes": answer["notes"],
        "seconds": answer["confinement"]["wall_s"],
        "network_of_child": answer["confinement"]["network"],
    }


def both(name: str, options: argparse.Namespace, *, found: bool) -> dict[str, Any]:
    """The same steps on each device."""
    case = cases.load(name, options.data, options.work)
    inputs, labels = case.judged()
    teacher = cases.answers(case.teacher, inputs)
    made: dict[str, Any] = {}
    row: dict[str, Any] = {
        "network": name,
        "steps": options.steps,
        "untrained": cases.scores(teacher, cases.answers(case.student, inputs), labels),
    }
    for device in ("cuda", "cuda bf16", "cpu") if found else ("cpu",):
        graph, seconds, notes = trained(case, device, options.steps)
        made[device] = cases.answers(graph, inputs)
        row[device] = {"seconds": round(seconds, 1), "notes": notes, **cases.scores(teacher, made[device], labels)}
    if found:
        alike = float((made["cpu"].argmax(1) == made["cuda"].argmax(1)).mean())
        apart = abs(row["cpu"]["agreement"] - row["cuda"]["agreement"])
        row["faster"] = round(row["cpu"]["seconds"] / row["cuda"]["seconds"], 1)
        row["alike"], row["same"] = alike, alike >= SAME_CLASS and apart <= SAME_AGREEMENT
    return row


def trained(case: cases.Case, device: str, steps: int) -> tuple[Any, float, list[str]]:
    """Train; the first use of a GPU, which compiles and loads, is not counted."""
    from edgeopt.compiler.train.recover import Wishes, recover

    os.environ["EDGEOPT_TORCH_DEVICE"], _, half = device.partition(" ")
    with tempfile.TemporaryDirectory() as folder:
        samples = case.samples(Path(folder))
        if device != "cpu":
            recover(case.student, case.teacher, samples, Wishes(steps=2, task="classification", half=bool(half)))
        began = time.monotonic()
        wishes = Wishes(steps=steps, task="classification", half=bool(half))
        graph, notes = recover(case.student, case.teacher, samples, wishes)
    return graph, time.monotonic() - began, notes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=cases.default_data())
    parser.add_argument("--only", help="networks, with commas between")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--json", type=Path)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    return parser.parse_args()


if __name__ == "__main__":
    main()
