"""From a bare board to a deployed model and back, as the README tells it, over real SSH."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import AS_AN_APPLICATION
from tests.e2e.ssh.boards import DEPLOY, Wired, make_wired, sent_bytes
from tests.sshd import ssh_argv

pytestmark = [pytest.mark.ssh, pytest.mark.e2e, pytest.mark.xdist_group("board-loop")]

APPLICATION = f"""{AS_AN_APPLICATION}
from edgeopt_agent import load
model = load("app")
import numpy as np
print(model.manifest["variant"], model(np.zeros((1, 3, 8, 8), "float32"))[0].shape)
"""


def oldest_python(minor: int = 8) -> str:
    """The oldest interpreter that a board may have, if this machine has it; else the one that runs the tests."""
    name = f"python3.{minor}"
    known = [shutil.which(name), *map(str, Path("~/.pyenv/versions").expanduser().glob(f"3.{minor}.*/bin/{name}"))]
    known += [path for path in os.environ.get("EDGEOPT_AGENT_PYTHONS", "").split(os.pathsep) if path.endswith(name)]
    # A pyenv shim on the PATH is there for versions that are not active, too.
    for path in known:
        if path and subprocess.run([path, "-I", "-c", ""], capture_output=True, check=False).returncode == 0:
            return path
    return sys.executable


def test_a_bare_board_becomes_one_that_runs_a_chosen_model(tmp_path: Path, wheels: Path) -> None:
    """Nothing but Python at first. Each step says what is next; the second deploy sends nothing but its probe files."""
    wired = make_wired(tmp_path, wheels, python=oldest_python())
    try:
        assert "edgeopt device trust board" in wired.fails(4, "not-ready", "doctor", "--device", "board")
        unanswered = wired.fails(4, "host-key-unknown", "device", "trust", "board")
        assert "SHA256:" in unanswered
        assert "ssh_host_ed25519_key.pub" in unanswered
        wired.ok("device", "trust", "board", "--yes")
        assert "edgeopt device setup board" in wired.fails(4, "not-ready", "doctor", "--device", "board")

        first = wired.set_up("board")
        again = wired.set_up("board")
        assert first["shipped"]["sent_bytes"] > 10_000_000
        assert (again["here"], again["shipped"]) == (True, None)
        assert "is ready" in wired.ok("doctor", "--device", "board")

        run = wired.deploy("board", "--app", "app", "--recipes", "original,int8-dynamic")
        assert run.returncode == 0, run.stderr
        assert sent_bytes(run.stderr)[0] > 4000
        second = wired.deploy("board", "--app", "app", "--recipes", "original,int8-dynamic", "--objective", "size")
        models, probes = sent_bytes(second.stderr)
        assert models == 0
        assert probes < 10_000
        status = wired.json("status", "--device", "board")["status"]
        app = status["apps"][0]
        assert app["healthy_files"]

        back = wired.json("rollback", "--device", "board")["release"]
        assert back["digest"] == app["previous"]
        done = on_board(wired, APPLICATION)
        assert done.stdout.endswith("(1, 5)\n"), done
        wired.is_clean()
        # onnxruntime would keep an identifier there and report sessions.
        assert sorted(path.name for path in wired.board.home.iterdir()) == [".edgeopt"]
    finally:
        wired.board.stop()


def on_board(wired: Wired, script: str) -> subprocess.CompletedProcess[str]:
    """Run Python as the board's user, as an application there does."""
    board = wired.board
    return subprocess.run(
        [*ssh_argv("pi", board.host, identity=board.identity, known_hosts=board.known_hosts), "python3 -"],
        input=script,
        capture_output=True,
        text=True,
        check=False,
    )


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_ephemeral_deploy_leaves_nothing_on_the_board(wired: Wired) -> None:
    """Not even the agent: the home is as it was, and so is the folder for temporary files."""
    before = everything(wired.board.home)
    document = json.loads(wired.deploy("board", "--ephemeral", "--recipes", "original,clean", "--json").stdout)

    assert document["pick"]["candidate"]
    assert document["release"] is None
    assert everything(wired.board.home) == before
    wired.is_clean()
    left = [path for path in Path("/tmp").glob("edgeopt-*") if path.stat().st_uid == wired.board.home.stat().st_uid]
    assert left == []


def test_bench_over_ssh_installs_nothing(wired: Wired) -> None:
    """Measured, and no app of that name is there."""
    document = wired.json("bench", *DEPLOY[1:], "--device", "board", "--recipes", "original")

    assert document["candidates"][0]["agreement"] == 1.0
    apps = wired.json("status", "--device", "board")["status"]["apps"]
    assert [app["app"] for app in apps if app["app"] == "bench"] == []
