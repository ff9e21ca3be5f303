"""Which recipes fit a model and a kind of device. Pure: decided from records, before anything is built."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from edgeopt.compiler.quantize.encoding import ENCODINGS, S8S8, U8S8, U8S8_7BIT, Encoding
from edgeopt.compiler.recipes import ORIGINAL, RECIPES, get_recipe
from edgeopt.domain.device import Profile
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Budget, Recipe, Skipped, Step

PRODUCTS = ("MatMul", "Gemm", "LSTM", "Attention")
"""What dynamic quantisation speeds up. Convolutions become ConvInteger, slower than float on every CPU measured."""

QUANTISABLE = frozenset({*PRODUCTS, "Conv", "ConvTranspose"})
QUANTISED = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"}
    | {"DynamicQuantizeLinear", "MatMulNBits", "QGemm"}
)
MAX_EMBEDDED_BYTES = (2 << 30) - (64 << 20)
"""A rebuilt graph holds its weights itself, and protobuf ends at 2 GiB."""

INTEGER_OPERATORS = QUANTISED - {"QuantizeLinear", "DequantizeLinear"}

DEEPER = ("int8-ort", "int8-nncf", "int8-aimet", "int4-weights")
"""Recipes that take long enough to be left to the deep budget, unless they are asked for by name. `int8-mixed` takes the standard one: the most faithful int8 of nearly every network."""

TOOLS = {"int8-nncf": ("nncf", "NNCF"), "int8-aimet": ("aimet", "AIMET")}
"""Recipe -> (its tool's key in `installed` and name of our extra, what people call it)."""

LEAST_MATRIX_SHARE = 0.5
"""Of the parameters that are computed with: where less of them are matrices, 4 bits in these alone make a file little smaller."""

ARM = ("aarch64", "armv7l")
VNNI = frozenset({"avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"})
"""CPU flags of x86 that add four products of 8 bits exactly (names of Linux's /proc/cpuinfo)."""


ON_SYNTHETIC = "; calibrated on synthetic inputs, since no samples were given"


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """The newest ONNX that the oldest runtime of this kind of device reads."""

    max_opset: int
    max_ir_version: int


class Planned(msgspec.Struct, frozen=True, kw_only=True):
    """A recipe that will be tried, its options set for the profile."""

    name: str
    recipe: Recipe
    pins: Pins


def plan_variants(
    model: ModelInfo,
    profile: Profile,
    *,
    recipes: tuple[str, ...] | None = None,
    has_samples: bool,
    synthetic: bool = False,
    budget: Budget = "standard",
    installed: Mapping[str, str] = {},
) -> tuple[Planned | Skipped, ...]:
    """Decide for each recipe of the profile, or of `recipes` when given, whether it is tried. The original always comes first.

    Args:
        model: as inspected.
        profile: the kind of device.
        recipes: names the user asked for; asking for float16 by name overrides the profile's advice against it.
        has_samples: whether there are samples to calibrate on.
        synthetic: those samples were invented; what is calibrated on them says so.
        budget: how long a recipe may search.
        installed: versions of the other quantisers that are here, by the names of `TOOLS`.

    Raises:
        UnknownName: no such recipe.
    """
    names = _usual(model, profile, budget) if recipes is None else recipes
    chosen = [get_recipe(name) for name in dict.fromkeys((ORIGINAL.name, *names))]
    pins = Pins(max_opset=profile.max_opset, max_ir_version=profile.max_ir_version)
    plan: list[Planned | Skipped] = []
    for recipe in chosen:
        reason = (
            _too_new(model, profile)
            or _too_large(recipe, model)
            or _obstacle(recipe, model, profile, has_samples=has_samples, asked=recipes is not None)
            or _not_installed(recipe, installed)
        )
        fitted = _fit(recipe, model, profile, budget, installed)
        if synthetic and recipe.needs_samples:
            fitted = msgspec.structs.replace(fitted, title=fitted.title + ON_SYNTHETIC)
        if reason is None:
            plan.append(Planned(name=recipe.name, recipe=fitted, pins=pins))
        else:
            plan.append(Skipped(name=recipe.name, recipe=fitted, reason=reason))
    return tuple(plan)


def _usual(model: ModelInfo, profile: Profile, budget: Budget) -> tuple[str, ...]:
    """What is tried when nobody asks for anything."""
    if "int8-static" not in profile.recipes:
        return profile.recipes
    came_quantised = "DequantizeLinear" in model.op_counts
    legalised = ("legalise",) if came_quantised else ()
    mixed = () if budget == "instant" else ("int8-mixed",)
    return (*profile.recipes, *legalised, *mixed, *(DEEPER if budget == "deep" else ()))


def _too_new(model: ModelInfo, profile: Profile) -> str | None:
    if model.opset <= profile.max_opset:
        return None
    return (
        f"the model uses opset {model.opset}, and the oldest runtime for {profile.title} reads {profile.max_opset} at most: "
        f"export it with opset {profile.max_opset} or lower"
    )


def _obstacle(recipe: Recipe, model: ModelInfo, profile: Profile, *, has_samples: bool, asked: bool) -> str | None:
    """Why a recipe does not fit the model, None when it does."""
    match recipe.name:
        case "fp16":
            return _no_fp16(model, profile, asked=asked)
        case "int8-dynamic":
            return _no_int8(model) or _no_products(model)
        case "int4-weights":
            return _no_int8(model) or _no_matrices(model)
        case "legalise":
            return _no_quantisers(model)
        case "int8-static" | "int8-stem" | "int8-mixed" | "int8-ort" | "int8-nncf" | "int8-aimet":
            return _no_int8(model) or (None if has_samples else "it needs samples to calibrate on, and there are none")
        case _:
            return None


def _too_large(recipe: Recipe, model: ModelInfo) -> str | None:
    if not recipe.steps or model.bytes <= MAX_EMBEDDED_BYTES:
        return None
    return f"the model has {model.bytes / 2**30:.1f} GiB; only smaller ones can be rebuilt in one file"


def _not_installed(recipe: Recipe, installed: Mapping[str, str]) -> str | None:
    key, name = TOOLS.get(recipe.name, ("", ""))
    if not key or key in installed:
        return None
    return f"it needs {name}, which is not installed: pip install 'edgeopt[{key}]'"


def _no_quantisers(model: ModelInfo) -> str | None:
    """Why a model is not one that came in QDQ form."""
    integers = sorted(INTEGER_OPERATORS & model.op_counts.keys())
    if integers:
        return f"the model's integers are in operators of their own ({', '.join(integers[:3])}): export it in QDQ form"
    if "DequantizeLinear" not in model.op_counts:
        return "the model is not quantised; this recipe is for files that another tool quantised"
    return None


def _no_fp16(model: ModelInfo, profile: Profile, *, asked: bool) -> str | None:
    if not model.parameter_dtypes.get("float32"):
        return "the model has no float32 weights" + (" (it is float16 already)" if _is_fp16(model) else "")
    if not profile.fp16 and not asked:
        return f"{profile.title} does not compute in float16: the file would be smaller, nothing would be faster (ask for it by name if size is what counts)"
    return None


def _is_fp16(model: ModelInfo) -> bool:
    return bool(model.parameter_dtypes.get("float16"))


def _no_int8(model: ModelInfo) -> str | None:
    found = sorted(QUANTISED & model.op_counts.keys())
    if found:
        return f"the model is quantised already (it has {', '.join(found[:3])})"
    if not model.parameter_dtypes.get("float32") and not _is_fp16(model):
        return "the model has no float weights to quantise"
    if not QUANTISABLE & model.op_counts.keys():
        return "the model has no convolution or matrix product to quantise"
    return None


def _no_products(model: ModelInfo) -> str | None:
    if any(op in model.op_counts for op in PRODUCTS):
        return None
    return "the model has no matrix product (MatMul, Gemm, LSTM); dynamic int8 convolutions are slower than float everywhere"


def _no_matrices(model: ModelInfo) -> str | None:
    share = model.matrix_share
    if share is None or share > LEAST_MATRIX_SHARE:
        return None
    return f"only {100 * share:.0f} % of the weights are matrices of MatMul and Gemm (look-up tables aside); 4 bits are for models that are mostly that"


def _fit(recipe: Recipe, model: ModelInfo, profile: Profile, budget: Budget, installed: Mapping[str, str]) -> Recipe:
    """The recipe with the profile's options, the budget and its tool's version, so that what a recipe says is what is done."""
    encoding, arm = encoding_of(profile), runs_on_arm(profile)
    wanted = {
        "encoding": encoding.name,
        "calibrated_as": encoding.calibrated_as,
        "rules": "arm" if arm else "x86",
        "budget": budget,
        "activations": _plain(encoding).activations,
        "version": installed.get(TOOLS.get(recipe.name, ("", ""))[0]),
    }
    steps = tuple(
        Step(name=step.name, options=step.options | {k: v for k, v in wanted.items() if k in step.options})
        for step in recipe.steps
    )
    if recipe.encoding.startswith(U8S8.words):
        written = encoding if any("encoding" in step.options for step in steps) else _plain(encoding)
        words = written.words + recipe.encoding.removeprefix(U8S8.words)
        return msgspec.structs.replace(recipe, steps=steps, encoding=words)
    if recipe.name in ("original", "clean"):
        return msgspec.structs.replace(recipe, steps=steps, encoding=_given_encoding(model))
    return recipe


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


def runs_on_arm(profile: Profile) -> bool:
    """By which of the runtime's rules int8 must fuse: the CPU's, or where a profile is for any, those that its encoding is for."""
    return profile.arch in ARM if profile.arch != "any" else encoding_of(profile) is S8S8


def _plain(encoding: Encoding) -> Encoding:
    """The nearest that codes of other tools can be written in."""
    return S8S8 if encoding.activations == "int8" else U8S8


def _given_encoding(model: ModelInfo) -> str:
    """The number format of the model as it is."""
    if QUANTISED & model.op_counts.keys():
        return "quantised as given"
    dtypes = model.parameter_dtypes
    floats = {name: dtypes.get(name, 0) for name in ("float32", "float16", "float64")}
    most = max(floats, key=lambda name: floats[name])
    return {"float32": "fp32", "float16": "fp16", "float64": "fp64"}[most]


__all__ = ["RECIPES", "Pins", "Planned", "plan_variants"]
