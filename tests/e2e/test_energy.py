"""Energy from end to end: the true command line, agent and runtime, on a board whose sensor is a folder that follows what runs."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent import power_trees as trees
from tests.e2e.conftest import QUICK, Computer

pytestmark = pytest.mark.e2e

REST_MA, WORK_MA, VOLTS = 600, 1000, 5
BENCH = ("bench", "model.onnx", "--samples", "samples", "--min-agreement", "0.5", "--recipes", "original", *QUICK)


def is_working(folder: Path) -> bool:
    """Whether a block of the board in this folder runs."""
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            command = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if b"block-child" in command and os.fsencode(folder) in command:
                return True
    return False


@pytest.fixture
def rail(tmp_path: Path) -> Iterator[Path]:
    """A board's /sys, with an INA3221 whose input draws 3 W at rest and 5 W while a block runs, and never quite the same."""
    root = tmp_path / "sysfs"
    trees.orin_nano(root)
    path = root / "sys/class/hwmon/hwmon1/curr1_input"
    end = threading.Event()

    def follow() -> None:
        flicker = 1
        while not end.wait(0.02):
            flicker = -flicker
            fresh = path.with_suffix(".new")
            fresh.write_text(f"{(WORK_MA if is_working(tmp_path) else REST_MA) + flicker}\n")
            fresh.replace(path)

    thread = threading.Thread(target=follow)
    thread.start()
    yield root
    end.set()
    thread.join()


def python_with(folder: Path, sysfs_root: Path) -> Path:
    """An interpreter that starts agents with their sensors in another folder."""
    path = folder / "python3-of-the-board"
    path.write_text(
        f'#!/bin/sh\ncase " $* " in\n*" serve "*) exec {sys.executable} "$@" --sysfs-root {sysfs_root} ;;\nesac\nexec {sys.executable} "$@"\n'
    )
    path.chmod(0o755)
    return path


def test_energy_is_measured_ranked_shown_and_kept_raw(computer: Computer, rail: Path, tmp_path: Path) -> None:
    python = python_with(tmp_path, rail)
    options = ("--profile", "local", "--address", "local:", "--root", str(tmp_path / "b"), "--python", str(python))
    computer.ok("device", "add", "powered", *options)
    (computer.project / "energy.toml").write_text("[measure]\nenergy_rounds = 1\n")

    document = computer.json(*BENCH, "--device", "powered", "--objective", "energy", "--config", "energy.toml")

    assert document["status"] == "picked"
    (candidate,) = document["candidates"]
    energy = candidate["energy"]
    assert (energy["class"], energy["sensor"], energy["windows"], energy["invalid"]) == ("B", "ina3221", 1, 0)
    assert energy["idle_w"] == pytest.approx(VOLTS * REST_MA / 1000, rel=0.01)
    assert energy["load_w"] == pytest.approx(VOLTS * WORK_MA / 1000, rel=0.01)
    assert (
        candidate["energy_mj"]
        == energy["net_mj"]["value"]
        == pytest.approx(energy["gross_mj"]["value"] * 2 / 5, rel=0.02)
    )

    raw = computer.json("runs", "show", "last", "--raw")
    (window,) = raw["energy_windows"]
    seconds = (window["load_ns"][1] - window["load_ns"][0]) / 1e9
    assert seconds >= 10
    assert energy["gross_mj"]["value"] == pytest.approx(5 * seconds / window["inferences"] * 1e3, rel=0.01)
    assert raw["energy_sensor"]["name"] == "ina3221"

    said = computer.ok("pick", "last", "--objective", "energy")
    assert "ina3221 (class B)" in said
    assert "W at work" in said


def test_a_dry_run_tells_the_time_of_the_windows(computer: Computer) -> None:
    plan = ("deploy", "model.onnx", "--samples", "samples", "--device", "board", "--recipes", "original", "--dry-run")
    without, with_energy = (computer.json(*plan, *more)["plan"] for more in ((), ("--energy",)))
    windows = 3 * with_energy["candidates"]
    assert with_energy["device_seconds"] - without["device_seconds"] == pytest.approx(21.5 * windows)


def test_a_meter_is_named_with_the_board(computer: Computer, tmp_path: Path) -> None:
    options = ("device", "add", "plugged", "--profile", "local", "--address", "local:", "--root", str(tmp_path / "b"))
    computer.fails(2, "config-invalid", *options, "--meter", "http://192.168.1.20")
    assert computer.json(*options, "--meter", "tasmota://127.0.0.1:9")["device"]["meter"] == "tasmota://127.0.0.1:9"
    said = computer.fails(4, "meter", *BENCH, "--device", "plugged", "--energy")
    assert "does not answer" in said


def test_without_a_sensor_one_sentence_says_so(computer: Computer, tmp_path: Path) -> None:
    python = python_with(tmp_path, tmp_path / "nothing")
    options = ("--profile", "local", "--address", "local:", "--root", str(tmp_path / "b"), "--python", str(python))
    computer.ok("device", "add", "bare", *options)
    said = computer.ok(*BENCH, "--device", "bare", "--energy")
    assert said.count("energy: not measured") == 1
    assert os.linesep.join(line for line in said.splitlines() if "INA226" in line)
