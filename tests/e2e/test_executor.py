"""Builds on a true Dask cluster of worker processes, as a user names it with `--executor`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edgeopt.compiler.executor import Cluster, open_executor
from tests import models
from tests.e2e.conftest import Computer

pytest.importorskip("distributed")
pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("dask"), pytest.mark.filterwarnings("default")]

CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    sys.stdin.read()
    cluster.close()
"""
CALLER = """
import sys
from pathlib import Path
from edgeopt.compiler.build import build_variants
from edgeopt.compiler.executor import open_executor
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.device import Profile
from tests import models
path, cache, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
model = inspect_model(path)
plan = plan_variants(model, Profile(name="b", title="B", arch="any", recipes=("int8-static",)), has_samples=True)
samples = models.noise("x", 1, 3, 64, 64, count=3000)
with open_executor(url, cache) as executor:
    print("started", flush=True)
    build_variants(plan, model_path=path, model=model, calibration=samples, cache=cache, executor=executor)
"""


@contextmanager
def cluster_of(workers: int, folder: Path, **environment: str) -> Iterator[str]:
    """The address of a scheduler on this computer, in processes of its own."""
    script = folder / "cluster.py"
    script.write_text(CLUSTER)
    argv = [sys.executable, str(script), str(workers)]
    process = subprocess.Popen(
        argv, cwd=folder, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.communicate("", timeout=60)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster_of(2, tmp_path_factory.mktemp("cluster")) as url:
        yield url


def test_two_workers_build_what_this_computer_would_and_never_twice(computer: Computer, cluster: str) -> None:
    """The same digests; the second time everything comes from the cache."""
    recipes = "clean,int8-static,int8-stem"
    compile_it = ("compile", "model.onnx", "--samples", "samples", "--budget", "instant", "--recipes", recipes)
    here = computer.json(*compile_it)
    computer.environment["EDGEOPT_HOME"] = str(computer.home.with_name("shared"))
    there = computer.json(*compile_it, "--executor", cluster)
    again = computer.json(*compile_it, "--executor", cluster)

    digests = [[v.get("digest") for v in document["variants"]] for document in (here, there, again)]
    assert digests[0] == digests[1] == digests[2]
    assert not any(v["cached"] for v in there["variants"] if v["status"] == "built")
    assert all(v["cached"] for v in again["variants"] if v["status"] == "built")


def test_the_project_file_may_name_the_cluster(computer: Computer, cluster: str) -> None:
    (computer.project / "edgeopt.toml").write_text(
        f'model = "model.onnx"\nsamples = "samples"\nrecipes = ["clean"]\nexecutor = "{cluster}"\n'
    )
    assert computer.json("compile")["variants"][0]["status"] == "built"


def test_tasks_run_on_both_workers_and_not_here(cluster: str, tmp_path: Path) -> None:
    with open_executor(cluster, tmp_path) as executor:
        assert isinstance(executor, Cluster)
        asked = [executor.submit(_pid_after, 0.5) for _ in range(4)]
        pids = {future.result(timeout=60) for future in asked}
    assert len(pids) == 2
    assert os.getpid() not in pids
    assert list(tmp_path.iterdir()) == []


def _pid_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_ctrl_c_stops_what_the_workers_are_doing(cluster: str, tmp_path: Path) -> None:
    """Their children are gone, the cluster stays."""
    path = models.save(models.conv_net(size=64), tmp_path / "net.onnx")
    cache = tmp_path / "cache"
    argv = [sys.executable, "-c", CALLER, str(path), str(cache), cluster]
    process = subprocess.Popen(
        argv, cwd=Path(__file__).resolve().parents[2], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    _wait_for(lambda: building(cache) and children(cache), process)

    held = children(cache)
    for pid in held:
        os.kill(pid, signal.SIGSTOP)  # so that none ends by itself
    try:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
        _wait_for(lambda: not children(cache), None)
    finally:
        for pid in set(held) & set(children(cache)):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode != 0
    assert "KeyboardInterrupt" in said
    with open_executor(cluster, cache) as executor:
        assert executor is not None
        assert executor.submit(_pid_after, 0.0).result(timeout=60) > 0


def building(cache: Path) -> bool:
    """Whether the original is done, so that what runs now runs on the cluster."""
    return (cache / "variants").is_dir() and any((cache / "variants").iterdir())


def children(cache: Path) -> list[int]:
    """Confined children that work in the cache and are past their start: one that is stopped before would stop its worker, too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        try:
            begun = b"edgeopt.compiler.child" in (entry.parent / "cmdline").read_bytes()
            if begun and entry.readlink().is_relative_to(cache):
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def _wait_for(condition: object, process: subprocess.Popen[str] | None) -> None:
    deadline = time.monotonic() + 60
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        assert process is None or process.poll() is None, process.communicate()[1]
        time.sleep(0.05)


def test_a_cluster_that_cannot_be_used_is_a_sentence(computer: Computer, cluster: str) -> None:
    """Wrong address, nobody there, a folder that workers do not see."""
    compile_it = ("compile", "model.onnx", "--recipes", "clean", "--executor")
    for url in ("cluster", "http://127.0.0.1:8786", "tcp://127.0.0.1", "tcp://[::1"):
        computer.fails(2, "config-invalid", *compile_it, url)
    said = computer.fails(4, "executor-unreachable", *compile_it, "tcp://127.0.0.1:9")
    assert "no Dask scheduler answers there" in said
    # The working folder of whoever asks: another one in every process.
    computer.environment["EDGEOPT_HOME"] = "/proc/self/cwd/home"
    assert "does not see" in computer.fails(4, "store-error", *compile_it, cluster)


def test_a_cluster_without_workers_or_with_others_versions_is_a_sentence(computer: Computer, tmp_path: Path) -> None:
    compile_it = ("compile", "model.onnx", "--recipes", "clean", "--executor")
    with cluster_of(0, tmp_path) as url:
        assert "has no workers" in computer.fails(4, "executor-mismatch", *compile_it, url)
    other = tmp_path / "packages" / "onnxslim-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: onnxslim\nVersion: 0.0.1\n")
    path = os.pathsep.join([str(other.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    with cluster_of(1, tmp_path, PYTHONPATH=path) as url:
        assert "onnxslim 0.0.1 (here" in computer.fails(4, "executor-mismatch", *compile_it, url)


def test_without_the_extra_it_says_what_to_install(computer: Computer, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "distributed.py").write_text("raise ImportError('not installed')\n")
    path = os.pathsep.join([str(tmp_path / "none"), *filter(None, [os.environ.get("PYTHONPATH")])])
    computer.environment["PYTHONPATH"] = path
    said = computer.fails(2, "config-invalid", "compile", "model.onnx", "--executor", "tcp://127.0.0.1:8786")
    assert "pip install edgeopt[dask]" in said
