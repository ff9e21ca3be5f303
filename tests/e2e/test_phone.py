"""The whole loop on a phone of the tests' own: the real adb client, the true command line, and programs that stand in for those of a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests import models
from tests.e2e.conftest import QUICK, Computer, write_samples
from tests.fakes.adbd import Phone, adb_server, start_phone
from tests.fakes.phone_programs import equip, write_script

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("adb loop")]


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    made = start_phone(tmp_path_factory.mktemp("phone") / "files")
    equip(made)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def computer(phone: Phone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """A project, and a phone in the inventory with the programs that its user brings."""
    folder = tmp_path_factory.mktemp("computer")
    project = folder / "project"
    project.mkdir()
    onnx.save(models.classifier(), project / "model.onnx")
    write_samples(project / "samples")
    # Only the shell can start it: the figures are made up, everything around them is not.
    program = write_script(folder / "bin")
    with adb_server(folder / "adb") as server:
        made = Computer(
            home=folder / "edgeopt", project=project, board_root=Path(phone.root), environment=server.environment
        )
        made.ok(
            "device",
            "add",
            "phone",
            "--profile",
            "android-arm64",
            "--address",
            phone.address,
            "--root",
            phone.root,
            "--command",
            str(program),
        )
        yield made


DEPLOY = ("deploy", "model.onnx", "--device", "phone", "--samples", "samples", "--app", "app", *QUICK)


def release_of(phone: Phone) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(phone.root) / "apps/app/current/manifest.json").read_text())
    return found


def test_the_whole_loop(computer: Computer, phone: Phone) -> None:
    """From a phone that lacks a program to a release and back; one test, as each part needs the one before."""
    said = computer.fails(4, "not-ready", "doctor", "--device", "phone")
    assert "--command" in said
    assert "edgeopt device setup phone" in computer.fails(4, "runtime-missing", *DEPLOY)
    planned = computer.json("device", "setup", "phone", "--plan")["setup"]
    done = computer.json("device", "setup", "phone")["setup"]
    assert planned["to_send_bytes"] == done["to_send_bytes"] > 0
    assert [one["runtime"] for one in done["runtimes"]] == ["command"]
    doctor = {f["subject"]: f for f in computer.json("doctor", "--device", "phone")["findings"]}
    assert "Fake Phone, Android 14" in doctor["phone"]["found"]
    assert doctor["battery"]["state"] == "ok"

    # onnxruntime_perf_test alone gives no answers: what it would install nobody could check.
    only_onnx = (*DEPLOY, "--recipes", "clean", "--runtimes", "onnxruntime")
    assert "--accept-unchecked" in computer.fails(4, "unchecked", *only_onnx)
    first = computer.json(*only_onnx, "--accept-unchecked")
    assert first["release"]["app"] == "app"
    assert release_of(phone)["probe"]["outputs"] is None
    there = computer.json("status", "--device", "phone")["status"]["apps"][0]
    assert there["healthy_files"]

    raw = computer.json("runs", "show", "last", "--raw")
    blocks = [block for block in raw["blocks"] if block["failure"] is None]
    assert blocks
    for block in blocks:
        assert block["conditions_after"]["temperature_c"]["BIG"] == 42.5
        assert block["latencies_are"] == "each"
        assert block["load_ns"] > 0
        assert block["peak_rss_bytes"] > 1 << 20
    assert all("does not give the network's answers" in check["unchecked"] for check in raw["output_checks"])
    assert "SECRETSERIAL" not in json.dumps(raw)

    first = (Path(phone.root) / "apps/app/current").readlink()
    computer.ok(*DEPLOY, "--recipes", "clean", "--runtimes", "onnxruntime", "--accept-unchecked")
    assert (Path(phone.root) / "apps/app/current").readlink() != first
    computer.ok("rollback", "--device", "phone")
    assert (Path(phone.root) / "apps/app/current").readlink() == first
