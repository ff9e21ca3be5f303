"""Real models on an ARM guest, each on three runtimes in one table: `make hil-models`. Takes long, of which most is emulation; the tables are printed."""

from __future__ import annotations

import base64
import io
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import validate
from PIL import Image

from tests.e2e.conftest import AS_AN_APPLICATION, QUICK, schema_of
from tests.hil.arm_guest import boot
from tests.hil.arm_image import ArmImage
from tests.hil.arm_loop import Arm, make_arm

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.e2e,
    pytest.mark.xdist_group("arm-models"),
    pytest.mark.timeout(3600),
]

RUNTIMES = {"onnxruntime", "litert", "ncnn"}
SAMPLES = 12
"""Half of them calibrate, the others judge: few, because each is run by every candidate, emulated."""
LEAST_SQNR_DB = 6.0
"""Of one sample's answers in int8 against the original's: little, since so few samples calibrate. A network that is broken is near 0 dB or below it."""

APPLICATION = f"""{AS_AN_APPLICATION}
import base64, io
from edgeopt_agent import load
model = load(sys.argv[1])
import numpy as np
feed = dict(np.load(io.BytesIO(base64.b64decode(sys.stdin.read()))))
made = io.BytesIO()
np.savez(made, *model(feed))
print(model.manifest["variant"], base64.b64encode(made.getvalue()).decode())
"""

Rows = list[np.ndarray]


def squeezenet(data: Path) -> Rows:
    """Centre 224 of ImageNet pictures, BGR minus the mean, NCHW."""
    mean = np.float32([103.939, 116.779, 123.68])
    pictures = [np.asarray(image, np.float32) for image in photographs(data / "imagenet_sample")]
    return [(centre(p, 224)[:, :, ::-1] - mean).transpose(2, 0, 1)[None] for p in pictures]


def resnet8(data: Path) -> Rows:
    """CIFAR-10, 0 to 255, NHWC."""
    return [np.asarray(image, np.float32)[None] for image in photographs(data / "cifar10_test")]


def ultraface(data: Path) -> Rows:
    """Photographs with faces and their mirror images at 320 x 240, NCHW."""
    images = [image.resize((320, 240), Image.Resampling.BILINEAR) for image in photographs(data / "faces")]
    arrays = [((np.asarray(image, np.float32) - 127.0) / 128.0).transpose(2, 0, 1)[None] for image in images]
    return [view for array in arrays for view in (array, np.ascontiguousarray(array[..., ::-1]))]


def micro_speech(_: Path) -> Rows:
    """Features are codes; these are drawn, so what the words are says nothing. Every kernel is run all the same."""
    generator = np.random.default_rng(0)
    return [generator.integers(-128, 128, (1, 1960)).astype(np.int8) for _ in range(SAMPLES)]


def photographs(folder: Path) -> Iterator[Image.Image]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".jpg", ".jpeg", ".png", ".JPEG"))
    for path in paths[:: max(1, len(paths) // SAMPLES)][:SAMPLES]:
        with Image.open(path) as image:
            yield image.convert("RGB")


def centre(picture: np.ndarray, size: int) -> np.ndarray:
    top, left = (picture.shape[0] - size) // 2, (picture.shape[1] - size) // 2
    return picture[top : top + size, left : left + size]


MODELS: dict[str, tuple[str, Callable[[Path], Rows], str]] = {
    "resnet8": ("mlperf_tiny/ic_resnet8_float.derived.onnx", resnet8, "input_1"),
    "micro_speech": ("audio/micro_speech_int8.tflite", micro_speech, "Reshape_1"),
    "ultraface": ("face/ultraface_RFB_320.onnx", ultraface, "input"),
    "squeezenet": ("imagenet/squeezenet_fp32_upcast.derived.onnx", squeezenet, "data_0"),
}
"""App -> file, samples, and the name of its input."""
RECIPES = "original,clean,int8-static,litert,litert-int8,ncnn,ncnn-int8"


@pytest.fixture(scope="module")
def arm(image: ArmImage, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Arm]:
    """A guest with three runtimes."""
    if request.config.getoption("--arm") != "models":
        pytest.skip("takes long: make hil-models, or --arm models")
    folder = tmp_path_factory.mktemp("arm-models")
    guest = boot(image, folder / "guest", keep=True)
    try:
        made = make_arm(folder, guest)
        made.ok("device", "trust", "arm", "--yes")
        made.set_up(*sorted(RUNTIMES))
        yield made
    finally:
        guest.stop()


@pytest.mark.parametrize("app", MODELS)
def test_a_real_model_races_on_three_runtimes_and_answers_on_the_guest_as_its_original_does_here(
    arm: Arm, shared_testdata: Path, app: str
) -> None:
    file, make, name = MODELS[app]
    model = shared_testdata / "models" / file
    rows = [np.ascontiguousarray(row) for row in make(shared_testdata / "data")]
    folder = arm.project / app
    folder.mkdir()
    for number, row in enumerate(rows):
        np.savez(folder / f"{number:02}.npz", **{name: row})

    document = deployed(arm, model, app)
    print(f"\n{arm.ok('runs', 'show', document['run'])}")
    runtime = {v["name"]: v["runtime"] for v in document["variants"] if v["status"] == "built"}
    figures = {c["candidate"]: c for c in document["candidates"] if c["p50_ms"] is not None}
    variant, answers = application(arm, app, {name: rows[0]})

    assert {runtime[c["variant"]] for c in figures.values()} == RUNTIMES
    assert {c["agreement_where"] for c in figures.values()} == {"device"}
    assert document["pick"]["candidate"] in figures
    assert variant == document["pick"]["variant"]
    assert arm.installed("arm", app)["healthy_files"]
    wanted = answers_here(model, {name: rows[0]})
    assert [a.shape for a in answers] == [w.shape for w in wanted]
    assert min(map(sqnr_db, answers, wanted)) > LEAST_SQNR_DB


def deployed(arm: Arm, model: Path, app: str) -> Any:
    """A quick deploy on all three runtimes, as an object."""
    quick = list(QUICK)
    quick[quick.index("--runtimes") + 1] = ",".join(sorted(RUNTIMES))
    words = ("--samples", app, "--device", "arm", "--app", app, "--recipes", RECIPES, "--threads", "1")
    done = arm.run("deploy", str(model), *words, "--min-agreement", "0.5", *quick, "--json", timeout_s=1700)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    validate(document, schema_of(("deploy",)))
    return document


def application(arm: Arm, app: str, feed: dict[str, np.ndarray]) -> tuple[str, Rows]:
    """Run the application on the guest; returns the variant and its answers."""
    sent = io.BytesIO()
    np.savez(sent, **feed)
    script = f"python3 -I -c {shlex.quote(APPLICATION)} {app}"
    done = arm.guest.user(script, stdin=base64.b64encode(sent.getvalue()).decode())
    assert done.returncode == 0, done.stderr
    variant, answers = done.stdout.split()
    with np.load(io.BytesIO(base64.b64decode(answers))) as archive:
        return variant, [archive[key] for key in archive.files]


def answers_here(model: Path, feed: dict[str, np.ndarray]) -> Rows:
    """What the original answers on this computer."""
    if model.suffix == ".onnx":
        import onnxruntime

        quiet = onnxruntime.SessionOptions()
        quiet.log_severity_level = 3
        return list(onnxruntime.InferenceSession(model, quiet, providers=["CPUExecutionProvider"]).run(None, feed))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    interpreter.allocate_tensors()
    for about in interpreter.get_input_details():
        interpreter.set_tensor(about["index"], feed[about["name"]])
    interpreter.invoke()
    return [interpreter.get_tensor(about["index"]) for about in interpreter.get_output_details()]


def sqnr_db(got: np.ndarray, wanted: np.ndarray) -> float:
    """Signal over the difference, in dB; infinite where there is none."""
    signal, noise = (float(np.sum(np.square(a.astype(np.float64)))) for a in (wanted, got.astype(np.float64) - wanted))
    return float("inf") if noise == 0.0 else 10 * float(np.log10(signal / noise)) if signal else -float("inf")
