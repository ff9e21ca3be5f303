"""Ctrl-C and its like at every stage, and two users at once: nothing is left running, nothing is left locked."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import onnx
import pytest

from tests import models
from tests.e2e.ssh.boards import DEPLOY, LONG, Wired, large_model, sent_bytes, wait_while_running
from tests.sshd import descendants

pytestmark = [pytest.mark.ssh, pytest.mark.e2e, pytest.mark.xdist_group("board-interrupts")]


MOMENTS = 5


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_ctrl_c_while_building(wired: Wired) -> None:
    """The compiler's children are gone, and the board was not touched."""
    onnx.save(models.classifier(classes=7), wired.project / "seven.onnx")
    with wired.started("deploy", "seven.onnx", *DEPLOY[2:], "--device", "board") as process:
        wait_while_running(process, lambda: any("edgeopt.compiler" in command_of(p) for p in descendants(process.pid)))
        wired.stops(process, signal.SIGINT)
    wired.is_clean()
    wired.is_free("board")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_while_measuring(wired: Wired, number: signal.Signals) -> None:
    """The block's process on the board is gone with the agent."""
    with wired.started(*LONG, "--device", "board") as process:
        wait_while_running(process, lambda: wired.pids("block-child"))
        wired.stops(process, number)
    wired.is_clean()
    wired.is_free("board")


def test_ctrl_c_while_a_connection_is_made(wired: Wired) -> None:
    """A board that does not answer does not hold up Ctrl-C."""
    wired.board.freeze()
    try:
        with wired.started("status", "--device", "board") as process:
            wait_while_running(process, lambda: is_connected(process.pid))
            wired.stops(process, signal.SIGINT)
    finally:
        wired.board.thaw()
    wired.is_clean()


def is_connected(pid: int) -> bool:
    """Whether a process has a socket open."""
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if "socket:" in str(entry.readlink()):
                return True
        except OSError:
            continue
    return False


def test_ctrl_c_in_mid_upload_keeps_what_arrived(wired: Wired) -> None:
    """On a link that stands still; the next run sends only the rest."""
    wired.forget()
    onnx.save(large_model(), wired.project / "large.onnx")
    argv = ["bench", "large.onnx", *DEPLOY[2:], "--device", "board", "--recipes", "original"]
    wired.board.cut_after(4_000_000)
    try:
        with wired.started(*argv) as process:
            wait_while_running(process, lambda: wired.incoming_bytes() > 3_000_000)
            wired.stops(process, signal.SIGINT)
    finally:
        wired.board.heal()
    arrived = wired.incoming_bytes()
    assert arrived > 3_000_000
    again = wired.run(*argv)
    assert again.returncode == 0, again.stderr
    assert sent_bytes(again.stderr)[0] < 7_000_000
    wired.is_clean()


def test_two_deploys_to_one_board(wired: Wired) -> None:
    """The second is told who has it, and the first goes on unharmed."""
    with wired.started(*LONG, "--device", "board") as first:
        wait_while_running(first, lambda: wired.pids("block-child"))
        said = wired.fails(4, "device-busy", *DEPLOY, "--device", "board", "--recipes", "original")
        assert f"(process {first.pid})" in said
        assert "deploy" in said
        assert first.poll() is None
        wired.stops(first, signal.SIGTERM)
    wired.is_clean()
    wired.is_free("board")


@pytest.mark.timeout(600)
def test_ctrl_c_at_any_moment_leaves_a_whole_release_or_none(wired: Wired) -> None:
    """In stages spread over a whole deploy, from the first import to the switch; a different model each time, so that each builds, sends and installs."""
    argv = (*DEPLOY[2:], "--device", "board", "--app", "moments", "--recipes", "original,clean")
    lasts = durations_of_stages(wired, "deploy", new_model(wired, 20), *argv)

    outcomes = []
    for number in range(MOMENTS):
        stage = int((number + 0.5) * len(lasts) / MOMENTS)
        with wired.started("deploy", new_model(wired, 30 + number), *argv) as process:
            assert process.stderr is not None
            said = "".join(process.stderr.readline() for _ in range(stage))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(min(lasts[stage] / 2, 0.5))
            process.send_signal(signal.SIGINT)
            said += process.stderr.read()
            outcomes.append(process.wait(timeout=60))
        assert "Traceback" not in said
        wired.is_clean(uploads=True)
        wired.is_free("board")
        (app,) = (a for a in wired.json("status", "--device", "board")["status"]["apps"] if a["app"] == "moments")
        assert app["healthy_files"], f"in stage {stage} of {len(lasts)}: {said}"
    # The first may come before Python itself can take a signal; the last is done, perhaps, before its moment comes.
    assert set(outcomes[1:-1]) == {130}
    assert {outcomes[0], outcomes[-1]} <= {0, 130, -signal.SIGINT}


def durations_of_stages(wired: Wired, *argv: str) -> list[float]:
    """Seconds before each line that a command tells of its progress, and after the last one."""
    times = [time.monotonic()]
    with wired.started(*argv) as process:
        assert process.stderr is not None
        times += [time.monotonic() for _ in process.stderr]
        assert process.wait(timeout=60) == 0
    return [later - earlier for earlier, later in pairwise([*times, time.monotonic()])]


def new_model(wired: Wired, classes: int) -> str:
    """A model that nobody has seen; returns its name in the project."""
    name = f"classes{classes}.onnx"
    onnx.save(models.classifier(classes=classes), wired.project / name)
    return name
