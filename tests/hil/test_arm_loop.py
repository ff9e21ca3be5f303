"""The loop on ARM: another instruction set, another libc's wheels, another kernel, reached over a real SSH server."""

from __future__ import annotations

import numpy as np
import pytest

from tests.hil.arm_loop import APP, Bare, Deployed

pytestmark = [pytest.mark.qemu, pytest.mark.e2e, pytest.mark.xdist_group("arm"), pytest.mark.timeout(1200)]


def test_a_bare_guest_lacks_the_runtime_and_doctor_says_what_to_do(bare: Bare) -> None:
    runtime = bare.findings["runtime"]

    assert runtime["state"] == "fail"
    assert "cpython 3." in runtime["found"]
    assert "aarch64 with glibc" in runtime["found"]
    assert runtime["advice"] == "Run: edgeopt device setup arm"


def test_setup_brings_wheels_of_the_guests_kind(deployed: Deployed) -> None:
    """The guest has neither pip nor a way to any index."""
    (runtime,) = deployed.setup["runtimes"]

    assert runtime["wheels"]
    assert all(wheel.endswith("_aarch64.whl") for wheel in runtime["wheels"])
    assert runtime["shipped"]["sent_bytes"] == deployed.setup["to_send_bytes"] > 10_000_000


WORDS = "its device tree says linux,dummy-virt"


def test_doctor_says_that_it_is_no_board(bare: Bare) -> None:
    assert f"a virtual machine ({WORDS})" in bare.findings["board"]["advice"]


def test_emulated_times_do_not_pass_for_a_boards(deployed: Deployed) -> None:
    assert deployed.first["conditions"]["virtual"] == WORDS
    table = deployed.arm.ok("runs", "show", deployed.first["run"])
    assert "these times say nothing about a board" in " ".join(table.split())


def test_int8_is_written_for_arm_and_answers_there_as_the_original_does_here(deployed: Deployed) -> None:
    (variant,) = [v for v in deployed.first["variants"] if v["name"] == "int8-static"]
    agreement = {c["variant"]: (c["agreement"], c["agreement_where"]) for c in deployed.first["candidates"]}

    assert variant["encoding"] == "int8 S8S8 per-channel"
    assert agreement["original"] == (1.0, "device")
    assert agreement["int8-static"][1] == "device"
    assert agreement["int8-static"][0] >= 0.9
    assert deployed.first["conditions"]["machine"] == "aarch64"


def test_back_to_the_release_before_and_the_application_runs_it(deployed: Deployed) -> None:
    arm = deployed.arm
    back = arm.json("rollback", "--device", "arm", "--app", APP)["release"]
    app = arm.installed("arm", APP)
    variant, answer, expected = arm.application()

    assert back["digest"] == app["current"]
    assert {app["current"], app["previous"]} == set(deployed.releases)
    assert app["healthy_files"]
    assert variant == {r["digest"]: r["variant"] for r in app["releases"]}[app["current"]]
    # int8 is off by a few steps of its scale, the original by the order of its additions.
    np.testing.assert_allclose(answer, expected, atol=1e-5 if variant == "original" else 0.05)


def test_three_runtimes_stand_in_one_table_with_answers_of_the_guest(deployed: Deployed) -> None:
    arm = deployed.arm
    arm.set_up("litert", "ncnn")
    deploy = arm.deploy("--recipes", "original,litert,litert-int8,ncnn,ncnn-int8", app="three")
    runtime = {v["name"]: v["runtime"] for v in deploy["variants"] if v["status"] == "built"}
    measured = {c["variant"]: c for c in deploy["candidates"]}
    variant, answer, expected = arm.application("three")

    assert {runtime[name] for name in measured} == {"onnxruntime", "litert", "ncnn"}
    assert {c["agreement_where"] for c in measured.values()} == {"device"}
    assert all(c["agreement"] == 1.0 for c in measured.values() if not c["variant"].endswith("int8"))
    assert variant == deploy["pick"]["variant"]
    np.testing.assert_allclose(answer, expected, atol=0.05)


def test_edgeopt_leaves_nothing_but_its_folder_in_the_users_home(deployed: Deployed) -> None:
    assert sorted(deployed.arm.guest.user("ls -A").stdout.split()) == [".edgeopt", ".ssh"]
