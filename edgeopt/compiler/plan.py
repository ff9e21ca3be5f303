"""Which recipes fit a model and a kind of device. Pure: decided from records, before anything is built."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from edgeopt.compiler.obstacles import QUANTISED, obstacle, only_as_it_is, too_large, too_new
from edgeopt.compiler.quantize.encoding import ENCODINGS, S8S8, U8S8, U8S8_7BIT, Encoding
from edgeopt.compiler.recipes import ORIGINAL, PRUNED, RECIPES, STUDENTS, get_recipe, original_of
from edgeopt.compiler.recovery import no_torch, with_training
from edgeopt.compiler.student import no_student, with_student
from edgeopt.domain.device import Profile
from edgeopt.domain.model import ModelInfo, StudentModel
from edgeopt.domain.variant import Budget, Recipe, Recovery, Skipped, Step

X86_BLOCK, ARM_BLOCK = 16, 8
"""Channels that kernels compute side by side: widths between multiples of it take as long as the next one."""

DEEPER = ("int8-ort", "int8-nncf", "int8-aimet", "int4-weights", *(recipe.name for recipe in PRUNED), "low-rank")
"""Recipes that take long enough to be left to the deep budget, unless they are asked for by name. `int8-mixed` takes the standard one: the most faithful int8 of nearly every network."""

TOOLS = {
    "int8-nncf": ("nncf", "NNCF"),
    "int8-aimet": ("aimet", "AIMET"),
    "openvino": ("openvino", "OpenVINO"),
    "litert": ("tflite", "LiteRT"),
    "ncnn": ("ncnn", "ncnn with its converter pnnx"),
}
"""Recipe, or runtime of a recipe -> (its tool's key in `installed` and name of our extra, what people call it)."""

ARM = ("aarch64", "armv7l")
VNNI = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})
"""CPU flags of x86 that add four products of 8 bits exactly (names of Linux's /proc/cpuinfo)."""


ON_SYNTHETIC = "; calibrated on synthetic inputs{}, since no samples were given"


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """The newest ONNX that the oldest runtime of this kind of device reads."""

    max_opset: int
    max_ir_version: int


READ_BY = {
    (1, 19): Pins(max_opset=21, max_ir_version=10),
    (1, 23): Pins(max_opset=23, max_ir_version=11),
    (1, 32): Pins(max_opset=28, max_ir_version=14),
}
"""The newest ONNX that an onnxruntime from that version on reads, oldest first: measured with 1.19.2, 1.23.2 and 1.32.0 (benchmarks/boards.py --reads). Those between read what the one before does, or more."""


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe that will be tried, its options set for the profile."""

    name: str
    recipe: Recipe
    pins: Pins


def plan_variants(  # noqa: PLR0913 - each is a condition of its own
    model: ModelInfo,
    profile: Profile,
    *,
    recipes: tuple[str, ...] | None = None,
    has_samples: bool,
    synthetic: bool = False,
    drawn: str = "",
    budget: Budget = "standard",
    recovery: Recovery = Recovery(),  # noqa: B008 - frozen
    student: StudentModel | None = None,
    installed: Mapping[str, str] = {},
    unavailable: Mapping[str, str] = {},
) -> tuple[Planned | Skipped, ...]:
    """Decide for each recipe of the profile, or of `recipes` when given, whether it is tried. The original always comes first.

    Args:
        model: as inspected.
        profile: the kind of device.
        recipes: names the user asked for; asking for float16 by name overrides the profile's advice against it.
        has_samples: whether there are samples to calibrate on.
        synthetic: those samples were invented; what is calibrated on them says so.
        drawn: how, in words.
        budget: how long a recipe may search.
        recovery: how what pruning broke is trained.
        student: a smaller network to train, when the user named one; without it the recipes for it are skipped.
        installed: versions of the other quantisers and converters that are here, by the names of `TOOLS`.
        unavailable: runtime -> why nothing can be run by it on the device.

    Raises:
        UnknownName: no such recipe.
    """
    names = _usual(model, profile, budget) if recipes is None else recipes
    if recipes is None and student is not None:
        names += tuple(recipe.name for recipe in STUDENTS)
    chosen = [original_of(model), *(get_recipe(name) for name in dict.fromkeys(names) if name != ORIGINAL.name)]
    pins = Pins(max_opset=profile.max_opset, max_ir_version=profile.max_ir_version)
    plan: list[Planned | Skipped] = []
    for recipe in chosen:
        reason = (
            (unavailable.get(recipe.runtime) if recipe.steps else None)
            or only_as_it_is(recipe, model)
            or too_new(model, profile)
            or too_large(recipe, model)
            or obstacle(recipe, model, profile, has_samples=has_samples, asked=recipes is not None)
            or no_student(recipe, student)
            or _not_installed(recipe, installed)
            or no_torch(recipe, installed, budget, asked=recipes is not None)
        )
        fitted = with_training(
            _fit(with_student(recipe, student), model, profile, budget, installed), model, recovery, budget, installed
        )
        if synthetic and recipe.needs_samples:
            fitted = msgspec.structs.replace(
                fitted, title=fitted.title + ON_SYNTHETIC.format(f" ({drawn})" if drawn else "")
            )
        if reason is None:
            plan.append(Planned(name=recipe.name, recipe=fitted, pins=pins))
        else:
            plan.append(Skipped(name=recipe.name, recipe=fitted, reason=reason))
    return tuple(plan)


def _usual(model: ModelInfo, profile: Profile, budget: Budget) -> tuple[str, ...]:
    """What is tried when nobody asks for anything: what the profile says, and what goes with it; all by the profile's runtimes."""
    names = profile.recipes
    if "int8-static" in names:
        came_quantised = "DequantizeLinear" in model.op_counts
        names += (*(("legalise",) if came_quantised else ()), *(() if budget == "instant" else ("int8-mixed",)))
    converted = [r for runtime in profile.runtimes for r in RECIPES.values() if _is_converted(r, runtime)]
    names += tuple(r.name for r in converted if not r.needs_samples or "int8-static" in names)
    names += DEEPER if budget == "deep" and "int8-static" in names else ()
    return tuple(name for name in names if get_recipe(name).runtime in profile.runtimes)


def _is_converted(recipe: Recipe, runtime: str) -> bool:
    return recipe.runtime == runtime and recipe.format != "onnx"


def _not_installed(recipe: Recipe, installed: Mapping[str, str]) -> str | None:
    key, name = _tool(recipe)
    if not key or key in installed:
        return None
    return f"it needs {name}, which is not installed: pip install 'edgeopt[{key}]'"


def _tool(recipe: Recipe) -> tuple[str, str]:
    return TOOLS.get(recipe.name) or TOOLS.get(recipe.runtime) or ("", "")


def _fit(recipe: Recipe, model: ModelInfo, profile: Profile, budget: Budget, installed: Mapping[str, str]) -> Recipe:
    """The recipe with the profile's options, the budget and its tool's version, so that what a recipe says is what is done."""
    encoding, arm = encoding_of(profile), runs_on_arm(profile)
    if recipe.encoded_as is not None:
        # Another runtime's kernels: ONNX Runtime's rules only say where integers make sense at all.
        encoding = ENCODINGS[recipe.encoded_as]
        arm = encoding is S8S8
    wanted = {
        "encoding": encoding.name,
        "calibrated_as": encoding.calibrated_as,
        "rules": "arm" if arm else "x86",
        "budget": budget,
        "task": model.task,
        "activations": _plain(encoding).activations,
        "version": installed.get(_tool(recipe)[0]),
        "block": ARM_BLOCK if runs_on_arm(profile) else X86_BLOCK,
        **_rates(profile),
    }
    steps = tuple(
        Step(name=step.name, options=step.options | {k: v for k, v in wanted.items() if k in step.options})
        for step in recipe.steps
    )
    if recipe.encoding.startswith(U8S8.words) and recipe.encoded_as is None:
        written = encoding if any("encoding" in step.options for step in steps) else _plain(encoding)
        words = written.words + recipe.encoding.removeprefix(U8S8.words)
        return msgspec.structs.replace(recipe, steps=steps, encoding=words)
    if recipe.name in ("original", "clean"):
        return msgspec.structs.replace(recipe, steps=steps, encoding=_given_encoding(recipe, model))
    return msgspec.structs.replace(recipe, steps=steps)


def _rates(profile: Profile) -> dict[str, float | None]:
    """What pruning counts time by: the profile's rates in float with the fewest threads, None where no such board was measured."""
    known = sorted((rate for rate in profile.roofline if rate.dtype == "fp32"), key=lambda rate: rate.threads)
    return {
        "gmac_per_s": known[0].gmac_per_s if known else None,
        "gb_per_s": known[0].gb_per_s if known else None,
    }


def encoding_of(profile: Profile) -> Encoding:
    """What int8 is written as for a kind of board; `auto` that is still undecided goes by the architecture."""
    name = profile.encoding
    return ENCODINGS[name] if name != "auto" else S8S8 if profile.arch in ARM else U8S8


def fitted_to_cpu(profile: Profile, machine: str, features: Collection[str]) -> Profile:
    """The profile with `auto` decided by the CPU: signed on ARM; weights of 7 bits on an x86 that adds pairs of products in 16 bits.

    Args:
        profile: one that says how int8 is written is given back as it is.
        machine: as `uname -m` says.
        features: the CPU's flags, by the kernel's names; none when the kernel does not tell.
    """
    on_arm = machine.startswith(("aarch64", "arm"))
    if profile.encoding != "auto" or not (on_arm or features):
        return profile
    on_x86 = U8S8_7BIT if VNNI.isdisjoint(features) else U8S8
    return msgspec.structs.replace(profile, int8_encoding=(S8S8 if on_arm else on_x86).name)


def fitted_to_onnxruntime(profile: Profile, version: str | None, opset: int) -> Profile:
    """The profile with the newest ONNX that the device's onnxruntime reads, where that is less than the profile says, or the model needs more.

    Otherwise it stays as it is, so that boards of one kind share what was built for them.

    Args:
        profile: its pins are those of the oldest runtime that such a board should have.
        version: of the device's onnxruntime; None, and one older than any that we tried, changes nothing.
        opset: the model's.
    """
    found = re.match(r"(\d+)\.(\d+)", version or "")
    read = [pins for known, pins in READ_BY.items() if found is not None and known <= (int(found[1]), int(found[2]))]
    if not read or (read[-1].max_opset >= profile.max_opset and opset <= profile.max_opset):
        return profile
    return msgspec.structs.replace(profile, max_opset=read[-1].max_opset, max_ir_version=read[-1].max_ir_version)


def runs_on_arm(profile: Profile) -> bool:
    """By which of the runtime's rules int8 must fuse: the CPU's, or where a profile is for any, those that its encoding is for."""
    return profile.arch in ARM if profile.arch != "any" else encoding_of(profile) is S8S8


def _plain(encoding: Encoding) -> Encoding:
    """The nearest that codes of other tools can be written in."""
    return S8S8 if encoding.activations == "int8" else U8S8


def _given_encoding(recipe: Recipe, model: ModelInfo) -> str:
    """The number format of the model as it is; tidied, a TensorFlow Lite file is a float graph."""
    dtypes = model.parameter_dtypes
    if model.format == "tflite" and recipe.steps:
        return "fp32"
    if QUANTISED & model.op_counts.keys() or any(
        name.startswith(("int8", "uint8")) for name in dtypes if model.format == "tflite"
    ):
        return "quantised as given"
    floats = {name: dtypes.get(name, 0) for name in ("float32", "float16", "float64")}
    most = max(floats, key=lambda name: floats[name])
    return {"float32": "fp32", "float16": "fp16", "float64": "fp64"}[most]


__all__ = ["RECIPES", "Pins", "Planned", "plan_variants"]
