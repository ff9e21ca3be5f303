"""The commands of the README, run as a user runs them, with the true agent on a board that is a folder of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import onnx
import pytest
from jsonschema import validate
from onnx import TensorProto, helper

from tests import models
from tests.e2e.conftest import QUICK, Computer, write_samples

pytestmark = pytest.mark.e2e
SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
DEPLOY = (
    "deploy",
    "model.onnx",
    "--samples",
    "samples",
    "--device",
    "board",
    "--app",
    "app",
    "--min-agreement",
    "0.5",
    *QUICK,
)


def schema(name: str) -> dict[str, object]:
    loaded: dict[str, object] = json.loads((SCHEMAS / f"{name}.json").read_text())
    return loaded


def test_deploy_status_rollback_and_load(computer: Computer) -> None:
    """The whole loop: two deploys, the first in two rounds, what is installed, back to the first, and the application's own view."""
    first = computer.json(*DEPLOY, "--recipes", "original,clean", "--rounds", "2")
    second = computer.json(*DEPLOY, "--recipes", "original,int8-static", "--objective", "size")
    assert first["release"]["digest"] != second["release"]["digest"]

    status = computer.json("status", "--device", "board")["status"]["apps"][0]
    assert status["current"] == second["release"]["digest"]
    assert status["previous"] == first["release"]["digest"]
    assert status["healthy_files"]

    back = computer.json("rollback", "--device", "board")["release"]
    assert back["digest"] == first["release"]["digest"]

    script = (
        f"import sys; sys.path.insert(0, {str(computer.board_root / 'agent' / 'edgeopt_agent.pyz')!r})\n"
        f"import numpy as np; from edgeopt_agent import load\n"
        f"print(load('app', root={str(computer.board_root)!r})(np.zeros((1, 3, 8, 8), 'float32'))[0].shape)"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "(1, 5)\n"
    )


def test_every_runtime_races_in_one_table_and_the_application_opens_what_won(computer: Computer) -> None:
    """LiteRT's process is far smaller than the others', so its file is the pick, by measurement."""
    runtimes = ("openvino", "litert", "ncnn")
    for module in ("openvino", "ai_edge_litert", "ncnn", "pnnx"):
        pytest.importorskip(module)
    quick = [word for word in QUICK if word not in ("--runtimes", "onnxruntime")]
    told = ("--samples", "samples", "--device", "board", "--app", "app", "--min-agreement", "0.5")
    document = computer.json(
        "deploy", "model.onnx", *told, *quick, "--recipes", ",".join(runtimes), "--objective", "memory"
    )
    found = {summary["variant"]: summary for summary in document["candidates"]}
    assert set(found) == {"original", *runtimes}
    assert all(found[name]["agreement"] == 1.0 for name in runtimes), "the device's own answers"
    assert all(found[name]["p50_ms"] > 0 for name in found)
    assert document["pick"]["variant"] in ("litert", "ncnn")
    status = computer.json("status", "--device", "board")["status"]["apps"][0]
    assert status["setting"]["runtime"] == document["pick"]["variant"]
    assert status["healthy_files"]
    script = (
        f"import sys; sys.path.insert(0, {str(computer.board_root / 'agent' / 'edgeopt_agent.pyz')!r})\n"
        f"import numpy as np; from edgeopt_agent import load\n"
        f"print(load('app', root={str(computer.board_root)!r})(np.zeros((1, 3, 8, 8), 'float32'))[0].shape)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 5)\n"


def test_a_runtime_that_is_not_on_the_board_is_named_before_anything_is_built(computer: Computer) -> None:
    """With what brings it; the interpreter of this board has nothing but the standard library."""
    computer.ok("device", "add", "bare", "--profile", "local", "--address", "local:", "--python", "/usr/bin/python3")
    said = computer.fails(
        4, "runtime-missing", "bench", "model.onnx", "--device", "bare", "--recipes", "openvino", *QUICK
    )
    assert "edgeopt device setup bare" in said
    assert not (computer.home / "cache" / "variants").exists(), "nothing was built"


def test_the_table_has_a_line_and_a_reason_for_everybody(computer: Computer) -> None:
    """Every candidate and every skipped variant is named; losers have a sentence."""
    said = computer.ok(*DEPLOY)

    for name in ("original", "clean", "int8-dynamic", "int8-static"):
        assert name in said
    assert "energy: not measured" in said
    assert "Installed" in said


def test_the_run_can_be_picked_from_again_without_a_board(computer: Computer) -> None:
    """Other limits, same measurement; the board's folder is gone by then."""
    computer.json("bench", "model.onnx", "--samples", "samples", "--device", "board", *QUICK, "--recipes", "clean")
    computer.board_root.rename(computer.board_root.with_name("gone"))

    computer.json("pick", "last", "--objective", "size", "--min-agreement", "0")
    stderr = computer.fails(1, "goal-not-met", "pick", "last", "--max-size-mb", "0.000001")

    assert "0.000001" not in stderr or "size" in stderr
    assert "run" in computer.ok("runs", "list").lower()
    assert computer.json("runs", "show", "last", "--raw")["blocks"]


def test_bench_without_samples_tells_agreement_on_synthetic_inputs_and_does_not_count_it(computer: Computer) -> None:
    """int8 is built and timed; what it answers to invented inputs certifies nothing, and picks it only for a user who accepts that."""
    document = computer.json("bench", "model.onnx", "--device", "board", *QUICK, "--recipes", "int8-static")

    found = {summary["variant"]: summary for summary in document["candidates"]}
    assert found["int8-static"]["agreement"] is not None
    assert found["int8-static"]["agreement_lower"] is None
    assert "synthetic" in found["int8-static"]["reasons"]["agreement_lower"]
    assert document["pick"]["variant"] == "original"
    assert document["conditions"]["synthetic_samples"]
    again = computer.json(
        "pick", "last", "--objective", "size", "--min-agreement", "0.01", "--accept-synthetic", "--max-size-mb", "0.02"
    )
    assert again["goal"]["accept_synthetic"]
    assert not any("synthetic inputs only" in loser["reason"] for loser in again["losers"])


def test_compile_without_samples_draws_pictures_and_says_so(computer: Computer) -> None:
    """The same preprocessing as for pictures of the user's own, and a word that they are none."""
    onnx.save(models.conv_net(batch=1, size=32), computer.project / "pictures.onnx")

    said = computer.run("compile", "pictures.onnx", "--out", "made", "--recipes", "int8-static", "--budget", "instant")
    document = json.loads((computer.project / "made" / "variants.json").read_text())

    assert said.returncode == 0, said.stderr
    assert "pixels are taken as 0..1" in said.stderr
    assert "100 synthetic inputs; yours may agree less" in said.stdout
    static = next(v for v in document["variants"] if v["name"] == "int8-static")
    on = "calibrated on synthetic inputs (drawn pictures of seed 0), since no samples were given"
    assert static["recipe"]["title"].endswith(on)
    assert static["fidelity"]["synthetic"]
    assert static["fidelity"]["agreement_lower"] is None


def test_deploy_on_synthetic_samples_wants_to_hear_that_this_is_enough(computer: Computer) -> None:
    """Nothing is built before the user has accepted it, and pictures of unknown range are never enough."""
    onnx.save(models.conv_net(batch=1, size=32), computer.project / "pictures.onnx")
    synthetic = ("--samples", "synthetic", "--device", "board", "--app", "app", "--recipes", "int8-static", *QUICK)

    said = computer.fails(2, "samples-synthetic", "deploy", "model.onnx", *synthetic)
    assert "--accept-synthetic" in said
    said = computer.fails(2, "samples-synthetic", "deploy", "pictures.onnx", *synthetic, "--accept-synthetic")
    assert "[preprocess]" in said
    assert not (computer.board_root / "apps").exists()

    done = computer.json("deploy", "model.onnx", *synthetic, "--accept-synthetic", "--min-agreement", "0.01")
    assert done["release"]["app"] == "app"
    assert done["goal"]["accept_synthetic"]


def test_a_model_that_refuses_invented_inputs_is_compiled_without(computer: Computer) -> None:
    """Nobody asked for them; with `--samples synthetic` the same is an error."""
    expand = models.make(
        [helper.make_node("Expand", ["x", "shape"], ["e"]), helper.make_node("MatMul", ["e", "w"], ["y"])],
        [models.value("x", [1, 4]), helper.make_tensor_value_info("shape", TensorProto.INT64, [3])],
        [models.value("y", None)],
        [models.weights("w", 4, 5)],
    )
    onnx.save(expand, computer.project / "expand.onnx")

    done = computer.run("compile", "expand.onnx")

    assert done.returncode == 0, done.stderr
    assert "synthetic samples are left out" in done.stderr
    computer.fails(2, "model-failed", "compile", "expand.onnx", "--samples", "synthetic")


def test_a_dry_run_touches_nothing(computer: Computer) -> None:
    """The plan and the minutes, and no board."""
    plan = computer.json(*DEPLOY, "--dry-run")["plan"]

    assert plan["device_seconds"] > 0
    assert {v["name"] for v in plan["variants"]} >= {"original", "clean", "int8-static"}
    assert not computer.board_root.exists()


def test_an_ephemeral_deploy_leaves_nothing(computer: Computer) -> None:
    """Measured, picked, gone."""
    document = computer.json(*DEPLOY, "--ephemeral", "--recipes", "original")

    assert document["release"] is None
    assert not computer.board_root.exists() or not list(computer.board_root.rglob("*.onnx"))


def test_compile_leaves_a_described_folder(computer: Computer) -> None:
    """`variants.json` names what is there; each file is there and hashes to what it says."""
    import hashlib

    computer.ok("compile", "model.onnx", "--samples", "samples", "--out", "out", "--budget", "instant")
    document = json.loads((computer.project / "out" / "variants.json").read_text())

    validate(document, schema("variants"))
    built = [v for v in document["variants"] if v["status"] == "built"]
    assert {v["name"] for v in built} >= {"original", "int8-static"}
    for variant in built:
        data = (computer.project / "out" / variant["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == variant["sha256"]
    assert all(v["reason"] for v in document["variants"] if v["status"] == "skipped")


def test_a_cached_variant_is_not_built_again(computer: Computer) -> None:
    """The second compile finds everything."""
    compiled = (
        "compile",
        "model.onnx",
        "--samples",
        "samples",
        "--recipes",
        "clean,int8-static",
        "--budget",
        "instant",
    )
    computer.ok(*compiled)

    assert "cached" in computer.ok(*compiled)


def test_init_writes_a_project_that_deploys(computer: Computer) -> None:
    """From a folder to a file that works; a second init does not overwrite it."""
    computer.ok("init", "--yes")
    assert (computer.project / "edgeopt.toml").is_file()
    computer.fails(2, "config-invalid", "init", "--yes")
    assert computer.json("deploy", "--dry-run")["plan"]["device"] == "local"


def test_doctor_finds_this_computer_ready(computer: Computer) -> None:
    """Every subject has a finding, and nothing is left behind."""
    findings = {f["subject"]: f for f in computer.json("doctor", "--device", "board")["findings"]}

    assert set(findings) == {"reach", "board", "runtime", "isa", "sensors", "disk", "memory", "clock", "governor"}
    assert findings["runtime"]["state"] == "ok"
    assert not computer.board_root.exists()
    assert "ready" in computer.ok("doctor", "--device", "board")


def test_the_inventory_is_kept(computer: Computer) -> None:
    """Add, list, show, remove."""
    assert computer.json("device", "show", "board")["device"]["address"] == "local:"
    assert "board" in computer.ok("device", "list")
    computer.fails(2, "config-invalid", "device", "add", "board", "--profile", "local", "--address", "local:")
    computer.ok("device", "remove", "board")
    computer.fails(2, "unknown-device", "device", "show", "board")
    computer.fails(2, "usage", "device", "trust", "local")


def test_profiles_and_models_are_shown(computer: Computer) -> None:
    """The two commands that only look."""
    assert "pi4" in computer.ok("profiles")
    assert computer.json("profiles", "pi4")["profiles"][0]["cores"] == 4
    assert "classification" in computer.ok("inspect", "model.onnx")
    assert computer.json("inspect", "model.onnx")["model"]["inputs"][0]["shape"] == ["batch", 3, 8, 8]


@pytest.mark.parametrize(
    ("exit_code", "word", "args"),
    [
        (2, "model-missing", ("inspect", "nothing.onnx")),
        (2, "model-missing", ("bench",)),
        (2, "model-unreadable", ("inspect", "truncated.onnx")),
        (2, "samples-missing", ("deploy", "model.onnx", "--device", "board")),
        (2, "samples-missing", ("deploy", "model.onnx", "--device", "board", "--samples", "nowhere")),
        (2, "samples-empty", ("deploy", "model.onnx", "--device", "board", "--samples", "empty")),
        (2, "samples-mismatch", ("deploy", "model.onnx", "--device", "board", "--samples", "wide")),
        (2, "unknown-device", ("deploy", "model.onnx", "--device", "nobody", "--samples", "samples")),
        (2, "unknown-recipe", ("compile", "model.onnx", "--recipes", "magic")),
        (2, "unknown-profile", ("compile", "model.onnx", "--profile", "toaster")),
        (2, "unknown-run", ("pick", "last")),
        (
            2,
            "config-invalid",
            ("deploy", "model.onnx", "--samples", "samples", "--device", "board", "--min-agreement", "1.7"),
        ),
        (2, "config-invalid", ("deploy", "model.onnx", "--samples", "samples")),
        (4, "not-installed", ("rollback", "--device", "board")),
    ],
)
def test_a_wrong_request_is_a_sentence_and_a_code(
    computer: Computer, exit_code: int, word: str, args: tuple[str, ...]
) -> None:
    """Nothing is installed, nothing is left, no traceback."""
    data = (computer.project / "model.onnx").read_bytes()
    (computer.project / "truncated.onnx").write_bytes(data[: len(data) // 2])
    (computer.project / "empty").mkdir()
    write_samples(computer.project / "wide", shape=(3, 9, 9))

    computer.fails(exit_code, word, *args)

    assert not (computer.board_root / "apps").exists() or not list((computer.board_root / "apps").iterdir())


def test_a_wrong_option_is_told_in_json_too(computer: Computer) -> None:
    """One object on stdout, also for errors."""
    done = computer.run("deploy", "--no-such-option", "--json")

    document = json.loads(done.stdout)
    validate(document, schema("error"))
    assert (done.returncode, document["error"]["exit_code"]) == (2, 2)


def test_a_nan_variant_is_never_the_fastest(computer: Computer) -> None:
    """A model that answers NaN ends in a sentence."""
    onnx.save(models.not_a_number(), computer.project / "nan.onnx")
    write_samples(computer.project / "flat", shape=(4,))

    done = computer.run("deploy", "nan.onnx", "--samples", "flat", "--device", "board", *QUICK)

    assert done.returncode in (1, 2, 3)
    assert "Traceback" not in done.stderr
    assert not list(computer.board_root.glob("apps/*/current"))


def test_ctrl_c_while_measuring_leaves_no_process_and_no_lock(computer: Computer) -> None:
    """Exit 130, one sentence, and the next one can work at once."""
    environment = os.environ | {"EDGEOPT_HOME": str(computer.home)}
    long = ("--recipes", "clean", "--rounds", "100", "--block-seconds", "1")
    argv = [sys.executable, "-m", "edgeopt.cli.main", *DEPLOY, *long]
    process = subprocess.Popen(
        argv, cwd=computer.project, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    lock = computer.board_root / "locks" / "device"
    while not lock.exists() or not lock.read_text():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)

    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "error[interrupted]" in said
    assert "Traceback" not in said
    assert not agents(computer.board_root)
    computer.ok(*DEPLOY, "--recipes", "original")


def test_ctrl_c_in_the_minutes_behind_the_rounds_loses_no_round(computer: Computer) -> None:
    environment = os.environ | {"EDGEOPT_HOME": str(computer.home)}
    argv = [
        sys.executable,
        "-m",
        "edgeopt.cli.main",
        *DEPLOY,
        "--recipes",
        "original",
        "--sustained",
        "30",
    ]
    with subprocess.Popen(
        argv, cwd=computer.project, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        # A stage says its line when it is over: the rounds are, so what runs now is the sustained load.
        told = []
        for line in process.stderr or ():
            told.append(line)
            if line.startswith("measure on"):
                break
        time.sleep(1.0)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)

    assert process.returncode == 130, [*told, said]
    assert "Traceback" not in said
    assert "original@all" in computer.ok("runs", "show", "last")


def agents(root: Path) -> list[int]:
    """Processes whose command line names the board's folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(root).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def test_the_same_from_python(computer: Computer, tmp_path: Path) -> None:
    """`edgeopt.compile` and `edgeopt.bench` do what the commands do."""
    script = (
        "import edgeopt\n"
        "c = edgeopt.compile('model.onnx', samples='samples', out='made', recipes=['original', 'clean'])\n"
        "print([v.name for v in c.variants])\n"
        "o = edgeopt.bench('model.onnx', samples='samples', device='board', recipes=['original'], rounds=2, block_seconds=0.02, accept_disturbed=True, settings='fixed')\n"
        "print(o.pick.status, o.pick.candidate)\n"
        "try: edgeopt.bench('model.onnx', speed=1)\n"
        "except edgeopt.errors.ConfigError as e: print('refused', 'speed' in str(e))\n"
    )
    environment = os.environ | {"EDGEOPT_HOME": str(computer.home)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=computer.project,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.splitlines() == ["['original', 'clean']", "picked original@all", "refused True"], done.stderr
