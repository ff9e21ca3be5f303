"""Why a recipe does not fit a model or a kind of device, in sentences. Pure: from records."""

from __future__ import annotations

from edgeopt.domain.device import Profile
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.variant import Recipe

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

LEAST_MATRIX_SHARE = 0.5
"""Of the parameters that are computed with: where less of them are matrices, 4 bits in these alone make a file little smaller."""


def only_as_it_is(recipe: Recipe, model: ModelInfo) -> str | None:
    """Why a file that cannot be rebuilt has no variants."""
    if not recipe.steps or model.not_rebuilt is None:
        return None
    return f"the file can only be run as it is: {model.not_rebuilt}"


def too_new(model: ModelInfo, profile: Profile) -> str | None:
    """Why the board's runtime cannot read the model at all."""
    if model.opset <= profile.max_opset or model.format != "onnx":
        return None
    return (
        f"the model uses opset {model.opset}, and the oldest runtime for {profile.title} reads {profile.max_opset} at most: "
        f"export it with opset {profile.max_opset} or lower"
    )


def obstacle(recipe: Recipe, model: ModelInfo, profile: Profile, *, has_samples: bool, asked: bool) -> str | None:
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
        case _ if recipe.needs_samples:
            return _no_int8(model) or (None if has_samples else "it needs samples to calibrate on, and there are none")
        case _:
            return None


def too_large(recipe: Recipe, model: ModelInfo) -> str | None:
    """Why a model is not rebuilt in one file."""
    if not recipe.steps or model.bytes <= MAX_EMBEDDED_BYTES:
        return None
    return f"the model has {model.bytes / 2**30:.1f} GiB; only smaller ones can be rebuilt in one file"


def _no_quantisers(model: ModelInfo) -> str | None:
    """Why a model is not one that came in QDQ form."""
    integers = sorted(INTEGER_OPERATORS & model.op_counts.keys())
    if integers:
        return f"the model's integers are in operators of their own ({', '.join(integers[:3])}): export it in QDQ form"
    if "DequantizeLinear" not in model.op_counts:
        return "the model is not quantised; this recipe is for files that another tool quantised"
    return None


def _no_fp16(model: ModelInfo, profile: Profile, *, asked: bool) -> str | None:
    if not _has_float32(model):
        return "the model has no float32 weights" + (" (it is float16 already)" if _is_fp16(model) else "")
    if not profile.fp16 and not asked:
        return f"{profile.title} does not compute in float16: the file would be smaller, nothing would be faster (ask for it by name if size is what counts)"
    return None


def _has_float32(model: ModelInfo) -> bool:
    """Of a TensorFlow Lite file it is the float graph that counts."""
    return model.format == "tflite" or bool(model.parameter_dtypes.get("float32"))


def _is_fp16(model: ModelInfo) -> bool:
    return bool(model.parameter_dtypes.get("float16"))


def _no_int8(model: ModelInfo) -> str | None:
    found = sorted(QUANTISED & model.op_counts.keys())
    if found:
        return f"the model is quantised already (it has {', '.join(found[:3])})"
    if not _has_float32(model) and not _is_fp16(model):
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
