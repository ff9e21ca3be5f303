"""Power cuts in the middle of uploads, installs and switches: whatever reached the disk heals to a whole release, the old or the new one.

A loop-mounted ext4 image is written to by a process that is stopped at a random moment; the image file, which holds only what reached the block device, is copied and
mounted: that is what a board finds when it boots again. The moments are drawn uniformly, the seed is in the failure message.
"""

from __future__ import annotations

import filecmp
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgeopt_agent
from edgeopt_agent import release
from edgeopt_agent.app_state import App
from edgeopt_agent.content import file_bytes
from edgeopt_agent.digests import of_file
from edgeopt_agent.heal import heal
from edgeopt_agent.tree import Tree, names

CUTS = int(os.environ.get("EDGEOPT_POWER_CUTS", "100"))
LONGEST_GAP_S = 0.05
"""Between two cuts: several switches, so that cuts fall everywhere in them."""

WRITER = Path(__file__).with_name("power_cut_writer.py")


def command(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"{argv[0]}: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """An ext4 image and where it is mounted."""
    if os.geteuid():
        pytest.skip("mounting a loop device needs root")
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("no mkfs.ext4")
    image, folder = tmp_path / "disk.img", tmp_path / "disk"
    with image.open("wb") as stream:
        stream.truncate(16 << 20)
    folder.mkdir()
    command("mkfs.ext4", "-q", "-F", str(image))
    # Nothing is written back but what is asked for: the journal's own timer would hide a missing fsync.
    command("mount", "-o", "loop,commit=3600", str(image), str(folder))
    yield image, folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def reported(descriptor: int, so_far: bytes) -> bytes:
    """Return what the writer has said by now."""
    while True:
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return so_far
        if not data:
            return so_far
        so_far += data


def wait_until_stopped(pid: int) -> None:
    _, status = os.waitpid(pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status), "the writer failed"


def freeze(image: Path, copy: Path) -> None:
    """Copy an image of one moment: the kernel may be in the middle of a commit that the stopped writer waits for."""
    while True:
        shutil.copyfile(image, copy)
        if filecmp.cmp(image, copy, shallow=False):
            return


def check_image(image: Path, folder: Path, done: list[str]) -> str:
    """Mount a copy as a board would, heal, and check; returns what `current` is. `done` are the digests reported before the cut."""
    subprocess.run(["mount", "-o", "loop", str(image), str(folder)], check=True, capture_output=True)
    try:
        tree = Tree(str(folder / "root"))
        app = App(tree, "app")
        torn = app.current()
        assert torn is None or _is_complete(app, torn), "torn before healing"
        heal(tree)
        current = app.current()
        assert current == torn
        assert [entry["digest"] for entry in app.history()][-1:] == ([current] if current else [])
        assert app.linked_previous() == app.previous()
        assert all(_is_complete(app, digest) for digest in names(app.releases))
        assert all(of_file(tree.blob(digest))[0] == digest for digest in names(tree.blobs))
        assert not list(folder.rglob(".tmp-*"))
        if not done:
            return "first" if current else "none"
        assert current is not None, "what was reported is gone"
        return (
            "old"
            if current == done[-1]
            else "new"
            if current not in done
            else pytest.fail("went back behind what was reported")
        )
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _is_complete(app: App, digest: str) -> bool:
    folder = app.release(digest)
    manifest = release.read(folder)
    return (
        manifest is not None
        and file_bytes(f"{folder}/manifest.json") is not None
        and release.broken_file(folder, manifest) is None
    )


@pytest.mark.timeout(600)
def test_a_power_cut_at_any_moment_leaves_a_whole_release(disk: tuple[Path, Path], tmp_path: Path) -> None:
    image, folder = disk
    seed = random.randrange(2**32)  # noqa: S311
    moments = random.Random(seed)  # noqa: S311
    argv = [sys.executable, "-I", str(WRITER), str(Path(edgeopt_agent.__file__).parent.parent), str(folder / "root")]
    writer = subprocess.Popen(argv, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    os.set_blocking(writer.stdout.fileno(), False)
    said, found = b"", []
    copy, mounted = tmp_path / "cut.img", tmp_path / "cut"
    mounted.mkdir()
    try:
        for number in range(CUTS):
            time.sleep(moments.uniform(0, LONGEST_GAP_S))
            writer.send_signal(signal.SIGSTOP)
            wait_until_stopped(writer.pid)
            freeze(image, copy)
            said = reported(writer.stdout.fileno(), said)
            try:
                found.append(check_image(copy, mounted, re.findall("[0-9a-f]{64}", said.decode())))
            except (AssertionError, subprocess.CalledProcessError) as error:
                pytest.fail(f"cut {number} with seed {seed}: {error}")
            writer.send_signal(signal.SIGCONT)
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()
    assert len(found) == CUTS
    assert "old" in found
