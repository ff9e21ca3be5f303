"""The recipes, as data. A recipe is a name and a list of steps; what a step does is in `steps`, by name."""

from __future__ import annotations

import re

import msgspec

from edgeopt.domain.device import RuntimeName
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Format, Recipe, Step
from edgeopt.errors import UnknownName

MIN_QDQ_OPSET = 13
"""DequantizeLinear has had an axis, so scales per channel, since opset 13."""

MIN_DYNAMIC_OPSET = 11
"""DynamicQuantizeLinear came with opset 11."""

ORIGINAL = Recipe(name="original", title="the model as it is", steps=(), encoding="as given")
ORIGINAL_TFLITE = msgspec.structs.replace(ORIGINAL, format="tflite", runtime="litert")


def original_of(model: ModelInfo) -> Recipe:
    """The recipe of a model as it is, by the runtime that its file is for."""
    return ORIGINAL_TFLITE if model.format == "tflite" else ORIGINAL


CLEAN = Recipe(
    name="clean",
    title="same numbers, tidier graph: constants folded, batch norm merged, dead nodes gone",
    steps=(Step(name="clean"), Step(name="same_answers")),
    encoding="as given",
)

FP16 = Recipe(
    name="fp16",
    title="weights and arithmetic in float16, inputs and outputs as before",
    steps=(Step(name="clean"), Step(name="float16")),
    encoding="fp16",
)

TABLES = Step(name="int8_tables")

INT8_DYNAMIC = Recipe(
    name="int8-dynamic",
    title="matrix products in int8, activations quantised while running",
    steps=(
        Step(name="clean"),
        Step(name="float32"),
        Step(name="upgrade_opset", options={"at_least": MIN_DYNAMIC_OPSET}),
        Step(name="same_answers"),
        Step(name="quantize_dynamic", options={"per_channel": True}),
        TABLES,
    ),
    encoding="int8 dynamic",
)

_TO_QDQ = (
    Step(name="clean"),
    Step(name="float32"),
    Step(name="upgrade_opset", options={"at_least": MIN_QDQ_OPSET}),
    Step(name="same_answers"),
)


def _int8(*, float_first: int = 0, float_share: float = 0.0) -> tuple[Step, ...]:
    """From a tidy float graph to QDQ. What is left in float by its share is found on the calibrated network, so that both recipes have that in common."""
    calibrate = Step(
        name="calibrate", options={"calibrated_as": "u8s8", "float_first": float_first, "budget": "standard"}
    )
    leave = Step(name="leave_float", options={"float_share": float_share, "budget": "standard"})
    write = Step(name="emit_qdq", options={"encoding": "u8s8", "rules": "x86", "budget": "standard"})
    return (calibrate, *([leave] if float_share else []), write)


INT8_STATIC = Recipe(
    name="int8-static",
    title="weights and activations in int8; ranges, rounding and biases from samples",
    steps=(*_TO_QDQ, *_int8(), TABLES),
    encoding="int8 U8S8 per-channel",
    needs_samples=True,
)

INT8_STEM = Recipe(
    name="int8-stem",
    title="as int8-static, the first two layers in float: few input channels make poor use of int8 kernels",
    steps=(*_TO_QDQ, *_int8(float_first=2), TABLES),
    encoding="int8 U8S8 per-channel, float stem",
    needs_samples=True,
)

INT8_MIXED = Recipe(
    name="int8-mixed",
    title="as int8-static, with what hurts most in float: a stem, or single layers where they gain more; up to a fifth of the multiplications",
    steps=(*_TO_QDQ, *_int8(float_share=0.2), TABLES),
    encoding="int8 U8S8 per-channel, mixed",
    needs_samples=True,
)


KEEP = Step(name="keep")
"""The end of a recipe that another one goes on from: what came before is made once for both."""

RECOVER = Step(
    name="recover",
    options={
        "budget": "standard",
        "trainable": "all",
        "objectives": [],
        "task": None,
        "seed": 0,
        "at_least": MIN_QDQ_OPSET,
        "version": None,
    },
)
"""Train what is left to answer as the original does, without labels. The plan fills in the wishes, and takes it out where PyTorch is missing."""


def _pruned(percent: int, *, int8: bool = False) -> Recipe:
    """Smaller by so much of the latency that a count of the work predicts. `block` and the rates are the board's and the task the model's, filled in by the plan."""
    options = {
        "latency": round(1 - percent / 100, 2),
        "block": 16,
        "gmac_per_s": None,
        "gb_per_s": None,
        "score": "answers",
        "budget": "standard",
        "task": None,
    }
    title = f"channels and blocks that answers hardly depend on gone, for about {percent} % less work; what is left fitted to the samples and trained to answer as the original does"
    return Recipe(
        name=f"pruned-{percent}-int8" if int8 else f"pruned-{percent}",
        title=title + (", then int8 as int8-static" if int8 else ""),
        steps=(*_TO_QDQ, Step(name="prune", options=options), RECOVER, *((*_int8(), TABLES) if int8 else (KEEP,))),
        encoding="int8 U8S8 per-channel, pruned" if int8 else "fp32 pruned",
        needs_samples=True,
    )


LOW_RANK = Recipe(
    name="low-rank",
    title="large matrices as two of lower rank where that is less work, by what the samples make of them",
    steps=(
        *_TO_QDQ,
        Step(
            name="low_rank",
            options={
                "energy": 0.99,
                "block": 16,
                "gmac_per_s": None,
                "gb_per_s": None,
                "budget": "standard",
                "task": None,
            },
        ),
    ),
    encoding="fp32 low rank",
    needs_samples=True,
)

PRUNED = tuple(_pruned(percent, int8=int8) for int8 in (False, True) for percent in (10, 20, 30))
ANY_PRUNED = re.compile(r"pruned-(\d{1,2})(-int8)?")
"""By name, any per cent: what is right between those of `PRUNED`, or beyond them for a network that is wider than it need be."""
LEAST_PRUNED, MOST_PRUNED = 5, 80


def _halved(*, int8: bool = False) -> Recipe:
    """Half of the layers of a stack of alike ones, trained."""
    return Recipe(
        name="layers-half-int8" if int8 else "layers-half",
        title="half of the layers gone, those that the last features depend on least; what is left trained to answer as the original does"
        + (", then int8 as int8-static" if int8 else ""),
        steps=(
            *_TO_QDQ,
            Step(name="drop_layers", options={"share": 0.5}),
            RECOVER,
            *((*_int8(), TABLES) if int8 else (KEEP,)),
        ),
        encoding="int8 U8S8 per-channel, half of the layers" if int8 else "fp32, half of the layers",
        needs_samples=True,
    )


LAYERS = (_halved(), _halved(int8=True))


def _trained() -> Recipe:
    """What calibration found, trained with the rounding in it."""
    calibrate, write = _int8()
    options = {key: value for key, value in RECOVER.options.items() if key != "at_least"}
    train = Step(name="train_int8", options=options | {"encoding": "u8s8", "rules": "x86"})
    return Recipe(
        name="int8-trained",
        title="as int8-static, then weights, biases and steps trained with the rounding in them to answer as the original does",
        steps=(*_TO_QDQ, calibrate, train, write, TABLES),
        encoding="int8 U8S8 per-channel, trained",
        needs_samples=True,
    )


INT8_TRAINED = _trained()


def _taught(*, int8: bool = False) -> Recipe:
    """A smaller network that the user names; its file is filled in by the plan."""
    tidy = tuple(step for step in _TO_QDQ if step.name != "same_answers")
    return Recipe(
        name="student-int8" if int8 else "student",
        title="your student, trained to answer as the original does" + (", then int8 as int8-static" if int8 else ""),
        steps=(
            Step(name="student", options={"path": None, "digest": None}),
            *tidy,
            RECOVER,
            *((*_int8(), TABLES) if int8 else (KEEP,)),
        ),
        encoding="int8 U8S8 per-channel, student" if int8 else "fp32 student",
        needs_samples=True,
    )


STUDENTS = (_taught(), _taught(int8=True))


def _borrowed(tool: str, title: str) -> Recipe:
    """`version` is filled in by the plan: another version may find other ranges."""
    options = {"tool": tool, "version": None, "activations": "uint8", "budget": "standard"}
    return Recipe(
        name=f"int8-{tool}",
        title=f"int8 with what {title} finds, written so that it fuses; our bias correction where that helps",
        steps=(*_TO_QDQ, Step(name="borrow", options=options)),
        encoding="int8 U8S8 per-channel",
        needs_samples=True,
    )


INT8_ORT = _borrowed("ort", "ONNX Runtime's own quantiser")
INT8_NNCF = _borrowed("nncf", "NNCF")
INT8_AIMET = _borrowed("aimet", "AIMET")

LEGALISE = Recipe(
    name="legalise",
    title="the quantised model as it came, same weights and ranges, written so that it fuses",
    steps=(
        Step(name="float32"),
        Step(name="upgrade_opset", options={"at_least": MIN_QDQ_OPSET}),
        Step(name="legalise", options={"activations": "uint8"}),
    ),
    encoding="int8 U8S8 per-channel",
)


def _converted(
    runtime: RuntimeName, form: Format, title: str, to: str, *, encoded_as: str | None = None, words: str = "fp32"
) -> Recipe:
    """For another runtime: the tidy float graph, or the calibrated one, in its form. `version`, which the plan fills in, is that of the converter."""
    quantised = () if encoded_as is None else _int8()
    return Recipe(
        name=runtime if encoded_as is None else f"{runtime}-int8",
        title=title,
        steps=(*_TO_QDQ, *quantised, Step(name=to, options={"version": None})),
        encoding=words,
        format=form,
        runtime=runtime,
        needs_samples=encoded_as is not None,
        encoded_as=encoded_as,
    )


LITERT = _converted("litert", "tflite", "for LiteRT, in float", "to_tflite")
LITERT_INT8 = _converted(
    "litert",
    "tflite",
    "for LiteRT, int8 by the same calibration as int8-static",
    "to_tflite",
    encoded_as="s8s8",
    words="int8 S8S8 per-channel",
)
OPENVINO = _converted("openvino", "openvino", "for OpenVINO, in float", "to_openvino")
OPENVINO_INT8 = _converted(
    "openvino",
    "openvino",
    "for OpenVINO, int8 by the same calibration as int8-static",
    "to_openvino",
    encoded_as="u8s8",
    words="int8 U8S8 per-channel",
)
NCNN = _converted("ncnn", "ncnn", "for ncnn, in float", "to_ncnn")
NCNN_INT8 = _converted(
    "ncnn",
    "ncnn",
    "for ncnn, int8 by the same calibration as int8-static",
    "to_ncnn",
    encoded_as="u8s8",
    words="int8 S8S8 per-channel",
)

TENSORRT = _converted("tensorrt", "tensorrt", "for TensorRT on the board's GPU, in float", "to_tensorrt")
TENSORRT_INT8 = _converted(
    "tensorrt",
    "tensorrt",
    "for TensorRT on the board's GPU, int8 calibrated with symmetric codes",
    "to_tensorrt",
    encoded_as="trt",
    words="int8 S8S8 per-channel, symmetric",
)

INT4_WEIGHTS = Recipe(
    name="int4-weights",
    title="weights of matrix products in 4 bits, blocks of 32 with a scale each; look-up tables in int8",
    steps=(
        Step(name="clean"),
        Step(name="float32"),
        Step(name="same_answers"),
        Step(name="int4", options={"accuracy_level": 4}),
        TABLES,
    ),
    encoding="int4 weights",
)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *(ORIGINAL, CLEAN, FP16, INT8_DYNAMIC, INT8_STATIC, INT8_STEM, INT8_MIXED),
        *(INT8_ORT, INT8_NNCF, INT8_AIMET, INT4_WEIGHTS, LEGALISE, *PRUNED, LOW_RANK, *LAYERS, *STUDENTS),
        INT8_TRAINED,
        *(LITERT, LITERT_INT8, OPENVINO, OPENVINO_INT8, NCNN, NCNN_INT8, TENSORRT, TENSORRT_INT8),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownName: with the names that there are.
    """
    if name in RECIPES:
        return RECIPES[name]
    pruned = ANY_PRUNED.fullmatch(name)
    if pruned and LEAST_PRUNED <= int(pruned[1]) <= MOST_PRUNED and not pruned[1].startswith("0"):
        return _pruned(int(pruned[1]), int8=pruned[2] is not None)
    raise UnknownName(
        f"no recipe is called {name!r}",
        hint=f"There are: {', '.join(RECIPES)}; and pruned-{LEAST_PRUNED} to pruned-{MOST_PRUNED}, each with -int8 or without.",
        code="unknown-recipe",
    )
