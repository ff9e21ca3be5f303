"""Energy windows: a load between two idle times, and a sensor that is read meanwhile."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeopt_agent import energy
from edgeopt_agent.sampler import Sampler
from tests.agent import models
from tests.agent import power_trees as trees
from tests.agent.client import Client, Refused
from tests.agent.test_block import SETTING, staged

WINDOW = {"idle_s": 0.3, "min_s": 0.4, "min_inferences": 7, "max_s": 20, "warmup_min_s": 0.01}


@pytest.fixture
def board(start: Callable[..., Client], tmp_path: Path) -> Client:
    """An agent on a board with an INA3221."""
    client = start("--sysfs-root", trees.orin_nano(tmp_path / "board"))
    client.lock()
    return client


@pytest.fixture
def _runtime(python: str) -> None:
    if subprocess.run([python, "-I", "-c", "import onnxruntime"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no onnxruntime")


def job(client: Client, folder: Path, model: bytes = models.DOUBLE, **changes: Any) -> dict[str, Any]:
    paths = staged(client, model=model, inputs=models.npz(models.samples(), folder))
    return {
        "mode": "energy",
        "runtime": "onnxruntime",
        "site": None,
        "setting": SETTING,
        "timeout_s": 60,
        "sensor": "ina3221",
        **WINDOW,
        **paths,
        **changes,
    }


@pytest.mark.usefixtures("_runtime")
class TestWindow:
    def test_it_is_idle_then_loaded_then_idle_on_one_clock(self, board: Client, tmp_path: Path) -> None:
        result = board.call("block", **job(board, tmp_path))
        assert result["status"] == "ok", result
        times = [*result["idle_before_ns"], *result["load_window_ns"], *result["idle_after_ns"]]
        assert times == sorted(times)
        lengths = [(end - begin) / 1e9 for begin, end in zip(times[::2], times[1::2], strict=True)]
        assert all(length >= least for length, least in zip(lengths, (0.3, 0.4, 0.3), strict=True))
        assert result["inferences"] >= 7
        assert "last_output" not in result

    def test_samples_begin_before_and_end_after_everything_and_name_their_rails(
        self, board: Client, tmp_path: Path
    ) -> None:
        result = board.call("block", **job(board, tmp_path))
        samples = result["samples"]
        assert result["rails"] == ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]
        assert samples[0][1] == [5.0, 2.0, 1.5]
        assert samples[0][0] <= result["idle_before_ns"][0]
        assert samples[-1][0] >= result["idle_after_ns"][1]
        assert [at for at, _ in samples] == sorted(at for at, _ in samples)

    def test_a_sensor_that_vanishes_leaves_gaps(self, board: Client, tmp_path: Path) -> None:
        number = board.send("block", **job(board, tmp_path, idle_s=2))
        board.wait_for_event(number, {"phase": "timed"})
        (tmp_path / "board/sys/class/hwmon/hwmon1/curr1_input").unlink()
        result = board.wait_for(number)
        assert result["status"] == "ok"
        assert result["samples"][-1][1] == [None, 2.0, 1.5]

    def test_with_a_meter_of_the_host_nothing_is_sampled_here(self, board: Client, tmp_path: Path) -> None:
        result = board.call("block", **job(board, tmp_path, sensor=None))
        assert result["status"] == "ok"
        assert "samples" not in result
        assert result["load_window_ns"][0] < result["load_window_ns"][1]

    def test_an_unknown_sensor_is_refused_at_once(self, board: Client, tmp_path: Path) -> None:
        with pytest.raises(Refused, match="no power sensor rapl"):
            board.call("block", **job(board, tmp_path, sensor="rapl"))

    def test_a_load_that_fails_is_a_result_with_its_name(self, board: Client, tmp_path: Path) -> None:
        result = board.call("block", **job(board, tmp_path, model=models.NAN))
        assert result["status"] == "failed"
        assert result["failure"]["kind"] == "bad-output"
        assert "idle_after_ns" not in result


def test_it_ends_with_the_host(board: Client, tmp_path: Path) -> None:
    number = board.send("block", **job(board, tmp_path, idle_s=600))
    board.wait_for_event(number, {"phase": "idle"})
    board.close()
    assert board.process.returncode is not None


class TestLoad:
    def test_the_longest_time_ends_it_whatever_the_minima_say(self) -> None:
        phases: list[str] = []
        job = {"warmup_min_s": 0, "min_s": 60, "min_inferences": 10_000_000, "max_s": 0.01}
        result = energy.load(job, lambda feed: feed, ["a", "b"], phases.append)
        assert phases == ["warmup", "timed"]
        assert result["inferences"] >= 1
        assert result["last_output"] in ("a", "b")

    def test_samples_are_taken_in_turn_and_all_are_counted(self) -> None:
        seen: list[int] = []
        job = {"warmup_min_s": 0, "min_s": 0, "min_inferences": 5, "max_s": 60}
        result = energy.load(job, seen.append, [1, 2], lambda _: None)
        assert result["inferences"] == 5
        assert seen == [1, 1, 2, 1, 2, 1]


class TestSampler:
    def test_every_sample_has_its_time_and_all_rails(self) -> None:
        clock = iter(range(0, 10**9, 10))
        enough = threading.Event()
        values = iter([{"a": 1.23456789}, {"b": 2.0}])

        def read() -> dict[str, float]:
            found = next(values, None)
            if found is None:
                enough.set()
                raise FileNotFoundError
            return found

        with Sampler(read, ["a", "b"], 0.001, clock=lambda: next(clock)) as sampler:
            assert enough.wait(30)
        assert sampler.samples[:3] == [(5, [1.234568, None]), (25, [None, 2.0]), (45, [None, None])]

    def test_it_runs_below_everything_else(self) -> None:
        found: list[int] = []

        def read() -> dict[str, float]:
            found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return {}

        here = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        with Sampler(read, [], 10):
            pass
        assert found == [here, max(here, 10)]
        assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == here
