"""The confined child: whatever happens in it is an answer or a failure in words, and it leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgeopt.compiler.confine import ConfinedFailure, Limits, _death, run_confined, stop_group
from edgeopt.compiler.outputs import host_outputs
from edgeopt.errors import BuildFailed
from edgeopt.samples.record import make_samples
from tests import models

LIMITS = Limits(timeout_s=60, memory_bytes=2 << 30, output_bytes=64 << 20)
REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def endless(tmp_path):
    """A request that keeps a child busy for ever."""
    path = models.save(models.endless(), tmp_path / "endless.onnx")
    samples = tmp_path / "samples.npz"
    np.savez(samples, **{"s0.0": np.ones(1, dtype=np.float32)})
    return {
        "model": str(path),
        "samples": {"path": str(samples), "names": ["x"], "count": 1},
        "out": str(tmp_path / "out.npz"),
    }


def children_of(pid: int) -> list[psutil.Process]:
    """Confined children of a process."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return [p for p in psutil.Process(pid).children(recursive=True) if is_confined(p)]
    return []


def is_confined(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
        return any("edgeopt.compiler.child" in word for word in process.cmdline())
    return False


def await_busy_child(pid: int) -> psutil.Process:
    """Wait until a child of `pid` is in its endless loop: it has used half a second of processor time there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in children_of(pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cpu_times().user > 1.0:
                    return child
        time.sleep(0.05)
    pytest.fail("no child became busy")


def test_an_answer_tells_how_the_child_was_confined(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    answer = run_confined("inspect", {"path": str(path)}, limits=LIMITS, workdir=tmp_path)
    confinement = answer["confinement"]
    assert answer["model"]["name"] == "net"
    assert 10 << 20 < confinement["peak_memory_bytes"] < 2 << 30
    assert confinement["wall_s"] > 0
    assert confinement["network"] == "none" or confinement["network"].startswith("shared: ")


def test_nothing_is_left_in_the_work_folder(tmp_path):
    path = models.save(models.classifier(), tmp_path / "model" / "net.onnx")
    work = tmp_path / "work"
    work.mkdir()
    run_confined("inspect", {"path": str(path)}, limits=LIMITS, workdir=work)
    with pytest.raises(ConfinedFailure):
        run_confined("inspect", {"path": str(tmp_path / "none")}, limits=LIMITS, workdir=work)
    assert list(work.iterdir()) == []


def test_only_tasks_of_the_table_are_run(tmp_path):
    with pytest.raises(ConfinedFailure) as caught:
        run_confined("os.system", {}, limits=LIMITS, workdir=tmp_path)
    assert caught.value.kind == "error"
    assert isinstance(caught.value, BuildFailed)


def test_a_deadline_kills_the_child(tmp_path, endless):
    with pytest.raises(ConfinedFailure) as caught:
        run_confined("run_model", endless, limits=Limits(timeout_s=3), workdir=tmp_path)
    assert caught.value.kind == "timeout"
    assert "3 s" in caught.value.detail
    assert children_of(os.getpid()) == []


def test_memory_is_bounded(tmp_path):
    """16 GiB are asked for by a file of 100 bytes."""
    path = models.save(models.expander(), tmp_path / "net.onnx")
    samples = make_samples(["shape"], [[np.array([1 << 32])]], source="made")
    with pytest.raises(ConfinedFailure) as caught:
        host_outputs(path, samples, workdir=tmp_path, limits=LIMITS)
    assert caught.value.kind == "memory"
    assert "2.0 GiB" in caught.value.detail


def test_answers_are_bounded(tmp_path):
    """Many outputs that each fit are too much together."""
    path = models.save(models.expander(), tmp_path / "net.onnx")
    samples = make_samples(["shape"], [[np.array([1 << 20])]] * 20, source="made")
    with pytest.raises(ConfinedFailure) as caught:
        host_outputs(path, samples, workdir=tmp_path, limits=LIMITS)
    assert caught.value.kind == "too-large"
    assert "64 MiB" in caught.value.detail


def test_files_are_bounded(tmp_path):
    """A file beyond the limit cannot be written, whatever the task does."""
    path = models.save(models.wide_net(), tmp_path / "net.onnx")
    (tmp_path / "out").mkdir()
    request = {
        "source": str(path),
        "files": [],
        "steps": [{"name": "upgrade_opset", "options": {"at_least": 1}}],
        "samples": None,
        "pins": {"max_opset": 21, "max_ir_version": 10},
        "out": str(tmp_path / "out"),
    }
    with pytest.raises(ConfinedFailure) as caught:
        run_confined("build", request, limits=Limits(output_bytes=1 << 20), workdir=tmp_path)
    assert caught.value.kind == "too-large"


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [(signal.SIGSEGV, "signal", "SIGSEGV"), (signal.SIGKILL, "memory", "killed from outside")],
)
def test_a_death_by_signal_is_a_failure_in_words(tmp_path, endless, number, kind, words):
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_confined, "run_model", endless, limits=LIMITS, workdir=tmp_path)
        await_busy_child(os.getpid()).send_signal(number)
        with pytest.raises(ConfinedFailure) as caught:
            running.result(timeout=60)
    assert caught.value.kind == kind
    assert words in caught.value.detail


def test_a_group_can_be_stopped(tmp_path, endless):
    """And no child of it begins afterwards."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run_confined, "run_model", endless, limits=LIMITS, workdir=tmp_path, group="a test")
        await_busy_child(os.getpid())
        stop_group("a test")
        with pytest.raises(ConfinedFailure) as caught:
            running.result(timeout=60)
        assert caught.value.kind == "stopped"
        with pytest.raises(ConfinedFailure) as caught:
            run_confined("run_model", endless, limits=LIMITS, workdir=tmp_path, group="a test")
        assert caught.value.kind == "stopped"


def test_several_children_run_side_by_side(tmp_path):
    """From threads, as builds do: none is mistaken for another."""
    paths = [models.save(models.classifier(classes=n), tmp_path / f"net{n}.onnx") for n in (2, 3, 4)]
    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda p: run_confined("inspect", {"path": str(p)}, limits=LIMITS, workdir=tmp_path), paths)
        )
    assert [answer["model"]["outputs"][0]["shape"][1] for answer in answers] == [2, 3, 4]


PARENT = """
import json, sys
from pathlib import Path
from edgeopt.compiler.confine import Limits, run_confined
run_confined("run_model", json.loads(sys.argv[1]), limits=Limits(timeout_s=250), workdir=Path(sys.argv[2]))
"""


@pytest.fixture
def parent(tmp_path, endless):
    """Another process whose confined child is busy."""
    import json

    (tmp_path / "work").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, json.dumps(endless), str(tmp_path / "work")],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
    )
    yield process
    process.kill()
    process.communicate()


def test_a_killed_parent_leaves_no_orphan(parent):
    child = await_busy_child(parent.pid)
    parent.kill()
    parent.wait()
    child.wait(timeout=30)


def test_ctrl_c_kills_the_child_and_cleans_up(parent, tmp_path):
    child = await_busy_child(parent.pid)
    parent.send_signal(signal.SIGINT)
    _, errors = parent.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
    assert list((tmp_path / "work").iterdir()) == []


def test_the_child_sees_little_of_the_environment(tmp_path, endless):
    """Secrets of the user's shell are none of a model's business; its folder for temporary files is its own."""
    os.environ["EDGEOPT_TEST_SECRET"] = "s3cret"
    try:
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(
                run_confined, "run_model", endless, limits=LIMITS, workdir=tmp_path, group="environment"
            )
            seen = await_busy_child(os.getpid()).environ()
            stop_group("environment")
            running.exception(timeout=60)
    finally:
        del os.environ["EDGEOPT_TEST_SECRET"]
    assert "EDGEOPT_TEST_SECRET" not in seen
    assert seen["TMPDIR"].startswith(str(tmp_path))


def test_threads_that_end_do_not_take_children_with_them(tmp_path):
    """The tie to the parent holds for the thread that waits, which outlives the child."""
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    answers: list[dict] = []
    thread = threading.Thread(
        target=lambda: answers.append(run_confined("inspect", {"path": str(path)}, limits=LIMITS, workdir=tmp_path))
    )
    thread.start()
    thread.join(60)
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("status", "log", "kind", "words"),
    [
        (-signal.SIGABRT, "terminate called: std::bad_alloc", "memory", "2.0 GiB"),
        (-signal.SIGXFSZ, "", "too-large", "too large a file"),
        (-63, "", "signal", "63"),
        (1, "Traceback\n  ...\nImportError: no onnx\n\n", "error", "status 1: ImportError: no onnx"),
        (1, "", "error", "status 1"),
    ],
)
def test_how_a_child_died_is_read_from_its_status_and_log(status, log, kind, words):
    """Without an answer, these two are all there is."""
    failure = _death(status, log, LIMITS)
    assert failure.kind == kind
    assert words in failure.detail
    assert failure.log == log
