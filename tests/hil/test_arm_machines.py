"""Other ARM machines than a Cortex-A72: dot products, a Raspberry Pi 3 with its SD card, a device tree that says Raspberry Pi 4, little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import models
from tests.hil.arm_guest import A76, PI3, PI4_TREE, SMALL, Guest, Machine, boot
from tests.hil.arm_image import ArmImage
from tests.hil.arm_loop import APP, DEPLOY, Arm, make_arm

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.e2e,
    pytest.mark.xdist_group("arm-machines"),
    pytest.mark.timeout(1800),
    pytest.mark.usefixtures("full"),
]

Start = Callable[[Machine, str], Arm]


@pytest.fixture
def start(image: ArmImage, tmp_path: Path) -> Iterator[Start]:
    """Boots a machine and puts it into the inventory under a profile, trusted."""
    guests: list[Guest] = []

    def started(machine: Machine, profile: str) -> Arm:
        guests.append(boot(image, tmp_path / machine.name, machine))
        arm = make_arm(tmp_path / "computer", guests[-1], profile)
        arm.ok("device", "trust", "arm", "--yes")
        return arm

    yield started
    for guest in guests:
        guest.stop()


def test_a_core_with_dot_products_is_seen_and_its_kernels_are_right(start: Start) -> None:
    """ONNX Runtime takes other int8 kernels there than on a Cortex-A72."""
    arm = start(A76, "generic-aarch64")
    assert arm.findings()["isa"]["found"] == "asimddp, asimdhp"

    arm.set_up("onnxruntime")
    deploy = arm.deploy("--recipes", "original,int8-static", "--objective", "size")
    agreement = {c["variant"]: c["agreement"] for c in deploy["candidates"]}
    variant, answer, expected = arm.application()

    assert agreement["original"] == 1.0
    assert agreement["int8-static"] >= 0.9
    assert variant == deploy["pick"]["variant"]
    np.testing.assert_allclose(answer, expected, atol=0.05)


def test_a_device_tree_of_a_raspberry_pi_4_is_recognised_and_still_a_virtual_machine(start: Start) -> None:
    arm = start(PI4_TREE, "pi4")
    board = arm.findings()["board"]
    given = ("--address", arm.guest.address, "--identity", str(arm.guest.identity))
    arm.ok("device", "add", "arm", "--profile", "pi5", *given, "--replace")
    wrong = arm.findings()["board"]

    assert board["found"].startswith("Raspberry Pi 4 Model B Rev 1.4, 2 cores")
    assert board["advice"].startswith("This is a virtual machine")
    assert "It looks like `pi4`, the inventory says `pi5`" in wrong["advice"]


def test_a_raspberry_pi_3_with_its_sd_card_runs_the_loop(start: Start) -> None:
    """Its clock stands at 1970, as that of a board without a battery does."""
    arm = start(PI3, "pi3")
    found = arm.findings()
    arm.set_up("onnxruntime")
    deploy = arm.deploy("--recipes", "original")

    assert found["board"]["found"].startswith("Raspberry Pi 3 Model B, 4 cores")
    assert found["board"]["advice"].endswith("(its SD card is called QEMU!): its times say nothing about a board.")
    assert found["clock"]["state"] == "warn"
    assert deploy["candidates"][0]["agreement"] == 1.0
    assert arm.installed("arm", APP)["current"] == deploy["release"]["digest"]


def test_256_mb_are_enough_for_a_small_model_and_a_large_one_is_refused_before_it_is_built(start: Start) -> None:
    arm = start(SMALL, "generic-aarch64")
    arm.set_up("onnxruntime")
    deploy = arm.deploy("--recipes", "original")
    onnx.save(models.wide_classifier(240_000), arm.project / "model.onnx")
    said = arm.fails(4, "memory-too-small", *DEPLOY, "--recipes", "original")

    assert deploy["candidates"][0]["agreement"] == 1.0
    assert "does not fit" in said
    assert arm.installed("arm", APP)["current"] == deploy["release"]["digest"]
