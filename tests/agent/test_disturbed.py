"""Blocks that are disturbed for real, and what the kernel says of their memory. Runs where the agent's interpreter has onnxruntime."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.agent import models
from tests.agent.client import Client, children_of
from tests.agent.test_block import SETTING, staged, time_job

LARGE_BYTES = 64 << 20


@pytest.fixture(autouse=True)
def _needs_runtime(python: str) -> None:
    if subprocess.run([python, "-I", "-c", "import onnxruntime"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no onnxruntime")


def large_model() -> bytes:
    """Return a model with LARGE_BYTES of weights, each of which is used."""
    side = int((LARGE_BYTES // 4) ** 0.5)
    weights = np.random.default_rng(0).normal(size=(side, side)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "large",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, side])],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def put(client: Client, tmp_path: Path, model: bytes, inputs: dict[str, Any]) -> dict[str, str]:
    return staged(client, model=model, inputs=models.npz(inputs, tmp_path))


def half_a_second(client: Client, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    return time_job(put(client, tmp_path, models.DOUBLE, models.samples()), min_s=0.5, max_s=0.5, **changes)


def while_timed(client: Client, job: dict[str, Any], act: Callable[[int], None]) -> dict[str, Any]:
    """Run a block and do something, once, to its process when the timed part begins."""
    number = client.send("block", **job)
    client.wait_for_event(number, {"phase": "timed"})
    (child,) = children_of(client.process.pid)
    act(child)
    return client.wait_for(number)


def stop(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(pid, signal.SIGCONT)


class TestDisturbances:
    def test_a_stopped_process_is_flagged_however_short_the_stop(self, locked: Client, tmp_path: Path) -> None:
        result = while_timed(locked, half_a_second(locked, tmp_path), lambda pid: stop(pid, 0.01))
        assert "stopped" in result["flags"]

    def test_a_stopped_agent_is_flagged(self, locked: Client, tmp_path: Path) -> None:
        result = while_timed(locked, half_a_second(locked, tmp_path), lambda _: stop(locked.process.pid, 0.05))
        assert "stopped" in result["flags"]

    def test_a_child_that_is_killed_while_it_is_stopped_ends_the_block(self, locked: Client, tmp_path: Path) -> None:
        def act(pid: int) -> None:
            os.kill(pid, signal.SIGSTOP)
            os.kill(pid, signal.SIGKILL)

        result = while_timed(locked, half_a_second(locked, tmp_path), act)
        assert result["failure"]["detail"] == "SIGKILL while in a timed inference"

    def test_a_neighbour_on_another_core_is_foreign_load(self, locked: Client, tmp_path: Path) -> None:
        if len(os.sched_getaffinity(0)) < 2:
            pytest.skip("one core")
        mine, *_, other = sorted(os.sched_getaffinity(0))
        neighbour = subprocess.Popen(["sh", "-c", "while :; do :; done"])
        os.sched_setaffinity(neighbour.pid, {other})
        try:
            setting = {**SETTING, "affinity": [mine]}
            result = locked.call("block", **half_a_second(locked, tmp_path, setting=setting))
        finally:
            neighbour.kill()
            neighbour.wait()
        assert "foreign-load" in result["flags"]

    def test_a_cpu_quota_is_flagged(self, locked: Client, tmp_path: Path, quota: Callable[[int], None]) -> None:
        assert "throttled-by-quota" in while_timed(locked, half_a_second(locked, tmp_path), quota)["flags"]


@pytest.fixture
def quota() -> Iterator[Callable[[int], None]]:
    """Put a process, and what it starts, under a quota of a twentieth of a core, less than any busy computer leaves it. Needs root and a control group that can be made."""
    version_1, version_2 = Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup")
    mount = version_1 if version_1.is_dir() else version_2
    group = mount / f"edgeopt-test-{os.getpid()}"
    limits = (
        {"cpu.cfs_period_us": "40000", "cpu.cfs_quota_us": "2000"} if mount == version_1 else {"cpu.max": "2000 40000"}
    )
    try:
        group.mkdir()
        for name, value in limits.items():
            (group / name).write_text(value)
    except OSError as error:
        if group.is_dir():
            group.rmdir()
        pytest.skip(f"no control group of our own: {error}")
    moved: list[int] = []

    def move(pid: int) -> None:
        (group / "cgroup.procs").write_text(str(pid))
        moved.append(pid)

    yield move
    for pid in moved:
        with contextlib.suppress(ProcessLookupError):  # the process of the block has ended
            (mount / "cgroup.procs").write_text(str(pid))
    group.rmdir()


PEAK = """
import sys, numpy, onnxruntime
def peak():
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
bare = peak()
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
with numpy.load(sys.argv[2]) as file:
    feed = {session.get_inputs()[0].name: file["s0.0"]}
for _ in range(20):
    session.run(None, feed)
print(peak() - bare)
"""


class TestMemory:
    def job(self, client: Client, tmp_path: Path) -> dict[str, Any]:
        side = int((LARGE_BYTES // 4) ** 0.5)
        inputs = {"s0.0": np.ones((1, side), np.float32)}
        return time_job(put(client, tmp_path, large_model(), inputs))

    def test_the_models_share_is_what_a_bare_process_says(self, python: str, locked: Client, tmp_path: Path) -> None:
        job = self.job(locked, tmp_path)
        result = locked.call("block", **job)
        argv = [python, "-I", "-c", PEAK, job["model"], job["inputs"]]
        bare = int(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
        model = result["peak_rss_bytes"] - result["runtime_rss_bytes"]
        assert model > LARGE_BYTES
        assert abs(model - bare) < max(0.03 * bare, 1 << 20)
        assert LARGE_BYTES < result["anon_bytes"] <= result["peak_rss_bytes"]
        assert result["file_bytes"] > 0

    def test_a_large_agent_changes_nothing(
        self, python: str, agent_path: Path, root: Path, locked: Client, tmp_path: Path
    ) -> None:
        slim = locked.call("block", **self.job(locked, tmp_path))
        locked.close()
        heavy = tmp_path / "heavy.py"
        heavy.write_text(
            f"import runpy\nballast = b'x' * (300 << 20)\nrunpy.run_path({str(agent_path)!r}, run_name='__main__')\n"
        )
        with Client(python, heavy, root) as large:
            large.lock()
            fat = large.call("block", **self.job(large, tmp_path))
        for field in ("peak_rss_bytes", "runtime_rss_bytes", "anon_bytes"):
            assert abs(fat[field] - slim[field]) < max(0.03 * slim[field], 1 << 20), field
