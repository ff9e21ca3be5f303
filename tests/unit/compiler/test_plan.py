"""Which recipes fit: rules on records, nothing is run."""

from __future__ import annotations

import re
from typing import Any, get_args

import msgspec
import pytest

from edgeopt.compiler.plan import Planned, fitted_to_cpu, fitted_to_onnxruntime, plan_variants
from edgeopt.compiler.quantize.encoding import ENCODINGS
from edgeopt.compiler.recipes import RECIPES, get_recipe
from edgeopt.compiler.steps import STEPS
from edgeopt.domain.device import Int8Encoding, Profile, Roofline
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Recovery, Skipped
from edgeopt.errors import UnknownName
from tests.builders import make_model

EVERY = tuple(RECIPES)
TOOLS = {"nncf": "3.4.0", "aimet": "2.42.0", "openvino": "2026.4.1", "tflite": "2.3.0", "ncnn": "20261020"}
RUNTIMES = tuple(dict.fromkeys(recipe.runtime for recipe in RECIPES.values()))
PROFILE = Profile(name="board", title="A board", arch="aarch64", recipes=EVERY[1:], fp16=True, runtimes=RUNTIMES)


TORCH = {"torch": "2.13.0"}


def model(**changes: Any) -> ModelInfo:
    facts = {"opset": 13, "parameter_dtypes": {"float32": 1000}, "op_counts": {"Conv": 3, "Gemm": 1}, "bytes": 4000}
    return msgspec.structs.replace(make_model(), **(facts | changes))


def plan(
    info: ModelInfo, profile: Profile = PROFILE, *, has_samples: bool = True, recipes: tuple[str, ...] | None = None
) -> dict[str, Any]:
    planned = plan_variants(info, profile, recipes=recipes, has_samples=has_samples, installed=TOOLS)
    return {p.name: p for p in planned}


def reason(planned: Any) -> str:
    assert isinstance(planned, Skipped)
    return planned.reason


def test_everything_fits_an_ordinary_model():
    """In the order of the recipes, the original first."""
    planned = plan_variants(model(), PROFILE, has_samples=True, installed=TOOLS | TORCH)
    assert [p.name for p in planned] == list(EVERY)
    assert [p.name for p in planned if not isinstance(p, Planned)] == ["legalise", "student", "student-int8"]


@pytest.mark.parametrize(("budget", "planned"), [("instant", False), ("standard", True), ("deep", True)])
def test_mixed_precision_takes_more_than_an_instant(budget, planned):
    profile = Profile(name="board", title="A board", arch="x86_64", recipes=("clean", "int8-static"))
    names = [p.name for p in plan_variants(model(), profile, has_samples=True, budget=budget)]
    assert ("int8-mixed" in names) == planned


def test_a_profile_is_planned_for_by_its_own_runtimes():
    """Each runtime brings its conversions; what no runtime of the profile opens is not tried."""
    both = Profile(
        name="board",
        title="A board",
        arch="x86_64",
        recipes=("clean", "int8-static"),
        runtimes=("openvino", "onnxruntime"),
    )
    assert list(plan(model(), both)) == ["original", "clean", "int8-static", "int8-mixed", "openvino", "openvino-int8"]
    one = msgspec.structs.replace(both, runtimes=("openvino",))
    assert list(plan(model(), one)) == ["original", "openvino", "openvino-int8"]
    assert list(plan(model(), one, recipes=("clean",))) == ["original", "clean"], "unless it is asked for"


@pytest.mark.parametrize(
    ("dtypes", "words"), [({"int8": 900, "int32": 10}, "quantised as given"), ({"float32": 900}, "fp32")]
)
def test_a_tensorflow_lite_file_is_run_by_its_own_runtime(dtypes, words):
    """What is made of it is made of its float graph, whatever its weights are, and whatever opset the board reads."""
    board = msgspec.structs.replace(PROFILE, max_opset=13)
    found = plan(
        model(format="tflite", parameter_dtypes=dtypes, opset=17), board, recipes=("clean", "int8-static", "original")
    )
    assert {name: (p.recipe.runtime, p.recipe.encoding) for name, p in found.items()} == {
        "original": ("litert", words),
        "clean": ("onnxruntime", "fp32"),
        "int8-static": ("onnxruntime", "int8 S8S8 per-channel"),
    }
    assert all(isinstance(p, Planned) for p in found.values())


def test_a_file_that_is_only_run_as_it_is_has_no_variants():
    found = plan(model(format="tflite", not_rebuilt="it has an LSTM"), recipes=("clean",))
    assert isinstance(found["original"], Planned)
    assert reason(found["clean"]) == "the file can only be run as it is: it has an LSTM"


@pytest.mark.parametrize(
    ("pinned", "version", "opset", "pins"),
    [
        (28, "1.19.2", 13, 21),
        (28, "1.23.2", 13, 23),
        (28, "1.31.0", 13, 23),
        (28, "1.32.0", 13, 28),
        (21, "1.32.0", 13, 21),
        (21, "1.32.0", 22, 28),
        (21, "1.22.1", 22, 21),
        (21, "2.0", 24, 28),
        (21, "1.18.1", 22, 21),
        (21, None, 22, 21),
        (21, "new", 22, 21),
    ],
)
def test_a_model_is_written_for_the_onnx_runtime_that_is_there(pinned, version, opset, pins):
    """Where it reads less than the profile says, or the model needs more than that."""
    profile = msgspec.structs.replace(PROFILE, max_opset=pinned, max_ir_version=10 if pinned == 21 else 14)
    fitted = fitted_to_onnxruntime(profile, version, opset)
    assert (fitted.max_opset, fitted.max_ir_version) == (pins, {21: 10, 23: 11, 28: 14}[pins])


def test_what_the_device_cannot_run_is_not_built():
    missing = {"openvino": "openvino is not on the device", "onnxruntime": "it is too old"}
    planned = plan_variants(
        model(), PROFILE, recipes=("clean", "openvino"), has_samples=True, installed=TOOLS, unavailable=missing
    )
    assert isinstance(planned[0], Planned), (
        "the original is copied, which takes no time, and is what others are compared with"
    )
    assert [reason(p) for p in planned[1:]] == ["it is too old", "openvino is not on the device"]


def test_another_runtime_s_int8_is_written_as_it_wants():
    """Whatever the profile says of ONNX Runtime's."""
    board = Profile(
        name="b", title="B", arch="aarch64", recipes=EVERY[1:], runtimes=RUNTIMES, int8_encoding="u8s8-7bit"
    )
    planned = plan(model(), board)
    by_name = {step.name: step.options for step in planned["openvino-int8"].recipe.steps}
    assert (by_name["emit_qdq"]["encoding"], by_name["emit_qdq"]["rules"]) == ("u8s8", "x86")
    assert by_name["to_openvino"]["version"] == "2026.4.1"
    assert planned["openvino-int8"].recipe.encoding == "int8 U8S8 per-channel"


def test_a_converter_that_is_not_installed_is_named():
    planned = plan_variants(model(), PROFILE, recipes=("openvino",), has_samples=True)
    assert "pip install 'edgeopt[openvino]'" in reason(planned[1])


def test_the_original_is_always_planned():
    """Even when only others are asked for."""
    assert list(plan(model(), recipes=("clean",))) == ["original", "clean"]
    assert list(plan(model(), recipes=())) == ["original"]


def test_recipes_asked_for_replace_the_profiles():
    profile = msgspec.structs.replace(PROFILE, runtimes=("onnxruntime",), recipes=("clean",))
    assert list(plan(model(), profile)) == ["original", "clean"]
    assert list(plan(model(), profile, recipes=("int8-static", "int8-static"))) == ["original", "int8-static"]


def test_an_unknown_recipe_is_an_error_that_names_the_known_ones():
    with pytest.raises(UnknownName) as caught:
        plan(model(), recipes=("int3",))
    assert caught.value.code == "unknown-recipe"
    assert all(name in (caught.value.hint or "") for name in EVERY)


@pytest.mark.parametrize(("name", "left"), [("pruned-15", 0.85), ("pruned-5", 0.95), ("pruned-80-int8", 0.2)])
def test_any_share_can_be_pruned_by_name(name, left):
    _, planned = plan_variants(model(), PROFILE, recipes=(name,), has_samples=True, installed=TOOLS | TORCH)
    assert isinstance(planned, Planned)
    (step,) = [step for step in planned.recipe.steps if step.name == "prune"]
    assert step.options["latency"] == left
    assert ("calibrate" in {step.name for step in planned.recipe.steps}) is name.endswith("int8")


@pytest.mark.parametrize(
    "name", ["pruned-4", "pruned-81", "pruned-015", "pruned-05", "pruned-100", "pruned-", "pruned-20-int4"]
)
def test_no_other_share_can(name):
    with pytest.raises(UnknownName) as caught:
        plan(model(), recipes=(name,))
    assert "pruned-5 to pruned-80" in (caught.value.hint or "")


@pytest.mark.parametrize(("share", "fits"), [(0.9, True), (0.51, True), (0.5, False), (0.02, False), (None, True)])
def test_4_bit_weights_are_for_models_that_are_mostly_matrices(share, fits):
    """Records without the share are tried: the build says no when there is nothing to do."""
    planned = plan(model(matrix_share=share))["int4-weights"]
    assert isinstance(planned, Planned) is fits
    if not fits:
        assert f"only {100 * share:.0f} % of the weights are matrices" in reason(planned)


def test_4_bit_weights_need_something_to_quantise():
    assert "quantised already" in reason(plan(model(op_counts={"MatMulNBits": 1}))["int4-weights"])


def test_static_needs_samples():
    assert "needs samples" in reason(plan(model(), has_samples=False)["int8-static"])


def int8_options(recipe):
    return next(step.options for step in recipe.steps if step.name == "emit_qdq")


@pytest.mark.parametrize("name", ENCODINGS)
def test_static_takes_the_profiles_encoding(name):
    """What the recipe says is what will be done."""
    planned = plan(model(), msgspec.structs.replace(PROFILE, int8_encoding=name))
    assert planned["int8-static"].recipe.encoding == ENCODINGS[name].words
    assert planned["int8-stem"].recipe.encoding == f"{ENCODINGS[name].words}, float stem"
    options = int8_options(planned["int8-static"].recipe)
    assert (options["encoding"], options["rules"]) == (name, "arm")


def test_every_encoding_can_be_named_in_a_profile():
    assert set(ENCODINGS) == set(get_args(Int8Encoding)) - {"auto"}
    assert {name: each.name for name, each in ENCODINGS.items()} == {name: name for name in ENCODINGS}


@pytest.mark.parametrize(
    ("arch", "named", "encoding", "rules"),
    [
        ("aarch64", "auto", "s8s8", "arm"),
        ("x86_64", "auto", "u8s8", "x86"),
        ("any", "auto", "u8s8", "x86"),
        ("any", "s8s8", "s8s8", "arm"),
        ("x86_64", "s8s8", "s8s8", "x86"),
    ],
)
def test_an_undecided_encoding_goes_by_the_architecture_and_so_do_the_rules(arch, named, encoding, rules):
    """S8S8 on x86 is a mistake that the fusion gate must see with the eyes of x86."""
    planned = plan(model(), msgspec.structs.replace(PROFILE, arch=arch, int8_encoding=named))
    options = int8_options(planned["int8-static"].recipe)
    assert (options["encoding"], options["rules"]) == (encoding, rules)


@pytest.mark.parametrize(
    ("machine", "features", "encoding"),
    [
        ("x86_64", ("avx2", "avx512_vnni"), "u8s8"),
        ("x86_64", ("avx2", "avx_vnni"), "u8s8"),
        ("x86_64", ("avx2",), "u8s8-7bit"),
        ("aarch64", ("asimddp",), "s8s8"),
        ("armv8l", (), "s8s8"),
        ("x86_64", (), "auto"),
    ],
)
def test_an_undecided_encoding_goes_by_what_the_boards_cpu_can_do(machine, features, encoding):
    profile = msgspec.structs.replace(PROFILE, int8_encoding="auto")
    assert fitted_to_cpu(profile, machine, features).int8_encoding == encoding
    decided = msgspec.structs.replace(PROFILE, int8_encoding="trt")
    assert fitted_to_cpu(decided, machine, features) == decided


@pytest.mark.parametrize(("old", "new"), [("uint8", "u8s8"), ("int8", "s8s8")])
def test_the_older_word_for_an_encoding_still_counts(old, new):
    profile = msgspec.structs.replace(PROFILE, int8_activations=old)
    assert int8_options(plan(model(), profile)["int8-static"].recipe)["encoding"] == new
    newer = msgspec.structs.replace(profile, int8_encoding="u8u8")
    assert int8_options(plan(model(), newer)["int8-static"].recipe)["encoding"] == "u8u8"


@pytest.mark.parametrize(
    ("name", "activations"),
    [("u8s8", "uint8"), ("s8s8", "int8"), ("u8s8-7bit", "uint8"), ("u8u8", "uint8"), ("trt", "int8"), ("qnn", "uint8")],
)
def test_what_other_tools_find_is_written_in_the_nearest_encoding(name, activations):
    recipe = plan(model(), msgspec.structs.replace(PROFILE, int8_encoding=name))["int8-ort"].recipe
    assert recipe.steps[-1].options["activations"] == activations
    assert recipe.encoding == ("int8 S8S8 per-channel" if activations == "int8" else "int8 U8S8 per-channel")


def test_fp16_is_skipped_where_nothing_computes_in_it_unless_asked_for():
    profile = msgspec.structs.replace(PROFILE, fp16=False)
    assert "does not compute in float16" in reason(plan(model(), profile)["fp16"])
    assert isinstance(plan(model(), profile, recipes=("fp16",))["fp16"], Planned)


def test_a_half_precision_model_is_widened_for_int8_only():
    half = model(parameter_dtypes={"float16": 1000})
    planned = plan(half)
    assert "float16 already" in reason(planned["fp16"])
    for name in ("int8-dynamic", "int8-static"):
        assert "float32" in [step.name for step in planned[name].recipe.steps]
    assert planned["original"].recipe.encoding == "fp16"


def test_a_model_without_weights_has_nothing_to_convert():
    planned = plan(model(parameter_dtypes={}))
    assert reason(planned["fp16"]) == "the model has no float32 weights"
    assert reason(planned["int8-dynamic"]) == "the model has no float weights to quantise"


def test_a_quantised_model_is_left_as_it_is():
    planned = plan(model(op_counts={"QLinearConv": 3, "Gemm": 1}))
    assert "quantised already (it has QLinearConv)" in reason(planned["int8-static"])
    assert planned["clean"].recipe.encoding == "quantised as given"


def test_dynamic_needs_matrix_products():
    assert "no matrix product" in reason(plan(model(op_counts={"Conv": 3}))["int8-dynamic"])


def test_int8_needs_something_to_quantise():
    assert "no convolution or matrix product" in reason(plan(model(op_counts={"Add": 3}))["int8-static"])


def test_a_model_newer_than_the_boards_runtime_is_skipped_whole():
    """The original too: it would not load there."""
    planned = plan(model(opset=22))
    assert all("export it with opset 21 or lower" in reason(p) for p in planned.values())


def test_a_huge_model_is_only_copied():
    planned = plan(model(bytes=(2 << 30) - 1))
    assert isinstance(planned["original"], Planned)
    assert all("2.0 GiB" in reason(planned[name]) for name in EVERY[1:])


def test_pins_come_from_the_profile():
    profile = msgspec.structs.replace(PROFILE, max_opset=17, max_ir_version=8)
    planned = plan(model(), profile)["clean"]
    assert (planned.pins.max_opset, planned.pins.max_ir_version) == (17, 8)


def test_every_step_of_every_recipe_exists():
    assert {step.name for recipe in RECIPES.values() for step in recipe.steps} <= STEPS.keys()


def test_recipes_are_data():
    """They survive JSON, so they can be keys, records and files."""
    for recipe in RECIPES.values():
        assert msgspec.json.decode(msgspec.json.encode(recipe), type=type(recipe)) == recipe
    assert get_recipe("clean") is RECIPES["clean"]


def test_a_deep_budget_adds_what_takes_long():
    profile = msgspec.structs.replace(PROFILE, runtimes=("onnxruntime",), recipes=("clean", "int8-static"))
    names = [p.name for p in plan_variants(model(), profile, has_samples=True, budget="deep")]
    assert names == [
        "original",
        "clean",
        "int8-static",
        "int8-mixed",
        "int8-ort",
        "int8-nncf",
        "int8-aimet",
        "int4-weights",
        "pruned-10",
        "pruned-20",
        "pruned-30",
        "pruned-10-int8",
        "pruned-20-int8",
        "pruned-30-int8",
        "low-rank",
    ]
    asked = plan_variants(model(), profile, recipes=("clean",), has_samples=True, budget="deep")
    assert [p.name for p in asked] == ["original", "clean"]


@pytest.mark.parametrize(("arch", "block"), [("x86_64", 16), ("aarch64", 8)])
def test_pruning_goes_by_the_boards_kernels_and_rates(arch, block):
    rate = Roofline(dtype="fp32", threads=1, gmac_per_s=10.0, gb_per_s=4.0)
    profile = msgspec.structs.replace(PROFILE, arch=arch, roofline=(rate,))
    names = ("pruned-20", "pruned-20-int8")
    plain, int8 = plan_variants(model(), profile, recipes=names, has_samples=True, installed=TORCH)[1:]
    step = next(step for step in plain.recipe.steps if step.name == "prune")
    assert step in int8.recipe.steps
    assert step.options["block"] == block
    assert (step.options["latency"], step.options["gmac_per_s"], step.options["gb_per_s"]) == (0.8, 10.0, 4.0)


def test_pruning_needs_samples():
    skipped = plan_variants(model(), PROFILE, recipes=("pruned-10",), has_samples=False)[1]
    assert "samples" in skipped.reason


def planned_to_prune(**options):
    return plan_variants(model(task="classification"), PROFILE, has_samples=True, **options)


def test_what_pruning_broke_is_trained_as_the_user_wishes():
    recovery = Recovery(objectives=("seed", "masked"), trainable="lora", seed=3)
    made = planned_to_prune(recipes=("pruned-10-int8",), installed=TORCH, recovery=recovery, budget="deep")[1].recipe
    names = [step.name for step in made.steps]
    assert names.index("recover") == names.index("prune") + 1
    assert made.steps[names.index("recover")].options == {
        "budget": "deep",
        "trainable": "lora",
        "objectives": ["seed", "masked"],
        "task": "classification",
        "seed": 3,
        "at_least": 13,
        "version": "2.13.0",
    }


def test_without_torch_a_recipe_that_was_asked_for_says_what_to_install():
    asked = planned_to_prune(recipes=("pruned-10", "clean"))
    assert "PyTorch is not installed: pip install 'edgeopt[torch]'; or --budget instant" in asked[1].reason
    assert isinstance(asked[2], Planned)


@pytest.mark.parametrize(
    ("installed", "budget", "why"),
    [
        ({}, "standard", "PyTorch is not installed: pip install 'edgeopt[torch]'"),
        (TORCH, "instant", "for which the budget instant has no time"),
    ],
)
def test_int8_that_cannot_be_trained_is_not_built_as_what_it_is_not(installed, budget, why):
    planned = planned_to_prune(recipes=("int8-trained",), installed=installed, budget=budget)
    assert planned[1].reason.endswith(why)


def test_int8_is_trained_by_name_as_wished_and_not_by_default():
    made = planned_to_prune(recipes=("int8-trained",), installed=TORCH, recovery=Recovery(seed=3))[1]
    names = [step.name for step in made.recipe.steps]
    assert names.index("calibrate") + 1 == names.index("train_int8") == names.index("emit_qdq") - 1
    options = made.recipe.steps[names.index("train_int8")].options
    assert (options["seed"], options["task"], options["version"], options["rules"]) == (
        *(3, "classification", "2.13.0"),
        made.recipe.steps[-2].options["rules"],
    )
    assert made.recipe.encoding.endswith("per-channel, trained")
    profile = Profile(name="board", title="A board", arch="x86_64", recipes=("clean", "int8-static"))
    usual = plan_variants(model(), profile, has_samples=True, installed=TORCH)
    assert "int8-trained" not in [p.name for p in usual]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"budget": "deep"}, "; not trained afterwards, which takes PyTorch: pip install 'edgeopt[torch]'"),
        (
            {"budget": "instant", "recipes": ("pruned-10",)},
            "; not trained afterwards, for which the budget has no time",
        ),
    ],
)
def test_what_cannot_be_trained_is_pruned_all_the_same_and_says_so(options, why):
    made = next(p for p in planned_to_prune(**options) if p.name == "pruned-10")
    assert isinstance(made, Planned)
    assert made.recipe.title.endswith(why)
    assert [step.name for step in made.recipe.steps][-2:] == ["prune", "keep"]


def test_what_is_calibrated_on_invented_samples_says_so() -> None:
    planned = {p.name: p for p in plan_variants(model(), PROFILE, has_samples=True, synthetic=True)}
    assert planned["int8-static"].recipe.title.endswith("calibrated on synthetic inputs, since no samples were given")
    assert "synthetic" not in planned["clean"].recipe.title


@pytest.mark.parametrize(
    ("recipe", "words"),
    [("int8-nncf", "NNCF, .* 'edgeopt\\[nncf\\]'"), ("int8-aimet", "AIMET, .* 'edgeopt\\[aimet\\]'")],
)
def test_a_tool_that_is_not_installed_is_skipped_with_what_to_install(recipe: str, words: str) -> None:
    planned = {p.name: p for p in plan_variants(model(), PROFILE, has_samples=True)}
    assert re.search(f"it needs {words}", reason(planned[recipe]))
    assert isinstance(planned["int8-ort"], Planned)


def test_a_tools_version_is_part_of_its_recipe() -> None:
    """So that another version is another variant, and none is taken from the cache for it."""
    planned = plan(model())
    assert planned["int8-nncf"].recipe.steps[-1].options["version"] == "3.4.0"
    assert planned["int8-aimet"].recipe.steps[-1].options["version"] == "2.42.0"


def test_a_model_that_came_quantised_is_written_anew_and_nothing_else() -> None:
    """With samples or without: its file has the ranges."""
    profile = msgspec.structs.replace(
        PROFILE, runtimes=("onnxruntime",), recipes=("clean", "int8-static"), int8_activations="int8"
    )
    ops = {"QuantizeLinear": 3, "DequantizeLinear": 5, "Conv": 2}
    planned = plan(model(op_counts=ops), profile, has_samples=False)
    assert [name for name, p in planned.items() if isinstance(p, Planned)] == ["original", "clean", "legalise"]
    assert planned["legalise"].recipe.encoding == "int8 S8S8 per-channel"


def test_what_is_not_qdq_cannot_be_written_anew() -> None:
    integers = plan(model(op_counts={"QLinearConv": 3, "DequantizeLinear": 1}))["legalise"]
    assert "operators of their own (QLinearConv): export it in QDQ form" in reason(integers)
    assert "not quantised" in reason(plan(model())["legalise"])


def test_a_profile_without_int8_gets_none() -> None:
    profile = msgspec.structs.replace(PROFILE, runtimes=("onnxruntime",), recipes=("clean",))
    assert list(plan(model(op_counts={"DequantizeLinear": 5, "Conv": 2}), profile)) == ["original", "clean"]
