"""Blocks: a fresh process each; whatever happens to it is a result with a name, and nothing of it is left."""

from __future__ import annotations

import os
import signal
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeopt_agent.block import Output, name_end
from edgeopt_agent.child import thin
from tests.agent.client import (
    Client,
    Refused,
    children_of,
    fake_runtime,
    file_entry,
    install_runtime,
    is_running,
    processes,
    wait_until_gone,
)

SETTING = {"runtime": "onnxruntime", "provider": "CPUExecutionProvider", "threads": 1}
TIMES = {"min_s": 0.01, "min_inferences": 5, "max_s": 5, "warmup_min_s": 0, "warmup_min_inferences": 2}


def staged(client: Client, **files: bytes) -> dict[str, str]:
    """Put files on the device; returns their absolute paths by name."""
    names = {name: f"{name}.{'onnx' if name == 'model' else 'npz'}" for name in files}
    for data in files.values():
        client.put(data)
    rows = [file_entry(names[name], data) for name, data in files.items()]
    folder = client.call("stage", digest="a" * 64, files=rows)["folder"]
    return {name: f"{folder}/{file}" for name, file in names.items()}


def time_job(paths: dict[str, str], **changes: Any) -> dict[str, Any]:
    return {
        "mode": "time",
        "runtime": "onnxruntime",
        "site": None,
        "setting": SETTING,
        "timeout_s": 60,
        **TIMES,
        **paths,
        **changes,
    }


def fake_job(client: Client, body: str, *, top: str = "", **changes: Any) -> dict[str, Any]:
    """Return a job whose runtime does `body` when a model is loaded."""
    site = install_runtime(client, fake_runtime(body, top=top))
    return time_job(staged(client, model=b"any", inputs=b"any"), site=site, **changes)


def failure(result: dict[str, Any]) -> tuple[str, str | None, str]:
    assert result["status"] == "failed"
    return result["failure"]["kind"], result["failure"]["phase"], result["failure"]["detail"]


class TestFaults:
    def test_a_crash_is_named_by_signal_and_phase(self, locked: Client) -> None:
        result = locked.call("block", **fake_job(locked, "os.kill(os.getpid(), signal.SIGSEGV)"))
        assert failure(result) == ("signal", "load", "SIGSEGV while loading")

    def test_the_last_words_of_a_crash_are_kept_and_made_printable(self, locked: Client) -> None:
        body = "sys.stderr.write('\\x1b[31mbad \\0 kernel\\n')\nsys.stderr.flush()\nos.abort()"
        assert failure(locked.call("block", **fake_job(locked, body)))[2] == "SIGABRT while loading: [31mbad   kernel"

    def test_an_illegal_instruction_says_what_it_means(self, locked: Client) -> None:
        assert (
            "this CPU does not have"
            in failure(locked.call("block", **fake_job(locked, "os.kill(os.getpid(), signal.SIGILL)")))[2]
        )

    def test_a_hang_that_ignores_sigterm_is_killed_with_its_group(self, locked: Client, tmp_path: Path) -> None:
        body = f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.fork() == 0:
    signal.pause()
open({str(tmp_path / "pids")!r}, "w").write(str(os.getpgid(0)))
while True:
    signal.pause()
"""
        result = locked.call("block", **fake_job(locked, body.strip(), timeout_s=1))
        assert failure(result) == ("timeout", "load", "no end within 1 s while loading")
        group = int((tmp_path / "pids").read_text())
        assert not [pid for pid in processes() if is_running(pid) and _group(pid) == group]

    def test_memory_without_end_is_a_memory_failure(self, locked: Client) -> None:
        result = locked.call(
            "block", **fake_job(locked, "kept = [bytearray(1 << 20) for _ in range(100000)]", memory_bytes=200 << 20)
        )
        assert failure(result)[:2] == ("memory", "load")

    def test_a_failed_allocation_of_the_runtime_is_a_memory_failure(self, locked: Client) -> None:
        assert failure(locked.call("block", **fake_job(locked, "raise RuntimeError('std::bad_alloc')")))[0] == "memory"

    def test_an_abort_for_lack_of_memory_is_a_memory_failure(self, locked: Client) -> None:
        body = "sys.stderr.write('terminate called after throwing an instance of std::bad_alloc\\n')\nsys.stderr.flush()\nos.abort()"
        assert failure(locked.call("block", **fake_job(locked, body)))[0] == "memory"

    def test_an_exception_is_named_by_type_and_first_line(self, locked: Client) -> None:
        result = locked.call("block", **fake_job(locked, "raise ValueError('no such operator\\nand much more')"))
        assert failure(result) == ("error", "load", "ValueError: no such operator")

    def test_a_runtime_that_does_not_import_is_missing(self, locked: Client) -> None:
        kind, phase, detail = failure(locked.call("block", **fake_job(locked, "pass", top="import libmissing")))
        assert (kind, phase) == ("runtime-missing", "import")
        assert "libmissing" in detail

    def test_a_process_that_just_leaves_is_an_error(self, locked: Client) -> None:
        assert failure(locked.call("block", **fake_job(locked, "os._exit(3)"))) == (
            "error",
            "load",
            "the process ended with exit code 3 while loading",
        )

    def test_what_a_runtime_prints_is_bounded_and_stops_nothing(self, locked: Client) -> None:
        body = "line = 'x' * 99999\nfor _ in range(200): print(line)\nraise ValueError('after')"
        assert failure(locked.call("block", **fake_job(locked, body)))[2] == "ValueError: after"

    def test_a_runtime_that_closes_its_streams_is_still_heard(self, locked: Client) -> None:
        assert (
            failure(locked.call("block", **fake_job(locked, "os.close(1)\nos.close(2)\nraise ValueError('quiet')")))[2]
            == "ValueError: quiet"
        )

    def test_a_failure_has_its_conditions(self, locked: Client) -> None:
        result = locked.call("block", **fake_job(locked, "os._exit(3)"))
        assert result["conditions_before"]["monotonic_ns"] < result["conditions_after"]["monotonic_ns"]
        assert isinstance(result["flags"], list)

    def test_the_agent_goes_on(self, locked: Client) -> None:
        job = fake_job(locked, "os.kill(os.getpid(), signal.SIGSEGV)")
        assert failure(locked.call("block", **job)) == failure(locked.call("block", **job))
        assert children_of(locked.process.pid) == []

    def test_phases_are_said_as_they_begin(self, locked: Client) -> None:
        locked.call("block", **fake_job(locked, "os._exit(3)"))
        assert locked.events == [{"phase": "import"}, {"phase": "load"}]

    def test_the_login_does_not_steer_threads(self, start: Callable[..., Client]) -> None:
        client = start(environment={**os.environ, "OMP_NUM_THREADS": "7", "MALLOC_ARENA_MAX": "1", "LD_PRELOAD": ""})
        client.lock()
        result = client.call("block", **fake_job(client, "raise ValueError(sorted(os.environ))"))
        assert "OMP_NUM_THREADS" not in failure(result)[2]
        assert "MALLOC_ARENA_MAX" not in failure(result)[2]

    def test_the_child_is_on_its_cores_before_the_runtime_is_imported(self, locked: Client) -> None:
        core = max(os.sched_getaffinity(0))
        job = fake_job(locked, "raise ValueError(seen)", top="seen = sorted(os.sched_getaffinity(0))")
        result = locked.call("block", **{**job, "setting": {**SETTING, "affinity": [core]}})
        assert failure(result)[2] == f"ValueError: [{core}]"

    def test_a_core_that_is_not_there_is_a_failure_and_not_ignored(self, locked: Client) -> None:
        cores = [min(os.sched_getaffinity(0)), 4095]
        result = locked.call("block", **{**fake_job(locked, "pass"), "setting": {**SETTING, "affinity": cores}})
        assert failure(result)[:2] == ("error", "import")
        assert "may not use core 4095" in failure(result)[2]

    @pytest.mark.parametrize(
        ("change", "spinning", "arena"),
        [
            ({}, None, None),
            ({"spinning": None, "arena": None}, None, None),
            ({"spinning": False, "arena": False}, "0", False),
            ({"spinning": True, "arena": True}, "1", True),
        ],
    )
    def test_spinning_and_arena_are_the_runtimes_own_unless_the_setting_says_so(
        self, locked: Client, change: dict[str, Any], spinning: str | None, arena: bool | None
    ) -> None:
        body = "options = vars(sess_options)\nraise ValueError(options.get('session.intra_op.allow_spinning'), options.get('enable_cpu_mem_arena'))"
        result = locked.call("block", **{**fake_job(locked, body), "setting": {**SETTING, **change}})
        assert failure(result)[2] == f"ValueError: {(spinning, arena)}"

    def test_the_child_dumps_no_core_and_is_the_first_to_go(self, locked: Client) -> None:
        body = "import resource\nraise ValueError(resource.getrlimit(resource.RLIMIT_CORE), open('/proc/self/oom_score_adj').read().strip())"
        assert failure(locked.call("block", **fake_job(locked, body)))[2] == "ValueError: ((0, 0), '800')"


def _group(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None


class TestEndOfTheHost:
    """The child of a block never outlives its agent."""

    HANG = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: signal.pause()"

    def hanging(self, client: Client) -> int:
        number = client.send("block", **fake_job(client, self.HANG))
        client.wait_for_event(number, {"phase": "load"})
        (child,) = children_of(client.process.pid)
        return child

    def test_the_end_of_stdin_kills_it_at_once(self, locked: Client) -> None:
        child = self.hanging(locked)
        assert locked.close() == 0
        assert not is_running(child)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
    def test_a_signal_kills_it_at_once(self, locked: Client, number: int) -> None:
        child = self.hanging(locked)
        locked.process.send_signal(number)
        assert locked.process.wait(10) == 0
        assert not is_running(child)

    def test_it_dies_with_an_agent_that_is_killed(self, locked: Client) -> None:
        child = self.hanging(locked)
        locked.kill()
        wait_until_gone(child)


class TestBadJobs:
    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"mode": "probe"}, "mode"),
            ({"runtime": "os"}, "runtime"),
            ({"setting": {**SETTING, "runtime": "tflite"}}, "setting"),
            ({"setting": {**SETTING, "threads": -1}}, "setting"),
            ({"setting": {**SETTING, "threads": True}}, "setting"),
            ({"setting": {**SETTING, "provider": "../x"}}, "setting"),
            ({"setting": {**SETTING, "affinity": 0}}, "setting"),
            ({"setting": {**SETTING, "affinity": [-1]}}, "setting"),
            ({"setting": {**SETTING, "affinity": [True]}}, "setting"),
            ({"setting": {**SETTING, "affinity": [0, 0]}}, "setting"),
            ({"setting": {**SETTING, "spinning": 1}}, "setting"),
            ({"setting": {**SETTING, "arena": "no"}}, "setting"),
            ({"model": "/etc/passwd"}, "model"),
            ({"model": "model.onnx"}, "model"),
            ({"model": 1}, "model"),
            ({"inputs": "/proc/self/environ"}, "inputs"),
            ({"site": "/tmp"}, "site"),
            ({"timeout_s": -1}, "timeout_s"),
            ({"min_inferences": 0}, "min_inferences"),
            ({"memory_bytes": "all"}, "memory_bytes"),
        ],
    )
    def test_it_is_refused_by_the_name_of_its_field(self, locked: Client, change: dict[str, Any], field: str) -> None:
        job = {**time_job(staged(locked, model=b"any", inputs=b"any")), **change}
        with pytest.raises(Refused) as caught:
            locked.call("block", **job)
        assert (caught.value.code, caught.value.detail["field"]) == ("bad-request", field)

    def test_a_path_that_leaves_the_root_by_a_link_is_refused(self, locked: Client, root: Path, tmp_path: Path) -> None:
        (tmp_path / "secret").write_text("x")
        paths = staged(locked, model=b"any", inputs=b"any")
        (root / "staged" / "link").symlink_to(tmp_path / "secret")
        with pytest.raises(Refused, match="bad-request"):
            locked.call("block", **time_job({**paths, "model": str(root / "staged" / "link")}))

    def test_a_file_that_is_not_there_is_refused(self, locked: Client, root: Path) -> None:
        paths = staged(locked, model=b"any", inputs=b"any")
        with pytest.raises(Refused, match="there is no"):
            locked.call("block", **time_job({**paths, "model": str(root / "nothing.onnx")}))


class TestNames:
    def test_a_sigkill_while_the_kernel_ran_out_of_memory_is_a_memory_failure(self) -> None:
        named = name_end(-9, "timed", Output(), is_late=False, timeout_s=1, was_oom=True)
        assert named == {
            "kind": "memory",
            "phase": "timed",
            "detail": "killed by the kernel for lack of memory while in a timed inference",
        }

    def test_a_sigkill_otherwise_is_a_signal(self) -> None:
        assert name_end(-9, "timed", Output(), is_late=False, timeout_s=1, was_oom=False)["kind"] == "signal"

    def test_a_signal_without_a_name_has_its_number(self) -> None:
        assert (
            "signal 42 while" in name_end(-42, "first", Output(), is_late=False, timeout_s=1, was_oom=False)["detail"]
        )

    def test_output_keeps_its_beginning_and_its_end(self) -> None:
        output = Output()
        for number in range(100_000):
            output.add(b"%d\n" % number)
        assert output.text().startswith("0\n1\n")
        assert output.last_line() == "99999"
        assert len(output.text()) == 64 << 10

    def test_a_series_is_thinned_evenly(self) -> None:
        assert thin(array("Q", range(10)), 10) == list(range(10))
        assert thin(array("Q", range(100)), 4) == [0, 25, 50, 75]
