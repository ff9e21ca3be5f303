"""The plug is pulled in mid-switch: QEMU is killed, and whatever its disk holds then is booted again."""

from __future__ import annotations

import json
import random
import shlex
import subprocess
import time
from typing import Any

import numpy as np
import pytest

from tests.e2e.conftest import AS_AN_APPLICATION
from tests.hil.arm_loop import APP, DEPLOY, Arm, Deployed

pytestmark = [pytest.mark.qemu, pytest.mark.e2e, pytest.mark.xdist_group("arm"), pytest.mark.timeout(1800)]

SWITCHER = f"""{AS_AN_APPLICATION}
import itertools
from edgeopt_agent.app_state import App
from edgeopt_agent.tree import Tree
app = App(Tree(os.path.expanduser("~/.edgeopt")), sys.argv[1])
for number in itertools.count(1):
    app.switch(sys.argv[2 + number % 2], {{"number": number}})
    print(number, flush=True)
"""


def is_whole(arm: Arm, app: str = APP) -> Any:
    """The app's files are right, it can be used, and it is the release that edgeopt says it is; returns what `status` says of it."""
    found = arm.installed("arm", app)
    variant, answer, expected = arm.application(app)
    assert found["healthy_files"]
    assert variant == {r["digest"]: r["variant"] for r in found["releases"]}[found["current"]]
    np.testing.assert_allclose(answer, expected, atol=0.05)
    return found


def cut_while_switching(deployed: Deployed, after_s: float) -> None:
    """Let the agent switch there and back, pull the plug, boot, and look."""
    guest = deployed.arm.guest
    script = f"python3 -I -c {shlex.quote(SWITCHER)} {APP} {' '.join(deployed.releases)}"
    with subprocess.Popen(guest.ssh_argv("pi", script), stdout=subprocess.PIPE, text=True) as switching:
        assert switching.stdout is not None
        assert switching.stdout.readline() == "1\n"
        time.sleep(after_s)
        guest.power_cut()
        reported = int(["1", *switching.stdout.read().split()][-1])
    guest.boot()
    # As it was left, before any agent has healed it: this is what an application finds that starts with the board.
    left = guest.user(f"readlink .edgeopt/apps/{APP}/current; cat .edgeopt/apps/{APP}/state.json").stdout
    link, _, state = left.partition("\n")
    last = json.loads(state)["history"][-1]["by"]["number"]
    assert last in (reported, reported + 1), f"{reported} was reported done, the disk has {last}"
    assert link in {f"releases/{deployed.releases[n % 2]}" for n in (reported, last)}
    found = is_whole(deployed.arm)
    assert f"releases/{found['current']}" == link
    assert {found["current"], found["previous"]} == set(deployed.releases)


CUTS = 3


def test_a_power_cut_in_mid_switch_leaves_the_old_release_or_the_new_one(deployed: Deployed) -> None:
    seed = random.randrange(2**32)  # noqa: S311
    moments = random.Random(seed)  # noqa: S311
    for number in range(CUTS):
        # Several switches long, so that cuts fall everywhere in one.
        after_s = moments.uniform(0.05, 1.0)
        try:
            cut_while_switching(deployed, after_s)
        except AssertionError as error:
            pytest.fail(f"cut {number} of seed {seed}, {after_s:.3f} s after the first switch: {error}")


def test_what_rollback_said_is_done_is_still_so_after_a_power_cut(deployed: Deployed) -> None:
    digest = deployed.arm.json("rollback", "--device", "arm", "--app", APP)["release"]["digest"]
    deployed.arm.guest.power_cut()
    deployed.arm.guest.boot()

    assert is_whole(deployed.arm)["current"] == digest


def test_a_power_cut_in_a_deploy_ends_it_and_the_next_one_goes_through(deployed: Deployed) -> None:
    """The real command, cut where the board shows that it puts the release together."""
    arm, guest = deployed.arm, deployed.arm.guest
    before = arm.deploy("--recipes", "original", app="deploy")["release"]["digest"]
    # Without a process a look: the folder is not there for long.
    watch = 'until set -- .edgeopt/apps/deploy/releases/.tmp-* && [ -e "$1" ]; do :; done'
    smaller = ("--recipes", "original,int8-static", "--objective", "size")
    with (
        subprocess.Popen(guest.ssh_argv("pi", watch), stdin=subprocess.DEVNULL) as watching,
        arm.started(*DEPLOY, "--app", "deploy", *smaller) as deploying,
    ):
        assert watching.wait(timeout=900) == 0
        guest.power_cut()
        _, said = deploying.communicate(timeout=300)
    assert deploying.returncode == 4, said
    assert "Traceback" not in said
    guest.boot()

    assert is_whole(arm, "deploy")["current"] == before
    again = arm.deploy(*smaller, app="deploy")["release"]["digest"]
    assert is_whole(arm, "deploy")["current"] == again != before
