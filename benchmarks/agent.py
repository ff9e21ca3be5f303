"""The agent's footprint and the time to work: size, resident memory over bare Python, time from connect to the first block's end, bytes sent again on a second deploy; what
probing costs, and what the agent itself takes of a core while it samples conditions and while a block is timed.

The device is this computer, in a folder of its own.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from edgeopt.domain.device import Device
from edgeopt.domain.observer import Silent
from edgeopt.domain.run import Candidate, MeasurePlan, Setting
from edgeopt.measure.agent_zip import build_agent
from edgeopt.measure.rounds import Bench
from edgeopt.measure.session import Owner, Session
from edgeopt.measure.ship import Content, ship
from edgeopt.store.blobs import file_digest
from edgeopt.transport.open import open_link

ROUNDS = 9
SAMPLE_S = 4.0
IDLE = "import sys; print('ready', flush=True); sys.stdin.read()"


def rss_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split("VmRSS:")[1].split()[0]) * 1024


def session(root: Path) -> Session:
    device = Device(name="board", profile="local", address="local:", root=str(root))
    return Session(device, lambda: open_link("local:", known_hosts=root.parent / "known_hosts"))


def first_block_s(root: Path, model: Path, work: Path) -> float:
    """Seconds from connect to the end of a first block of 1 ms: agent, content and runtime are on the device already but for the first call."""
    plan = MeasurePlan(block_min_s=0.001, block_min_inferences=1, warmup_min_s=0.0, warmup_min_inferences=1)
    inputs = work / "inputs.npz"
    np.savez(inputs, **{"s0.0": np.zeros((1, 3, 96, 96), np.float32)})
    files = {"model.onnx": model, "inputs.npz": inputs}
    begun = time.perf_counter()
    with session(root) as opened:
        opened.lock("benchmark", Owner.this_process("benchmark"))
        contents = [
            Content(digest=file_digest(path), bytes=path.stat().st_size, path=path, label=name)
            for name, path in files.items()
        ]
        ship(opened, contents, Silent())
        folders = {
            c.label: opened.call(
                "stage", {"digest": c.digest, "files": [{"path": c.label, "digest": c.digest, "bytes": c.bytes}]}
            )["folder"]
            for c in contents
        }
        bench = Bench(
            opened,
            plan,
            models={"m": f"{folders['model.onnx']}/model.onnx"},
            inputs=f"{folders['inputs.npz']}/inputs.npz",
            sites={"onnxruntime": None},
        )
        block = bench.run_block(Candidate(id="m", variant="m", setting=Setting()), 0, 0)
        assert block.failure is None, block.failure
        return time.perf_counter() - begun


def cpu_s(pid: int) -> float:
    """CPU time of a process, without its children's, in seconds: the sum over its threads, which the kernel counts in ns."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir()) / 1e9


def children_cpu_s(pid: int) -> float:
    """CPU time of the children that a process has waited for, in ticks of 10 ms."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[13]) + int(words[14])) / os.sysconf("SC_CLK_TCK")


def probing(root: Path) -> dict[str, float]:
    """Wall and CPU time of the session's first probe, which imports every runtime once, and wall time of the second."""
    with session(root) as opened:
        pid = opened.hello["pid"]
        begun, cpu = time.perf_counter(), cpu_s(pid) + children_cpu_s(pid)
        opened.call("probe", {})
        first, used = time.perf_counter() - begun, cpu_s(pid) + children_cpu_s(pid) - cpu
        begun = time.perf_counter()
        opened.call("probe", {})
        return {"first_ms": first * 1e3, "first_cpu_ms": used * 1e3, "again_ms": (time.perf_counter() - begun) * 1e3}


def sampling(root: Path) -> dict[str, float]:
    """Per cent of a core that the agent takes while it waits, and while it reads all conditions ten times a second."""
    shares = {}
    with session(root) as opened:
        pid = opened.hello["pid"]
        opened.call("sample", {"seconds": 0, "period_s": 1})  # imports what it needs
        for name, period_s in (("waiting", SAMPLE_S), ("ten_times_a_second", 0.1)):
            cpu = cpu_s(pid)
            opened.call("sample", {"seconds": SAMPLE_S, "period_s": period_s})
            shares[name] = 100 * (cpu_s(pid) - cpu) / SAMPLE_S
    return shares


def bare_rss() -> int:
    process = subprocess.Popen([sys.executable, "-I", "-c", IDLE], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    used = rss_bytes(process.pid)
    process.communicate()
    return used


def main() -> None:
    agent, _ = build_agent()
    model = Path(__file__).resolve().parents[1] / "examples" / "parts" / "model.onnx"
    added, cold_s, warm_s = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS):
            root = Path(folder) / f"root{number}"
            for series in (cold_s, warm_s):  # the first time the agent is sent, the second time it is there
                begun = time.perf_counter()
                with session(root) as opened:
                    series.append(time.perf_counter() - begun)
                    added.append(rss_bytes(opened.hello["pid"]) - bare_rss())
        first_block_s(Path(folder) / "root0", model, Path(folder))
        blocks_s = [first_block_s(Path(folder) / "root0", model, Path(folder)) for _ in range(ROUNDS)]
        probes = [probing(Path(folder) / "root0") for _ in range(ROUNDS)]
        shares = [sampling(Path(folder) / "root0") for _ in range(3)]
        with session(Path(folder) / "root1") as opened:
            content = Content(digest=file_digest(model), bytes=model.stat().st_size, path=model, label="model")
            first, again = ship(opened, [content], Silent()), ship(opened, [content], Silent())
    result = {
        "agent_bytes": len(agent),
        "agent_rss_over_bare_python_bytes": int(statistics.median(added)),
        "connect_cold_ms": round(statistics.median(cold_s) * 1e3, 1),
        "connect_warm_ms": round(statistics.median(warm_s) * 1e3, 1),
        "connect_to_first_block_ms": round(statistics.median(blocks_s) * 1e3, 1),
        "model_bytes_sent_first": first.sent_bytes,
        "model_bytes_sent_again": again.sent_bytes,
        "probe": {name: round(statistics.median(probe[name] for probe in probes), 1) for name in probes[0]},
        "core_percent": {name: round(statistics.median(share[name] for share in shares), 3) for name in shares[0]},
        "rounds": ROUNDS,
    }
    print(
        f"agent: {result['agent_bytes'] / 1e3:.1f} kB, {result['agent_rss_over_bare_python_bytes'] / 1e6:.1f} MB over bare Python"
    )
    print(
        f"connect and shake hands: {result['connect_cold_ms']} ms with the agent sent, {result['connect_warm_ms']} ms when it is there"
    )
    print(f"connect to the end of a first block: {result['connect_to_first_block_ms']} ms")
    print(f"model: {first.sent_bytes} bytes the first time, {again.sent_bytes} the second")
    print(
        "probe: {first_ms} ms the first time ({first_cpu_ms} ms of CPU time), {again_ms} ms again".format(
            **result["probe"]
        )
    )
    print(
        "agent's share of a core: {waiting} % while it waits, {ten_times_a_second} % while it reads conditions ten times a second".format(
            **result["core_percent"]
        )
    )
    print(json.dumps({"agent": result}))


if __name__ == "__main__":
    main()
