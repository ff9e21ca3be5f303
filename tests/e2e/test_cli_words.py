"""What the commands say to people and to scripts, in every form: words, questions, bars, one JSON object."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import onnx
import pytest
from jsonschema import validate
from onnx import TensorProto, helper

from tests import models
from tests.e2e.conftest import QUICK, Computer, schema_of

pytestmark = pytest.mark.e2e
BENCH = ("bench", "model.onnx", "--samples", "samples", "--device", "board", "--min-agreement", "0.5", *QUICK)


def one_object(done: subprocess.CompletedProcess[str], *args: str) -> Any:
    """The only thing on stdout; what more there were would not parse."""
    document = json.loads(done.stdout)
    validate(document, schema_of(args))
    return document


def on_a_terminal(computer: Computer, *args: str, typed: str = "") -> str:
    """Run a command on a terminal, type into it, and return everything that it showed."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"EDGEOPT_HOME": str(computer.home), "TERM": "xterm", "COLUMNS": "100"}
    argv = [sys.executable, "-m", "edgeopt.cli.main", *args]
    process = subprocess.Popen(
        argv, cwd=computer.project, env=environment, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    os.write(ours, typed.encode())
    shown, ends = b"", time.monotonic() + 120
    while time.monotonic() < ends and select.select([ours], [], [], 120)[0]:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the terminal has no other end any more
            break
        shown += data
    os.close(ours)
    assert process.wait(timeout=60) == 0, shown.decode()
    return shown.decode()


def test_help_shows_the_first_commands_on_lines_of_their_own(computer: Computer) -> None:
    lines = [line.strip() for line in computer.ok("--help").splitlines()]

    assert "First time:     edgeopt init" in lines
    assert "edgeopt deploy --device pi4" in lines


@pytest.mark.parametrize(
    "args",
    [
        ("bogus",),
        ("deploy", "--bogus"),
        ("device", "trust"),
        ("bench", "--rounds", "x"),
        ("pick", "--weights", "speed=1"),
        ("pick", "--weights", "latency=0"),
    ],
)
def test_a_wrong_command_line_has_its_word_and_the_way_to_help(computer: Computer, args: tuple[str, ...]) -> None:
    assert "--help" in computer.fails(2, "usage", *args)
    done = computer.run(*args, "--json")
    assert one_object(done, "error")["error"]["code"] == "usage"


def test_a_goal_that_is_not_met_is_still_one_object(computer: Computer) -> None:
    """The object says so itself; the exit code and stderr say it again."""
    computer.json(*BENCH, "--recipes", "original")

    done = computer.run("pick", "last", "--max-size-mb", "0.000001", "--json")

    assert done.returncode == 1
    assert one_object(done, "pick")["status"] == "goal-not-met"
    assert "error[goal-not-met]" in done.stderr


def test_a_model_that_cannot_run_is_not_advised_to_run_longer(computer: Computer) -> None:
    """Random numbers are no shape: every candidate fails, and more of the same does not help."""
    reshape = models.make(
        [helper.make_node("Expand", ["x", "shape"], ["y"])],
        [models.value("x", [3]), helper.make_tensor_value_info("shape", TensorProto.INT64, [2])],
        [models.value("y", ["a", "b"])],
    )
    onnx.save(reshape, computer.project / "reshape.onnx")

    said = computer.fails(3, "inconclusive", "bench", "reshape.onnx", "--device", "board", *QUICK)

    assert "invalid expand shape" in said
    assert "needs --samples" in said
    assert "--rounds" not in said


def test_a_board_that_is_not_ready_is_still_one_object(computer: Computer) -> None:
    computer.ok("device", "add", "dead", "--profile", "pi4", "--address", "ssh://pi@127.0.0.1:9")

    done = computer.run("doctor", "--device", "dead", "--json")

    assert done.returncode == 4
    assert [f["state"] for f in one_object(done, "doctor")["findings"]] == ["fail"]
    assert "error[not-ready]" in done.stderr


def test_every_command_that_only_looks_keeps_to_its_schema(computer: Computer) -> None:
    """`computer.json` checks the one object of each against docs/schemas."""
    assert computer.json("device", "list")["devices"][0]["name"] == "board"
    assert computer.json("device", "show", "local")["device"]["profile"] == "local"
    added = computer.json("device", "add", "pi", "--profile", "pi4", "--address", "ssh://pi", "--threads", "1,0")
    assert added["device"]["threads"] == [1, 0]
    assert computer.json("device", "remove", "pi")["removed"] == "pi"
    assert len(computer.json("profiles")["profiles"]) > 5
    assert computer.json("runs", "list")["runs"] == []
    assert computer.json("compile", "model.onnx", "--recipes", "original,clean")["variants"][1]["name"] == "clean"
    assert computer.json("status", "--device", "board")["status"]["apps"] == []
    written = computer.json("init")
    assert written["file"] == str(computer.project / "edgeopt.toml")
    assert written["next"][-1] == "edgeopt deploy --device local"


def test_a_saved_run_is_listed_and_shown(computer: Computer) -> None:
    """By `last`, by its name, by the beginning of it."""
    assert "No runs yet" in computer.ok("runs", "list")
    run = computer.json(*BENCH, "--recipes", "original")["run"]

    assert computer.json("runs", "list")["runs"][0]["id"] == run
    assert run in computer.ok("runs", "list", "--device", "board")
    assert run not in computer.ok("runs", "list", "--device", "other")
    assert f"run {run}" in computer.ok("runs", "show")
    assert computer.json("runs", "show", run[:12])["run"] == run
    assert computer.json("runs", "show", run, "--raw")["id"] == run
    computer.fails(2, "unknown-run", "runs", "show", "19990101")


def test_status_and_rollback_are_told_in_words(computer: Computer) -> None:
    """Two releases, the last on top; after the way back, the other one; a third deploy of what is there is no third release."""
    deploy = ("deploy", *BENCH[1:], "--app", "parts")
    assert "nothing is installed" in computer.ok("status", "--device", "board")
    computer.ok(*deploy, "--recipes", "original")
    assert "no other release to go back to" in computer.fails(4, "no-previous", "rollback", "--device", "board")
    computer.ok(*deploy, "--recipes", "original,clean", "--objective", "size")

    before = computer.ok("status", "--device", "board").splitlines()
    said = computer.ok("rollback", "--device", "board", "--app", "parts")
    after = computer.ok("status", "--device", "board").splitlines()

    assert before[0] == after[0] == "parts: files verified"
    assert before[1].endswith("current")
    assert before[2].endswith("previous")
    assert before[2].split()[0] == after[1].split()[0] == re.findall(r"release ([0-9a-f]{12})", said)[0]
    computer.fails(4, "not-installed", "rollback", "--device", "board", "--app", "nothing")


def test_a_damaged_release_is_said_and_the_next_deploy_mends_it(computer: Computer) -> None:
    deploy = ("deploy", *BENCH[1:], "--app", "parts", "--recipes", "original")
    computer.ok(*deploy)
    (model,) = computer.board_root.glob("apps/parts/current/*.onnx")
    model.chmod(0o644)
    model.write_bytes(b"bit rot")

    assert "FILES DAMAGED" in computer.ok("status", "--device", "board")
    computer.ok(*deploy)
    assert "files verified" in computer.ok("status", "--device", "board")


def test_one_profile_is_shown_with_its_facts(computer: Computer) -> None:
    said = computer.ok("profiles", "show", "pi4")

    assert "  cores: 4 x Cortex-A72 at 1.8 GHz" in said.splitlines()
    assert computer.ok("profiles", "pi4") == said
    assert computer.ok("profiles", "list") == computer.ok("profiles")
    computer.fails(2, "unknown-profile", "profiles", "show", "pi99")
    computer.fails(2, "unknown-profile", "profiles", "pi99")


def test_the_plan_names_what_would_be_left_out(computer: Computer) -> None:
    said = computer.ok("deploy", *BENCH[1:], "--profile", "pi4", "--recipes", "original,fp16", "--dry-run")

    assert "fp16" in said
    assert "minutes of the board" in said
    assert "Nothing was touched" in said


def test_init_asks_and_writes_the_answers(computer: Computer) -> None:
    """Five questions; an empty answer takes what was found."""
    shown = on_a_terminal(computer, "init", typed="\n\npi4\nsize\n0.9\n")

    text = (computer.project / "edgeopt.toml").read_text()
    assert re.search(r'^model = "model.onnx"', text, re.MULTILINE)
    assert re.search(r'^samples = "samples"', text, re.MULTILINE)
    assert re.search(r'^devices = \["pi4"\]', text, re.MULTILINE)
    assert re.search(r'^objective = "size"', text, re.MULTILINE)
    assert re.search(r"^min_agreement = 0.9 ", text, re.MULTILINE)
    assert "Next: edgeopt device add pi4" in shown


def test_a_terminal_is_shown_bars_and_notes(computer: Computer) -> None:
    """On a terminal what takes long has a bar; the result is the same table."""
    shown = on_a_terminal(computer, *BENCH, "--recipes", "original,clean")

    assert "\u2501" in shown
    assert "measure on board" in shown
    assert "original@all" in shown


def test_names_in_a_model_cannot_steer_the_terminal(computer: Computer) -> None:
    hostile = models.classifier()
    usual, name = hostile.graph.input[0].name, "\x1b[31mx"
    for node in hostile.graph.node:
        node.input[:] = [name if found == usual else found for found in node.input]
    hostile.graph.input[0].name = name
    onnx.save(hostile, computer.project / "hostile.onnx")

    done = computer.run("inspect", "hostile.onnx")

    assert "[31mx" in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_a_reader_that_goes_away_is_no_fault(computer: Computer) -> None:
    """`edgeopt ... | head -1` ends quietly."""
    script = f"{sys.executable} -m edgeopt.cli.main profiles --json | true"
    environment = os.environ | {"EDGEOPT_HOME": str(computer.home)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)

    assert done.stderr == ""


BROKEN = """
import sys, types, click
from edgeopt.cli import main
module = types.ModuleType("broken")
module.command = click.Command("broken", callback=lambda: [][1])
sys.modules["broken"] = module
main.COMMANDS["broken"] = ("broken", "")
sys.argv = ["edgeopt", "broken"]
main.main()
"""


def test_a_fault_of_edgeopt_is_a_sentence_unless_the_developer_asks(tmp_path: Path) -> None:
    """A command with a bug in it: what it was and how to see where, exit 4; the traceback only with EDGEOPT_DEBUG."""
    argv = [sys.executable, "-c", BROKEN]
    environment = {k: v for k, v in os.environ.items() if k != "EDGEOPT_DEBUG"}
    quiet = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    loud = subprocess.run(argv, env=environment | {"EDGEOPT_DEBUG": "1"}, capture_output=True, text=True, check=False)

    assert quiet.returncode == 4
    assert quiet.stderr.startswith("error[internal]: edgeopt has a fault: IndexError")
    assert "EDGEOPT_DEBUG=1" in quiet.stderr
    assert "Traceback" in loud.stderr


def test_settings_are_compared_before_the_rounds_and_the_run_says_so(computer: Computer) -> None:
    """On a machine with one core there is nothing to compare; elsewhere any of them may win."""
    document = computer.json(*BENCH, "--recipes", "original", "--settings", "auto")

    raw = computer.json("runs", "show", "last", "--raw")
    tried = {block["candidate"].split("@")[1] for block in raw["screen_blocks"]}
    left = {c["id"].split("@")[1] for c in raw["candidates"]}
    assert left
    assert tried == (left | set(document["pruned_settings"]) if tried else set())
    assert raw["plan"]["settings"] == "auto"
    checked = {check["candidate"] for check in raw["output_checks"]}
    assert {c["id"] for c in raw["candidates"]} == checked


def test_naming_threads_leaves_the_settings_alone(computer: Computer) -> None:
    computer.ok(*BENCH, "--recipes", "original", "--settings", "auto", "--threads", "1")

    raw = computer.json("runs", "show", "last", "--raw")
    assert [c["id"] for c in raw["candidates"]] == ["original@1"]
    assert raw["screen_blocks"] == []


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("offline", "--streams", "2"), "throughput"),
        (("multi-stream", "--streams", "2"), "throughput"),
        (("fixed-rate", "--rate", "200"), "late_share"),
    ],
)
def test_a_scenario_has_its_own_figure_and_is_a_condition(
    computer: Computer, words: tuple[str, ...], field: str
) -> None:
    document = computer.json(*BENCH, "--recipes", "original", "--scenario", *words)

    (summary,) = document["candidates"]
    assert summary[field] is not None
    assert summary["p50_ms"] > 0
    assert document["conditions"]["scenario"] == words[0]


def test_a_fixed_rate_without_a_rate_is_refused(computer: Computer) -> None:
    said = computer.fails(2, "config-invalid", *BENCH, "--scenario", "fixed-rate")
    assert "--rate 30" in said


def test_what_the_board_keeps_up_is_measured_of_the_pick_and_its_original(computer: Computer) -> None:
    document = computer.json(*BENCH, "--recipes", "original", "--sustained", "0.05")

    (kept,) = document["sustained"]
    assert kept["candidate"] == "original@all"
    assert kept["sustained_ns"] > 0
    assert kept["ended"] == "limit"
    assert "sustained: original@all takes" in computer.ok("runs", "show", "last")
