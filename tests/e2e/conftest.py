"""A user's computer: a folder for edgeopt's files, a project, and a board that is a folder of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from jsonschema import validate

from tests import models

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
PRINTS = {
    ("device", "list"): "devices",
    ("device", "remove"): "removed",
    ("device", "setup"): "setup",
    ("device", "trust"): "trust",
    ("runs", "list"): "runs",
    ("compile",): "variants",
    ("pick",): "bench",
}
"""Which schema describes the object of a command, where the first word of the command is not its name."""

QUICK = (
    *("--rounds", "1", "--block-seconds", "0.02", "--accept-disturbed", "--settings", "fixed"),
    *("--runtimes", "onnxruntime", "--budget", "instant"),
)
"""Enough to run every part; the figures are not looked at."""

AS_AN_APPLICATION = """
import os, sys
sys.path.insert(0, os.path.expanduser("~/.edgeopt/agent/edgeopt_agent.pyz"))
"""
"""How a script on a board begins that uses the agent's package, as an application there does."""


@dataclass
class Computer:
    """Runs the true command line in processes of its own."""

    home: Path
    project: Path
    board_root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if k != "EDGEOPT_DEBUG"}
        return inherited | {"EDGEOPT_HOME": str(self.home)} | self.environment

    def run(self, *args: str, timeout_s: float = 240, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "edgeopt.cli.main", *args],
            cwd=self.project,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            input=stdin or "",  # nobody is there to answer
            check=False,
        )

    @contextlib.contextmanager
    def started(self, *args: str) -> Iterator[subprocess.Popen[str]]:
        """A command that runs beside the test; it is ended with the block."""
        process = subprocess.Popen(
            [sys.executable, "-m", "edgeopt.cli.main", *args],
            cwd=self.project,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def ok(self, *args: str) -> str:
        done = self.run(*args)
        assert done.returncode == 0, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout

    def json(self, *args: str) -> Any:
        """The one object that a command prints with `--json`, which keeps to its schema."""
        document = json.loads(self.ok(*args, "--json"))
        validate(document, schema_of(args))
        return document

    def brought(self, device: str, *runtimes: str, timeout_s: float = 240) -> Any:
        """`device setup` of runtimes, as an object; skips the test when the package index is out of reach."""
        named = [word for runtime in runtimes for word in ("--runtime", runtime)]
        done = self.run("device", "setup", device, *named, "--json", timeout_s=timeout_s)
        if "error[fetch-failed]" in done.stderr:
            pytest.skip(f"no package index: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        validate(document, schema_of(("device", "setup")))
        return document["setup"]

    def installed(self, device: str, app: str) -> Any:
        """An app of a board, as `status` tells it."""
        (found,) = [a for a in self.json("status", "--device", device)["status"]["apps"] if a["app"] == app]
        return found

    def fails(self, exit_code: int, word: str, *args: str) -> str:
        """The command ends with this code and word, and says something; returns what it says."""
        done = self.run(*args)
        assert done.returncode == exit_code, f"{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert f"error[{word}]" in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        return done.stderr


def schema_of(args: tuple[str, ...]) -> Any:
    """The committed schema of what a command prints."""
    name = PRINTS.get(args[:2]) or PRINTS.get(args[:1]) or args[0]
    if args[:2] == ("runs", "show"):
        name = "run" if "--raw" in args else "bench"
    name = "plan" if "--dry-run" in args else name
    return json.loads((SCHEMAS / f"{name}.json").read_text())


def write_samples(folder: Path, count: int = 40, shape: tuple[int, ...] = (3, 8, 8), seed: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    for number in range(count):
        np.save(folder / f"{number:03}.npy", generator.standard_normal(shape).astype(np.float32))
    return folder


@pytest.fixture
def computer(tmp_path: Path) -> Computer:
    """A project with a small classifier and 40 samples, and a board named `board`."""
    project = tmp_path / "project"
    project.mkdir()
    onnx.save(models.classifier(), project / "model.onnx")
    write_samples(project / "samples")
    made = Computer(home=tmp_path / "edgeopt", project=project, board_root=tmp_path / "board")
    made.ok("device", "add", "board", "--profile", "local", "--address", "local:", "--root", str(made.board_root))
    return made
