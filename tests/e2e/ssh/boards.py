"""A user's computer and a board on a network of its own: what the tests over SSH stand on."""

from __future__ import annotations

import contextlib
import fcntl
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
from onnx import ModelProto

from tests import models
from tests.board import Board, make_board
from tests.e2e.conftest import QUICK, Computer, write_samples
from tests.sshd import descendants

DEPLOY = ("deploy", "model.onnx", "--samples", "samples", "--min-agreement", "0.5", *QUICK)
LONG = (*DEPLOY[:6], "--rounds", "100", "--block-seconds", "1", "--recipes", "original")
"""A deploy that is still measuring whenever somebody looks."""


@dataclass(kw_only=True)
class Wired(Computer):
    """A computer with a board on its network. `home` holds edgeopt's files, `board.home` is the board's `~`."""

    board: Board

    def add(self, name: str, **options: str) -> None:
        """Put the board into the inventory, with other options than usual."""
        given = {
            "profile": "generic-x86_64",
            "address": self.board.address,
            "identity": str(self.board.identity),
        } | options
        flags = [part for key, value in given.items() for part in (f"--{key}", value)]
        self.ok("device", "add", name, *flags, "--replace")

    def set_up(self, name: str, *runtimes: str) -> dict[str, Any]:
        """`device setup` of runtimes, onnxruntime alone when none is named; returns what was done with the first. Wheels are fetched once for all tests."""
        lock = (self.home / "cache" / "wheels").resolve() / "lock"
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            first: dict[str, Any] = self.brought(name, *(runtimes or ("onnxruntime",)))["runtimes"][0]
            return first

    def deploy(self, device: str, *options: str) -> subprocess.CompletedProcess[str]:
        """A quick deploy; returns it whatever came of it."""
        return self.run(*DEPLOY, "--device", device, *options)

    def refuses(self, word: str, device: str, *options: str) -> str:
        """A deploy ends with exit code 4 and this word, and leaves neither process nor half a file; returns what it said."""
        said = self.fails(4, word, *DEPLOY, "--device", device, "--recipes", "original", *options)
        self.is_clean()
        return said

    def is_clean(self, *, uploads: bool = False) -> None:
        """No process of ours is left on the board and no file is half written. `uploads`: what has arrived of one may lie there, for the next run to go on from."""
        wait_for(lambda: not self.board.commands(), 20)
        patterns = (".tmp-*",) if uploads else ("*.part", ".tmp-*")
        assert [path for pattern in patterns for path in self.board.home.rglob(pattern)] == []

    def is_free(self, device: str) -> None:
        """Nobody holds the board."""
        assert not self.json("status", "--device", device)["status"].get("lock")

    def stops(self, process: subprocess.Popen[str], number: signal.Signals) -> str:
        """Send a signal: exit 130, one sentence, no child left here; returns what it said."""
        children = descendants(process.pid)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 130, said
        assert "error[interrupted]" in said
        assert "Traceback" not in said
        wait_for(lambda: not any(is_running(pid) for pid in children), 10)
        return said

    def pids(self, *words: str) -> list[int]:
        """Processes on the board whose command line has all these words, without the shells that wait for them."""
        found = []
        for pid in self.board.pids():
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                if not line.startswith("sh\0") and all(word in line for word in words):
                    found.append(pid)
        return found

    def forget(self) -> None:
        """Let the board have no models, so that they are sent again."""
        for folder in ("blobs", "staged", "incoming"):
            shutil.rmtree(self.board.home / ".edgeopt" / folder, ignore_errors=True)

    def drop_uploads(self) -> None:
        """Let the board have nothing of an upload that was begun."""
        shutil.rmtree(self.board.home / ".edgeopt" / "incoming", ignore_errors=True)

    def incoming_bytes(self, root: str = ".edgeopt") -> int:
        """What has arrived of uploads that are not done."""
        total = 0
        for path in (self.board.home / root / "incoming").glob("*.part"):
            with contextlib.suppress(FileNotFoundError):
                total += path.stat().st_size
        return total


def make_wired(folder: Path, wheels: Path, *, python: str | None = sys.executable) -> Wired:
    """A computer with a project and a board `board` in its inventory, neither trusted nor set up."""
    folder.mkdir(parents=True, exist_ok=True)
    board = make_board(folder / "machine", python=python)
    project = folder / "project"
    project.mkdir()
    onnx.save(models.classifier(), project / "model.onnx")
    write_samples(project / "samples", count=12)
    home = folder / "edgeopt"
    (home / "cache").mkdir(parents=True)
    (home / "cache" / "wheels").symlink_to(wheels, target_is_directory=True)
    made = Wired(home=home, project=project, board_root=board.home / ".edgeopt", board=board)
    made.add("board")
    return made


def large_model() -> ModelProto:
    """About 9 MB of noise, new at each call, so that no board has it already: [batch, 3, 8, 8] -> [batch, 5]."""
    return models.wide_classifier(12_000, seed=secrets.randbits(32))


def sent_bytes(stderr: str) -> list[int]:
    """What each upload of a command sent, as it tells the user."""
    return [int(number) for number in re.findall(r"^send to .*: (\d+) bytes sent$", stderr, re.MULTILINE)]


def wait_for(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until something is so; fails the test when it does not come."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def wait_while_running(process: subprocess.Popen[str], condition: Callable[[], object]) -> None:
    """Wait until something is so while a command runs; fails with its words when it ends before."""

    def met() -> object:
        assert process.poll() is None, process.communicate()[1]
        return condition()

    wait_for(met)


def is_running(pid: int) -> bool:
    """Whether there is such a process that is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
