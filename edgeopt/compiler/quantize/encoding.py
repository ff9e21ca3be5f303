"""How the numbers of an int8 network are written, by what is to run them. A table; nothing heavy is imported.

The kernels decide. VNNI, AMX and ARM's dot products add four products of 8 bits exactly in 32. AVX2's VPMADDUBSW (and SSE's) adds two in 16 bits and saturates:
255 * 127 * 2 is over 32767, 255 * 64 * 2 is not, hence weights of 7 bits. With both factors unsigned ONNX Runtime's AVX2 kernel widens to 16 bits first
(VPMADDWD; onnxruntime/core/mlas/lib/x86_64/QgemmU8X8KernelAvx2.asm): exact, and slower. TensorRT takes zero points of 0 only, and biases in float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ALWAYS = frozenset({"Softmax", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Gelu"})
"""Operators of one input that an NPU has in integers and ONNX Runtime's CPU kernels had better not."""


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """One way to write a calibrated network.

    `name` is what a profile says, `words` what a report says. `weight_limit` is the largest code of a weight, apart from its zero point.
    `symmetric`: the zero point of activations is 0. `float_bias`: biases are added in float instead of to the integer sums.
    `foreign` is who runs it, None for ONNX Runtime's CPU kernels; only for those are there heads with a scale for each channel, and 1x1 heads that become Gemm.
    `float_answers`: a Conv in int8 may answer in float. `everything`: operators are int8 also where nothing that they feed is.
    `made` and `left`: operators between layers that are int8 besides those of `placement`, and those of them that are not.
    """

    name: str
    words: str
    activations: Literal["uint8", "int8", "uint16"] = "uint8"
    weights: Literal["int8", "uint8"] = "int8"
    weight_limit: int = 127
    symmetric: bool = False
    float_bias: bool = False
    foreign: str | None = None
    float_answers: bool = False
    everything: bool = False
    made: frozenset[str] = frozenset()
    left: frozenset[str] = frozenset()

    @property
    def calibrated_as(self) -> str:
        """Name of the encoding whose scales, codes and places are this one's as well: one calibration for all of them."""
        return "u8s8" if self.name in ("u8s8", "s8s8", "u8u8") else self.name

    @property
    def levels(self) -> int:
        """The largest code of an activation, counted from 0."""
        return 65535 if self.activations == "uint16" else 255


U8S8 = Encoding(name="u8s8", words="int8 U8S8 per-channel")
S8S8 = Encoding(name="s8s8", words="int8 S8S8 per-channel", activations="int8")
U8S8_7BIT = Encoding(name="u8s8-7bit", words="int8 U8S8 per-channel, 7-bit weights", weight_limit=64)
U8U8 = Encoding(name="u8u8", words="int8 U8U8 per-channel", weights="uint8")
TRT = Encoding(
    name="trt",
    words="int8 S8S8 per-channel, symmetric for TensorRT",
    activations="int8",
    symmetric=True,
    float_bias=True,
    foreign="TensorRT",
    float_answers=True,
    left=frozenset({"Sigmoid", "LeakyRelu", "Mul"}),
)
QNN = Encoding(name="qnn", words="int8 U8S8 per-channel for QNN", foreign="QNN", everything=True, made=ALWAYS)
QNN_A16 = Encoding(
    name="qnn-a16",
    words="int8 weights per-channel, U16 activations for QNN",
    activations="uint16",
    foreign="QNN",
    everything=True,
    made=ALWAYS,
)

ENCODINGS = {each.name: each for each in (U8S8, S8S8, U8S8_7BIT, U8U8, TRT, QNN, QNN_A16)}
