"""The whole way on the device with ONNX Runtime itself: install, check, switch, open from an application, go back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import edgeopt_agent
from edgeopt_agent.load import Model, load
from tests.agent import models
from tests.agent.client import Client, Refused, fake_runtime, install_runtime, wheel
from tests.agent.test_install import install_files

PACKAGES = str(Path(edgeopt_agent.__file__).parent.parent)


@pytest.fixture(autouse=True)
def _needs_runtime(python: str) -> None:
    if subprocess.run([python, "-I", "-c", "import onnxruntime"], capture_output=True, check=False).returncode:
        pytest.skip(f"{python} has no onnxruntime")


def version_on(client: Client) -> str:
    return [item["version"] for item in client.call("probe")["runtimes"] if item["name"] == "onnxruntime"][-1]


def install_model(client: Client, tmp_path: Path, model: bytes, answer: Any, **changes: Any) -> str:
    inputs = models.samples(3)
    files = {
        "model.onnx": model,
        "probe/inputs.npz": models.npz(inputs, tmp_path),
        "probe/outputs.npz": models.npz({name: answer(array) for name, array in inputs.items()}, tmp_path),
    }
    return install_files(client, files, **{"runtime_version": version_on(client), **changes})[0]


def double(array: Any) -> Any:
    return 2 * array


def square(array: Any) -> Any:
    return array * array


def activate(client: Client, digest: str) -> dict[str, Any]:
    return client.call("activate", app="app", digest=digest, timeout_s=60)


def test_a_healthy_release_becomes_current(locked: Client, tmp_path: Path) -> None:
    digest = install_model(locked, tmp_path, models.DOUBLE, double)
    reply = activate(locked, digest)
    assert (reply["current"], reply["previous"]) == (digest, None)
    assert (reply["health"]["ok"], reply["health"]["samples"], reply["health"]["max_abs_error"]) == (True, 3, 0.0)
    assert reply["health"]["ms"] > 0


def test_a_release_that_answers_otherwise_is_not_switched_to(locked: Client, tmp_path: Path) -> None:
    good = install_model(locked, tmp_path, models.DOUBLE, double)
    activate(locked, good)
    bad = install_model(locked, tmp_path, models.SQUARE, double)
    with pytest.raises(Refused, match="health-check-failed") as caught:
        activate(locked, bad)
    assert caught.value.detail["health"]["ok"] is False
    (app,) = locked.call("status")["apps"]
    assert (app["current"], app["previous"]) == (good, None)


def test_a_release_that_does_not_load_is_not_switched_to(locked: Client, tmp_path: Path) -> None:
    digest = install_model(locked, tmp_path, b"no model", double)
    with pytest.raises(Refused, match="health-check-failed") as caught:
        activate(locked, digest)
    assert caught.value.detail["failure"]["phase"] == "load"


def test_rolling_back_goes_to_the_release_before_and_forth_again(locked: Client, tmp_path: Path) -> None:
    a, b = (
        install_model(locked, tmp_path, models.DOUBLE, double),
        install_model(locked, tmp_path, models.SQUARE, square),
    )
    activate(locked, a)
    with pytest.raises(Refused, match="no-previous"):
        locked.call("rollback", app="app", timeout_s=60)
    activate(locked, b)
    back = locked.call("rollback", app="app", timeout_s=60)
    assert (back["current"], back["previous"]) == (a, b)
    forth = locked.call("rollback", app="app", timeout_s=60)
    assert (forth["current"], forth["previous"]) == (b, a)


def test_activating_what_is_current_only_checks_it(locked: Client, tmp_path: Path, root: Path) -> None:
    digest = install_model(locked, tmp_path, models.DOUBLE, double)
    activate(locked, digest)
    before = (root / "apps/app/state.json").read_bytes()
    assert activate(locked, digest)["current"] == digest
    assert (root / "apps/app/state.json").read_bytes() == before


def test_activate_gives_the_owner_of_the_lock_to_the_history(locked: Client, tmp_path: Path, root: Path) -> None:
    import json

    activate(locked, install_model(locked, tmp_path, models.DOUBLE, double))
    assert json.loads((root / "apps/app/state.json").read_text())["history"][0]["by"]["user"] == "tester"


class TestLoad:
    def load(
        self, locked: Client, tmp_path: Path, root: Path, model: bytes = models.DOUBLE, answer: Any = double
    ) -> Model:
        activate(locked, install_model(locked, tmp_path, model, answer))
        return load("app", root=str(root))

    def test_a_single_input_may_be_passed_bare(self, locked: Client, tmp_path: Path, root: Path) -> None:
        model = self.load(locked, tmp_path, root)
        x = np.ones((1, 4), dtype=np.float32)
        np.testing.assert_array_equal(model(x)[0], 2 * x)
        np.testing.assert_array_equal(model({"x": x})[0], 2 * x)

    def test_it_says_what_it_is(self, locked: Client, tmp_path: Path, root: Path) -> None:
        model = self.load(locked, tmp_path, root)
        assert (model.manifest["variant"], model.inputs[0]["name"], model.outputs[0]["name"]) == ("int8", "x", "y")

    def test_a_bare_array_for_several_inputs_is_explained(self) -> None:
        model = Model({"inputs": [{"name": "a"}, {"name": "b"}], "outputs": []}, None)
        with pytest.raises(TypeError, match="a, b"):
            model(1)

    @pytest.mark.parametrize("app", ["app", "../app", ""])
    def test_what_is_not_installed_is_said_with_what_to_do(self, root: Path, app: str, python: str) -> None:
        with pytest.raises(FileNotFoundError, match="edgeopt deploy"):
            load(app, root=str(root))

    def test_a_runtime_of_another_version_is_refused(self, locked: Client, tmp_path: Path, root: Path) -> None:
        digest = install_model(locked, tmp_path, models.DOUBLE, double, runtime_version="0.0.1")
        (root / "apps/app/current").symlink_to(f"releases/{digest}")
        with pytest.raises(ImportError, match=r"0\.0\.1.*edgeopt device setup"):
            load("app", root=str(root))

    def test_an_application_imports_the_agent_by_its_stable_name(
        self, python: str, agent_zip: Path, root: Path, tmp_path: Path
    ) -> None:
        """What the README tells the user to write, in a process that knows of nothing but PYTHONPATH."""
        import hashlib

        own = root / "agent" / f"{hashlib.sha256(agent_zip.read_bytes()).hexdigest()}.pyz"
        own.parent.mkdir(parents=True)
        own.write_bytes(agent_zip.read_bytes())
        with Client(python, own, root) as client:
            client.lock()
            activate(client, install_model(client, tmp_path, models.DOUBLE, double))
        script = f"""
import numpy
from edgeopt_agent import load
model = load("app", root={str(root)!r})
print(model(numpy.ones((1, 4), dtype="float32"))[0].tolist())
"""
        environment = {**os.environ, "PYTHONPATH": str(root / "agent" / "edgeopt_agent.pyz")}
        done = subprocess.run([python, "-c", script], env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "[[2.0, 2.0, 2.0, 2.0]]"

    def test_it_is_on_the_cores_that_it_was_measured_on(
        self, python: str, root: Path, locked: Client, tmp_path: Path
    ) -> None:
        core = max(os.sched_getaffinity(0))
        setting = {"runtime": "onnxruntime", "provider": "CPUExecutionProvider", "threads": 1, "affinity": [core]}
        activate(locked, install_model(locked, tmp_path, models.DOUBLE, double, setting=setting))
        script = f"""
import os, sys
sys.path.insert(0, {PACKAGES!r})
from edgeopt_agent import load
load("app", root={str(root)!r})
print(sorted(os.sched_getaffinity(0)))
"""
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == str([core])

    def test_a_runtime_that_edgeopt_brought_is_put_on_the_path(
        self, python: str, root: Path, locked: Client, tmp_path: Path
    ) -> None:
        """The runtime's own package, reached through a wheel whose version nobody else has."""
        found = subprocess.run(
            [python, "-I", "-c", "import onnxruntime; print(onnxruntime.__path__[0])"],
            capture_output=True,
            text=True,
            check=True,
        )
        source = f"""
__path__ = [{found.stdout.strip()!r}]
__version__ = "7.7.7"
from onnxruntime.capi._pybind_state import get_available_providers, ExecutionMode, SessionOptions
from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession
"""
        site = install_runtime(locked, wheel({"onnxruntime/__init__.py": source.encode()}), version="7.7.7")
        activate(locked, install_model(locked, tmp_path, models.DOUBLE, double, runtime_version="7.7.7"))
        script = f"""
import sys
sys.path.insert(0, {PACKAGES!r})
from edgeopt_agent import load
model = load("app", root={str(root)!r})
import onnxruntime, numpy
print(onnxruntime.__file__, model(numpy.ones((1, 4), dtype="float32"))[0].tolist())
"""
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == f"{site}/onnxruntime/__init__.py [[2.0, 2.0, 2.0, 2.0]]"

    def test_a_runtime_that_was_imported_before_in_another_version_is_explained(
        self, python: str, root: Path, locked: Client, tmp_path: Path
    ) -> None:
        install_runtime(locked, fake_runtime("pass", version="7.7.7"), version="7.7.7")
        digest = install_model(locked, tmp_path, models.DOUBLE, double, runtime_version="7.7.7")
        (root / "apps/app/current").symlink_to(f"releases/{digest}")
        script = f"import sys; sys.path.insert(0, {PACKAGES!r}); import onnxruntime, edgeopt_agent; edgeopt_agent.load('app', root={str(root)!r})"
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False)
        assert "ImportError" in done.stderr
        assert "call load() before importing it" in done.stderr
