"""The recipes, as data. A recipe is a name and a list of steps; what a step does is in `steps`, by name."""

from __future__ import annotations

from edgeopt.domain.variant import Recipe, Step
from edgeopt.errors import UnknownName

MIN_QDQ_OPSET = 13
"""DequantizeLinear has had an axis, so scales per channel, since opset 13."""

MIN_DYNAMIC_OPSET = 11
"""DynamicQuantizeLinear came with opset 11."""

ORIGINAL = Recipe(name="original", title="the model as it is", steps=(), encoding="as given")

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
        *(INT8_ORT, INT8_NNCF, INT8_AIMET, INT4_WEIGHTS, LEGALISE),
    )
}


def get_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        UnknownName: with the names that there are.
    """
    if name not in RECIPES:
        raise UnknownName(
            f"no recipe is called {name!r}", hint=f"There are: {', '.join(RECIPES)}.", code="unknown-recipe"
        )
    return RECIPES[name]
