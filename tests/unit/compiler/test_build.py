"""Building variants: real steps on small models, in real children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.build import BUILD_LIMITS, build_variants
from edgeopt.compiler.build_one import BuildTask
from edgeopt.compiler.confine import Limits
from edgeopt.compiler.dispatch import _result
from edgeopt.compiler.fidelity import compare
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.outputs import host_outputs
from edgeopt.compiler.plan import Pins, plan_variants
from edgeopt.compiler.recipes import RECIPES
from edgeopt.domain.device import Profile
from edgeopt.domain.observer import Silent
from edgeopt.domain.variant import Built, Skipped, Variant
from edgeopt.errors import ExecutorError, ModelError, StoreError
from edgeopt.samples.record import Samples
from tests import models

PROFILE = Profile(name="board", title="A board", arch="aarch64", recipes=tuple(RECIPES)[1:], fp16=True)
IMAGES = models.noise("x", 1, 3, 8, 8, count=16)
REPOSITORY = Path(__file__).resolve().parents[3]


class Told(Silent):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.said: list[tuple[Any, ...]] = []

    def stage(self, name: str, title: str, total: float | None = None) -> None:
        self.said.append(("stage", name, total))

    def advance(self, name: str, done: float, detail: str = "") -> None:
        self.said.append(("advance", name, done, detail))

    def finish(self, name: str, detail: str = "") -> None:
        self.said.append(("finish", name, detail))


def build(
    path: Path,
    cache: Path,
    samples: Samples | None = IMAGES,
    *,
    profile: Profile = PROFILE,
    recipes: tuple[str, ...] | None = None,
    **options: Any,
) -> dict[str, Variant]:
    model = inspect_model(path)
    planned = plan_variants(model, profile, recipes=recipes, has_samples=samples is not None)
    variants = build_variants(planned, model_path=path, model=model, calibration=samples, cache=cache, **options)
    assert [v.name for v in variants] == [p.name for p in planned]
    return {variant.name: variant for variant in variants}


def built(variant: Variant) -> Built:
    assert isinstance(variant, Built), variant.reason
    return variant


def reason(variant: Variant) -> str:
    assert isinstance(variant, Skipped)
    return variant.reason


def graph(variant: Variant) -> onnx.ModelProto:
    made = built(variant)
    return onnx.load(Path(made.folder) / made.files[0].path)


def ops(variant: Variant) -> list[str]:
    return [node.op_type for node in graph(variant).graph.node]


def answers(variant: Variant, samples: Samples, folder: Path) -> list[list[np.ndarray]]:
    made = built(variant)
    return host_outputs(Path(made.folder) / made.files[0].path, samples, workdir=folder)


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Every recipe on one classifier. (variants, the model's path, the cache)"""
    folder = tmp_path_factory.mktemp("build")
    path = models.save(models.classifier(), folder / "net.onnx")
    return build(path, folder / "cache"), path, folder / "cache"


def test_every_recipe_builds_an_ordinary_classifier(variants):
    made, _, _ = variants
    assert {name for name, v in made.items() if isinstance(v, Built)} >= {
        "original",
        "fp16",
        "int8-dynamic",
        "int8-static",
    }


def test_the_original_is_copied_byte_for_byte(variants):
    made, path, _ = variants
    copy = built(made["original"])
    assert (Path(copy.folder) / "model.onnx").read_bytes() == path.read_bytes()
    assert copy.digest == inspect_model(path).digest


def test_what_was_built_is_described(variants):
    """Files with digests, times, versions, conditions."""
    made, _, cache = variants
    variant = built(made["int8-static"])
    folder = Path(variant.folder)
    assert folder.parent == cache / "variants"
    assert [file.path for file in variant.files] == ["model.onnx"]
    assert variant.bytes == (folder / "model.onnx").stat().st_size
    assert variant.encoding == "int8 S8S8 per-channel"
    assert variant.build_s > 0
    assert variant.fidelity is None
    assert variant.fidelity_reason
    assert {
        "onnx",
        "onnxruntime",
        "onnxslim",
        "edgeopt",
        "build_network",
        "build_peak_memory_bytes",
    } <= variant.provenance.keys()


@pytest.mark.parametrize(("name", "least"), [("fp16", 0.9999), ("int8-dynamic", 0.999), ("int8-static", 0.99)])
def test_variants_answer_nearly_as_the_original(variants, tmp_path, name, least):
    made, _, _ = variants
    heldout = models.noise("x", 1, 3, 8, 8, count=8, seed=7)
    result = compare(
        answers(made["original"], heldout, tmp_path), answers(made[name], heldout, tmp_path), task="other", where="host"
    )
    assert result.cosine > least
    assert not result.identical


def test_signatures_stay_as_they_were(variants):
    """Names, types and open axes: applications feed them."""
    made, path, _ = variants
    original = inspect_model(path)
    for variant in made.values():
        if isinstance(variant, Built):
            model = inspect_model(Path(variant.folder) / "model.onnx")
            assert (model.inputs, model.outputs) == (original.inputs, original.outputs)


def test_static_quantises_weights_per_channel(variants):
    made, _, _ = variants
    net = graph(made["int8-static"])
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in net.graph.node}
    weights = [t for t in net.graph.initializer if t.data_type == TensorProto.INT8 and len(t.dims) == 4]
    scales = [t for t in net.graph.initializer if t.name.endswith("_scales") and list(t.dims) == [16]]
    assert weights
    assert scales


@pytest.mark.parametrize(("kind", "code"), [("u8s8", TensorProto.UINT8), ("s8s8", TensorProto.INT8)])
def test_activations_are_of_the_profiles_type(tmp_path, kind, code):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    profile = msgspec.structs.replace(PROFILE, int8_encoding=kind)
    net = graph(build(path, tmp_path / "cache", profile=profile, recipes=("int8-static",))["int8-static"])
    constants = {tensor.name: tensor for tensor in net.graph.initializer}
    zero_points = {constants[node.input[2]].data_type for node in net.graph.node if node.op_type == "QuantizeLinear"}
    assert zero_points == {code}


def test_dynamic_leaves_convolutions_alone(variants):
    made, _, _ = variants
    found = ops(made["int8-dynamic"])
    assert "Conv" in found
    assert "ConvInteger" not in found
    assert "MatMulInteger" in found


def test_clean_folds_batch_norm_and_answers_the_same(tmp_path):
    path = models.save(models.conv_net(), tmp_path / "net.onnx")
    made = build(path, tmp_path / "cache", models.noise("x", 1, 3, 16, 16), recipes=("clean",))
    assert "BatchNormalization" not in ops(made["clean"])
    assert any("answers" in note and "on 2 samples" in note for note in built(made["clean"]).notes)


def test_clean_takes_weights_off_the_inputs(tmp_path):
    """Files before IR 4: the runtime may not fold what might be fed."""
    path = models.save(models.initialisers_as_inputs(models.conv_net(opset=9)), tmp_path / "net.onnx")
    made = build(path, tmp_path / "cache", models.noise("x", 1, 3, 16, 16), recipes=("clean",))
    net = graph(made["clean"])
    assert [value.name for value in net.graph.input] == ["x"]
    assert net.ir_version >= 4


def test_a_second_cleaning_finds_nothing_to_do(tmp_path):
    """A variant equal to another is not measured twice."""
    path = models.save(models.conv_net(), tmp_path / "net.onnx")
    samples = models.noise("x", 1, 3, 16, 16)
    once = Path(built(build(path, tmp_path / "cache", samples, recipes=("clean",))["clean"]).folder) / "model.onnx"
    assert "the same as original" in reason(build(once, tmp_path / "cache", samples, recipes=("clean",))["clean"])


@pytest.mark.parametrize("opset", [7, 11, 21])
def test_old_and_new_opsets_are_quantised(tmp_path, opset):
    """What static int8 needs (opset 13) is converted to, and said."""
    path = models.save(models.classifier(batch=1, opset=opset), tmp_path / "net.onnx")
    variant = build(path, tmp_path / "cache", recipes=("int8-static",))["int8-static"]
    assert graph(variant).opset_import[0].version == max(opset, 13)
    assert (f"converted from opset {opset} to 13" in built(variant).notes) == (opset < 13)


def test_an_opset_beyond_the_boards_runtime_is_not_converted_to(tmp_path):
    path = models.save(models.classifier(batch=1, opset=9), tmp_path / "net.onnx")
    profile = msgspec.structs.replace(PROFILE, max_opset=12)
    made = build(path, tmp_path / "cache", profile=profile, recipes=("int8-static",))
    assert "needs opset 13, and the board's runtime reads 12" in reason(made["int8-static"])


def test_ir_versions_are_lowered_to_what_the_board_reads(tmp_path):
    """In every file, the original's copy too; that is said."""
    path = models.save(models.classifier(ir_version=10), tmp_path / "net.onnx")
    profile = msgspec.structs.replace(PROFILE, max_ir_version=8)
    made = build(path, tmp_path / "cache", profile=profile)
    versions = {name: graph(v).ir_version for name, v in made.items() if isinstance(v, Built)}
    assert set(versions.values()) <= {7, 8}
    assert "IR version lowered from 10 to 8 for the board's runtime" in built(made["original"]).notes


def test_two_dimensional_gemm_biases_are_quantised(tmp_path):
    """[1, N] makes onnxruntime's quantiser fail."""
    net = models.classifier()
    bias = next(tensor for tensor in net.graph.initializer if tensor.name == "b2")
    del bias.dims[:]
    bias.dims.extend([1, 5])
    path = models.save(net, tmp_path / "net.onnx")
    built(build(path, tmp_path / "cache", recipes=("int8-static",))["int8-static"])


def test_control_flow_is_left_alone_with_a_reason(tmp_path):
    path = models.save(models.branching(), tmp_path / "net.onnx")
    x = np.ones((1, 8), dtype=np.float32)
    rows = [[x, np.array(True)], [x, np.array(False)]]
    samples = models.make_samples(["x", "flag"], rows, source="made")
    made = build(path, tmp_path / "cache", samples, recipes=("int8-dynamic", "int8-static"))
    assert "inside of control flow" in reason(made["int8-dynamic"])
    assert "inside of control flow" in reason(made["int8-static"])


def test_without_samples_rewriting_is_checked_on_random_inputs(tmp_path):
    path = models.save(models.conv_net(), tmp_path / "net.onnx")
    notes = built(build(path, tmp_path / "cache", None, recipes=("clean",))["clean"]).notes
    assert any("on 2 random inputs" in note for note in notes)


def test_several_inputs_of_several_types_are_built(tmp_path):
    path = models.save(models.two_inputs(), tmp_path / "net.onnx")
    made = build(path, tmp_path / "cache", None)
    assert isinstance(made["original"], Built)
    assert all(v.reason for v in made.values() if isinstance(v, Skipped))


def test_weights_beside_the_graph_travel_with_the_original(tmp_path):
    """Its folder is complete in itself; what is rebuilt holds its weights."""
    path = models.save_external(models.dense_net(), tmp_path / "net" / "net.onnx", "sub/w.bin")
    made = build(path, tmp_path / "cache", models.noise("x", 1, 32), recipes=("clean", "int8-dynamic"))
    assert [file.path for file in built(made["original"]).files] == ["model.onnx", "sub/w.bin"]
    assert (Path(built(made["original"]).folder) / "sub" / "w.bin").is_file()
    assert [file.path for file in built(made["int8-dynamic"]).files] == ["model.onnx"]
    answers(made["original"], models.noise("x", 1, 32, count=1), tmp_path)


def test_overflowing_weights_stay_in_float32_in_half_precision(tmp_path):
    net = models.dense_net()
    array = numpy_helper.to_array(net.graph.initializer[0]).copy()
    array[0, 0] = 1e6
    net.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, "w1"))
    path = models.save(net, tmp_path / "net.onnx")
    made = build(path, tmp_path / "cache", models.noise("x", 1, 32), recipes=("fp16",))
    assert any("stay in float32" in note for note in built(made["fp16"]).notes)
    expected = answers(made["original"], models.noise("x", 1, 32), tmp_path)
    got = answers(made["fp16"], models.noise("x", 1, 32), tmp_path)
    for r, y in zip(expected, got, strict=True):
        np.testing.assert_allclose(y[0], r[0], atol=0.01 * np.abs(r[0]).max())


def test_a_step_that_fails_is_a_sentence_and_ends_nothing_else(tmp_path):
    """Calibrating on samples of another shape."""
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    made = build(path, tmp_path / "cache", models.noise("x", 1, 4, 8, 8), recipes=("int8-static",))
    assert "Traceback" not in reason(made["int8-static"])
    assert len(reason(made["int8-static"])) < 500
    assert isinstance(made["original"], Built)


def test_a_build_that_hangs_is_given_up(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    build(path, tmp_path / "cache", recipes=())
    made = build(
        path, tmp_path / "cache", recipes=("int8-static",), limits=msgspec.structs.replace(BUILD_LIMITS, timeout_s=0.2)
    )
    assert "given up" in reason(made["int8-static"])
    assert "0.2 s" in reason(made["int8-static"])


def test_a_build_that_wants_too_much_memory_is_given_up(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    build(path, tmp_path / "cache", recipes=())
    # Enough for numpy to load: with less, some versions of its linear algebra wait for memory until the time is up.
    made = build(path, tmp_path / "cache", recipes=("clean",), limits=Limits(memory_bytes=96 << 20))
    assert "needs more than the 0.1 GiB of memory" in reason(made["clean"])


def test_a_model_that_changed_since_it_was_inspected_is_an_error(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    model = inspect_model(path)
    planned = plan_variants(model, PROFILE, has_samples=False)
    models.save(models.dense_net(), path)
    with pytest.raises(ModelError, match="changed since it was inspected"):
        build_variants(planned, model_path=path, model=model, calibration=None, cache=tmp_path / "cache")


def test_weights_called_as_the_graph_is_are_refused(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx", "model.onnx")
    with pytest.raises(ModelError, match=r"a file called model\.onnx"):
        build(path, tmp_path / "cache", None)


def test_nothing_is_built_twice(variants):
    made, path, cache = variants
    again = build(path, cache)
    for name, variant in again.items():
        if isinstance(variant, Built):
            assert variant.cached
            assert variant.digest == built(made[name]).digest


def test_other_samples_make_another_static_variant(variants):
    """And leave the original alone."""
    made, path, cache = variants
    again = build(path, cache, models.noise("x", 1, 3, 8, 8, count=16, seed=5), recipes=("int8-static",))
    assert built(again["original"]).cached
    assert not built(again["int8-static"]).cached
    assert built(again["int8-static"]).digest != built(made["int8-static"]).digest


def test_the_same_build_elsewhere_gives_the_same_bytes(variants, tmp_path):
    """Builds are deterministic."""
    made, path, _ = variants
    again = build(path, tmp_path / "other")
    assert {n: v.digest for n, v in again.items() if isinstance(v, Built)} == {
        n: v.digest for n, v in made.items() if isinstance(v, Built)
    }


@pytest.mark.parametrize("damage", ["model", "record", "missing"])
def test_a_damaged_variant_is_built_again(tmp_path, damage):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    first = built(build(path, tmp_path / "cache", recipes=("fp16",))["fp16"])
    folder = Path(first.folder)
    match damage:
        case "model":
            (folder / "model.onnx").write_bytes(b"other")
        case "record":
            (folder / "variant.json").write_text("{")
        case _:
            (folder / "variant.json").unlink()
    again = built(build(path, tmp_path / "cache", recipes=("fp16",))["fp16"])
    assert not again.cached
    assert again.digest == first.digest


def test_work_folders_are_gone_afterwards_and_old_ones_are_swept(variants):
    _, path, cache = variants
    assert list((cache / "work").iterdir()) == []
    stale, fresh = cache / "work" / "stale", cache / "work" / "fresh"
    stale.mkdir()
    fresh.mkdir()
    os.utime(stale, (1, 1))
    build(path, cache, models.noise("x", 1, 3, 8, 8, seed=9), recipes=("int8-static",))
    assert not stale.exists()
    assert fresh.exists()
    fresh.rmdir()


def test_a_cache_that_cannot_be_written_is_a_store_error(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(StoreError, match="cannot be written"):
        build(path, tmp_path / "cache", None)


def test_progress_is_told(tmp_path):
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    told = Told()
    build(path, tmp_path / "cache", recipes=("clean", "fp16"), observer=told)
    assert told.said[0] == ("stage", "build", 3.0)
    assert told.said[1] == ("advance", "build", 1.0, "original")
    done = [said[2] for said in told.said if said[0] == "advance"]
    assert done == sorted(done)
    assert set(done) == {1.0, 2.0, 3.0}
    assert told.said[-1][0] == "finish"


def test_any_executor_will_do(tmp_path):
    """Tasks are plain data: other processes take them as well as threads."""
    path = models.save(models.classifier(), tmp_path / "net.onnx")
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        made = build(path, tmp_path / "cache", recipes=("clean", "fp16"), executor=pool)
    assert isinstance(made["fp16"], Built)


def test_nan_is_built_and_left_for_the_comparison(tmp_path):
    path = models.save(models.not_a_number(), tmp_path / "net.onnx")
    assert isinstance(build(path, tmp_path / "cache", models.noise("x", 1, 4), recipes=("clean",))["original"], Built)


CALLER = """
import json, sys
from pathlib import Path
import numpy as np
from edgeopt.compiler.build import build_variants
from edgeopt.compiler.model_info import inspect_model
from edgeopt.compiler.plan import plan_variants
from edgeopt.domain.device import Profile
from tests import models
path, cache = Path(sys.argv[1]), Path(sys.argv[2])
model = inspect_model(path)
profile = Profile(name="b", title="B", arch="any", recipes=("clean", "int8-static"))
plan = plan_variants(model, profile, has_samples=True)
samples = models.noise("x", 1, 3, 64, 64, count=3000)
print("begin", flush=True)
build_variants(plan, model_path=path, model=model, calibration=samples, cache=cache)
"""


def test_ctrl_c_in_a_build_leaves_no_child_and_no_partial_variant(tmp_path):
    path = models.save(models.conv_net(size=64), tmp_path / "net.onnx")
    cache = tmp_path / "cache"
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(path), str(cache)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        cwd=tmp_path,
    )
    assert process.stdout
    process.stdout.readline()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any((cache / "variants").glob("*")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in errors
    assert list((cache / "work").iterdir()) == []
    for folder in (cache / "variants").iterdir():
        assert json.loads((folder / "variant.json").read_text())["status"] == "built"


def test_a_model_without_weights_keeps_only_what_makes_sense(tmp_path):
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Erf", ["r"], ["y"])]
    path = models.save(
        models.make(nodes, [models.value("x", [1, 4])], [models.value("y", [1, 4])]), tmp_path / "net.onnx"
    )
    made = build(path, tmp_path / "cache", models.noise("x", 1, 4))
    assert "no float weights" in reason(made["int8-static"])


def test_a_lost_worker_costs_its_variant_and_a_lost_executor_the_run():
    """What an executor says of a task that did not come back."""
    task = BuildTask(
        key="0", name="fp16", recipe=RECIPES["fp16"], pins=Pins(max_opset=17, max_ir_version=8), source="net.onnx", files=(),
        cache="cache", samples=None, sample_names=(), sample_count=0, limits=BUILD_LIMITS, group="g",
    )  # fmt: skip
    dead: Future[Variant] = Future()
    dead.set_exception(RuntimeError("the process died"))
    assert reason(_result(dead, task)) == "building it was given up: its worker was lost (RuntimeError)"
    gone: Future[Variant] = Future()
    gone.cancel()
    with pytest.raises(ExecutorError, match="went away while it built fp16") as caught:
        _result(gone, task)
    assert (caught.value.code, caught.value.exit_code) == ("executor-lost", 4)
    full: Future[Variant] = Future()
    full.set_exception(StoreError("the disk is full"))
    with pytest.raises(StoreError):
        _result(full, task)
