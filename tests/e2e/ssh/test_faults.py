"""What a user is told when the way, the board or its disk is not as it should be: one sentence, the right word, and nothing half-installed."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from tests.e2e.ssh.boards import DEPLOY, LONG, Wired, large_model, make_wired, sent_bytes, wait_while_running
from tests.sshd import make_key

pytestmark = [pytest.mark.ssh, pytest.mark.e2e, pytest.mark.xdist_group("board-faults")]

MB = 1_000_000

PRETEND = """#!/usr/bin/env python3
# Another machine than this one: as much of it as the agent asks for.
import os, runpy, sys
{pretence}
arguments = [a for a in sys.argv[1:] if a not in ("-I", "-B")]
if arguments[0] == "-c":
    sys.argv = ["-c"] + arguments[2:]
    exec(arguments[1], {{"__name__": "__main__"}})
else:
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
"""


def pretend(wired: Wired, name: str, pretence: str) -> str:
    """Put an interpreter on the board that takes itself for another; returns its path there."""
    path = wired.board.home / name
    path.write_text(PRETEND.format(pretence=pretence))
    path.chmod(0o755)
    return f"/home/pi/{name}"


# The way there.


def test_nobody_listens(wired: Wired) -> None:
    wired.add("dead", address=f"ssh://pi@{wired.board.host}:9")
    said = wired.refuses("unreachable", "dead")
    assert wired.board.host in said


def test_a_name_that_nobody_has(wired: Wired) -> None:
    wired.add("lost", address="ssh://pi@no-such-board.invalid")
    assert "no-such-board.invalid" in wired.refuses("unreachable", "lost")


def test_a_board_that_was_never_trusted(wired: Wired) -> None:
    trusted = wired.home / "config" / "known_hosts"
    kept = trusted.rename(trusted.with_name("kept"))
    try:
        said = wired.refuses("host-key-unknown", "board")
    finally:
        kept.rename(trusted)
    assert "edgeopt device trust board" in said
    assert "SHA256:" in said


def test_a_board_with_another_key_than_the_trusted_one(wired: Wired, tmp_path: Path) -> None:
    """Both fingerprints; and trusting again does not go by itself."""
    trusted = wired.home / "config" / "known_hosts"
    kept = trusted.read_text()
    kind, other = (tmp_path / "other"), make_key(tmp_path / "other")
    name = kept.split()[0]
    trusted.write_text(f"{name} {' '.join(Path(f'{kind}.pub').read_text().split()[:2])}\n")
    try:
        said = wired.refuses("host-key-changed", "board")
    finally:
        trusted.write_text(kept)
    assert other.is_file()
    assert said.count("SHA256:") == 2


def test_a_key_that_the_board_does_not_know(wired: Wired, tmp_path: Path) -> None:
    wired.add("locked", identity=str(make_key(tmp_path / "stranger")))
    assert "pi" in wired.refuses("auth-refused", "locked")


def test_a_login_that_prints_is_no_obstacle(wired: Wired) -> None:
    """Banners and warnings of start-up files are not taken for the agent."""
    passwd = wired.board.folder / "passwd"
    kept = passwd.read_text()
    wired.board.login_noise("Welcome! {} 12 packages can be updated.")
    try:
        done = wired.deploy("board", "--recipes", "original")
    finally:
        passwd.write_text(kept)
    assert done.returncode == 0, done.stderr


# What is on the board.


def test_a_board_without_python(tmp_path: Path, wheels: Path) -> None:
    wired = make_wired(tmp_path, wheels, python=None)
    try:
        wired.ok("device", "trust", "board", "--yes")
        said = wired.refuses("python-missing", "board")
        assert "apt install python3" in said
        assert "no Python" in wired.fails(4, "not-ready", "doctor", "--device", "board") or said
        assert list(wired.board.home.iterdir()) == []
    finally:
        wired.board.stop()


def test_a_python_that_is_too_old(wired: Wired) -> None:
    """Both versions are named."""
    python = pretend(wired, "old-python", "sys.version_info = (3, 7, 16, 'final', 0)")
    wired.add("old", python=python)
    said = wired.refuses("python-too-old", "old")
    assert "3.7.16" in said
    assert "3.8" in said


def test_a_cpu_for_which_nobody_publishes_a_runtime(wired: Wired) -> None:
    """The sentence names the package, the Python and the CPU, and the ways out: another system, or another runtime."""
    real = "real = os.uname(); os.uname = lambda: os.uname_result((real[0], real[1], real[2], real[3], 'armv7l'))"
    wired.add("arm", python=pretend(wired, "arm-python", real), root="~/arm")
    done = wired.run("device", "setup", "arm", "--runtime", "onnxruntime")
    if "error[fetch-failed]" in done.stderr:
        pytest.skip(f"no package index: {done.stderr.strip()}")
    assert done.returncode == 4
    assert "error[wheel-missing]" in done.stderr
    for word in ("onnxruntime", "armv7l", "64-bit", "litert"):
        assert word in done.stderr
    wired.is_clean()
    wired.is_free("arm")


def test_a_board_without_runtime(wired: Wired) -> None:
    wired.add("bare", root="~/bare")
    assert "edgeopt device setup bare" in wired.refuses("runtime-missing", "bare")
    wired.is_free("bare")


# Its disk.


@pytest.fixture
def small(wired: Wired) -> Iterator[Wired]:
    """`small` has its root on a disk of its own, of which the test says the size."""
    wired.add("small", root="/home/pi/small/edgeopt")
    yield wired
    wired.board.unmount("/home/pi/small")


def test_no_room_for_the_agent(small: Wired) -> None:
    small.board.small_disk("/home/pi/small", 16384)
    assert "no room" in small.refuses("disk-full", "small")


def test_no_room_for_the_runtime(small: Wired) -> None:
    """Known before anything is sent: both sizes in the sentence."""
    small.board.small_disk("/home/pi/small", 20 * MB)
    said = small.fails(4, "disk-full", "device", "setup", "small")
    assert "MB to send" in said
    assert "MB free" in said
    small.is_clean()
    small.is_free("small")


def test_no_room_to_unpack_the_runtime(small: Wired) -> None:
    """The wheels fit and their content does not: no half a runtime is left, and setup goes on after room was made."""
    small.board.small_disk("/home/pi/small", 100 * MB)
    small.fails(4, "disk-full", "device", "setup", "small")
    small.is_clean()
    assert small.json("status", "--device", "small")["status"]["runtimes"] == []
    small.board.grow_disk("/home/pi/small", 400 * MB)
    assert small.set_up("small")["shipped"]["sent_bytes"] == 0


def test_no_room_for_the_model(small: Wired) -> None:
    """What was installed before still is."""
    onnx.save(large_model(), small.project / "large.onnx")
    small.board.small_disk("/home/pi/small", 400 * MB)
    small.set_up("small")
    first = small.deploy("small", "--app", "app", "--recipes", "original")
    assert first.returncode == 0, first.stderr
    used = 400 * MB - int(small.json("status", "--device", "small")["status"]["disk_free_bytes"])
    small.board.grow_disk("/home/pi/small", used + 4 * MB)
    argv = ["deploy", "large.onnx", *DEPLOY[2:], "--device", "small", "--app", "app", "--recipes", "original"]
    assert "MB free" in small.fails(4, "disk-full", *argv)
    small.is_clean()
    app = small.json("status", "--device", "small")["status"]["apps"][0]
    assert app["healthy_files"]
    assert len(app["releases"]) == 1


def test_a_home_that_cannot_be_written(wired: Wired) -> None:
    """Both when the agent is there already and when it is not."""
    wired.add("sealed", root="~/sealed/edgeopt")
    wired.board.read_only("/home/pi")
    try:
        said = wired.refuses("read-only", "sealed"), wired.refuses("read-only", "board")
    finally:
        wired.board.unmount("/home/pi")
    assert all("--root" in text for text in said)


# What happens in the middle.


def test_an_agent_that_is_killed(wired: Wired) -> None:
    """As the kernel does when memory runs out: what it was, and that nothing was switched."""
    with wired.started(*LONG, "--device", "board") as process:
        wait_while_running(process, lambda: wired.pids("block-child"))
        for pid in wired.pids(".pyz", "serve"):
            os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "error[agent-lost]" in said
    assert "SIGKILL" in said
    wired.is_clean()
    wired.is_free("board")


def large_bench(wired: Wired) -> list[str]:
    wired.forget()
    onnx.save(large_model(), wired.project / "large.onnx")
    return ["bench", "large.onnx", *DEPLOY[2:], "--device", "board", "--recipes", "original"]


def test_a_link_that_breaks_in_mid_upload_is_mended(wired: Wired) -> None:
    """A note, a new connection, and no byte twice."""
    argv = large_bench(wired)
    wired.board.cut_after(4 * MB)
    try:
        with wired.started(*argv) as process:
            wait_while_running(process, lambda: wired.incoming_bytes() > 3 * MB)
            wired.board.end_connections()
            wired.board.heal()
            _, said = process.communicate(timeout=120)
    finally:
        wired.board.heal()
    assert process.returncode == 0, said
    assert "connecting again" in said
    assert sent_bytes(said)[0] < 11 * MB
    wired.is_clean()
    wired.is_free("board")


def test_a_link_that_stays_broken_is_an_error_and_the_next_run_goes_on(wired: Wired) -> None:
    """The sentence says so; what arrived waits on the board."""
    argv = large_bench(wired)
    wired.board.cut_after(4 * MB)
    try:
        with wired.started(*argv) as process:
            wait_while_running(process, lambda: wired.incoming_bytes() > 3 * MB)
            wired.board.refuse()
            _, said = process.communicate(timeout=120)
        assert process.returncode == 4
        assert "error[unreachable]" in said or "error[link-lost]" in said
        assert "run the same command again" in said
        arrived = wired.incoming_bytes()
        assert arrived > 3 * MB
    finally:
        wired.board.heal()
    again = wired.run(*argv)
    assert again.returncode == 0, again.stderr
    assert sent_bytes(again.stderr)[0] < 7 * MB
    wired.is_clean()


# What a candidate does.

MISBEHAVING = """
import os as _os, signal as _signal, time as _time
import numpy as _numpy

_True = InferenceSession


class InferenceSession(_True):
    def __init__(self, model, *args, **kwargs):
        super().__init__(model, *args, **kwargs)
        data = open(model, "rb").read()
        self.fault = None
        for word, fault in FAULTS.items():
            if word in data:
                self.fault = fault

    def run(self, *args, **kwargs):
        outputs = super().run(*args, **kwargs)
        if self.fault == "segfault":
            _os.kill(_os.getpid(), _signal.SIGSEGV)
        if self.fault == "hang":
            _time.sleep(1000)
        if self.fault == "memory":
            bytearray(1 << 44)  # more than any board has; not touched, so that others are not hurt
        if self.fault == "nan":
            return [_numpy.full_like(output, _numpy.nan) for output in outputs]
        return outputs
"""

STATIC, DYNAMIC = b"QuantizeLinear_", b"DynamicQuantizeLinear"


def misbehave(wired: Wired, root: str, faults: dict[bytes, str]) -> None:
    """Give the board a second tree with a runtime that does harm with certain models."""
    target = wired.board.home / root
    shutil.copytree(wired.board.home / ".edgeopt", target, symlinks=True, copy_function=os.link)
    for path in [target, *target.rglob("*")]:
        os.chown(path, wired.board.home.stat().st_uid, -1, follow_symlinks=False)
    (init,) = target.glob("runtimes/*/site/onnxruntime/__init__.py")
    text = init.read_text() + f"\nFAULTS = {faults!r}\n" + MISBEHAVING
    init.unlink()
    init.write_text(text)
    init.chmod(0o644)


@pytest.mark.parametrize(
    ("kind", "detail", "fault"),
    [
        ("signal", "SIGSEGV", "segfault"),
        ("timeout", "no end within", "hang"),
        ("memory", "MemoryError", "memory"),
        ("bad-output", "NaN", "nan"),
    ],
)
def test_a_candidate_that_does_harm_loses_and_the_others_go_on(
    wired: Wired, kind: str, detail: str, fault: str
) -> None:
    """It ends in a sentence of the table; the original is measured and installed."""
    misbehave(wired, "harm", {DYNAMIC: fault})
    wired.add("harm", root="~/harm")
    (wired.project / "edgeopt.toml").write_text(
        'model = "model.onnx"\nsamples = "samples"\n[goal]\nmin_agreement = 0.5\n[measure]\nblock_timeout_s = 4.0\n'
    )
    argv = ["deploy", "--config", "edgeopt.toml", "--device", "harm", *DEPLOY[6:], "--recipes", "original,int8-dynamic"]
    try:
        document = json.loads((done := wired.run(*argv, "--json")).stdout)
        assert done.returncode == 0, done.stderr
        assert document["pick"]["variant"] == "original"
        lost = [item for item in document["losers"] if item["name"] == "int8-dynamic@all"]
        assert detail in lost[0]["reason"], document["losers"]
        wired.is_clean()
        wired.is_free("harm")
    finally:
        shutil.rmtree(wired.board.home / "harm")
        (wired.project / "edgeopt.toml").unlink()
