"""The compression steps, by the names that recipes use. Child side: each takes a graph and returns a graph, or a calibrated network on the way from one to the other.

A step may change the graph it is given. It says no with `Refused`, and leaves remarks in `bench.notes`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.compiler.convert.steps import CONVERSIONS
from edgeopt.compiler.graph_walk import behind_control_flow, walk_graphs
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.running import Feeds
from edgeopt.compiler.same import check_same
from edgeopt.compiler.widen import widen

FOLD_BYTES = 4 << 20
"""Constants that would be larger than this stay computed: folding can turn a small file into a huge one."""

MIN_IR_WITHOUT_INPUTS = 4
"""Since IR 4 an initialiser need not be a graph input as well."""

DYNAMIC_OPS = ("MatMul", "Gemm", "LSTM", "Attention")


class Bench(msgspec.Struct, kw_only=True):
    """What steps work with besides the graph: samples, the original for comparison, room for files, remarks.

    For training, which takes long: `deadline` is a moment of the monotonic clock at which it must end by itself, `training` the folder of its checkpoints, `curves` one of the user's.
    """

    source: Path
    scratch: Path
    samples: Feeds | None
    max_opset: int
    max_ir_version: int
    notes: list[str] = []
    deadline: float = math.inf
    training: Path | None = None
    curves: Path | None = None


Step = Callable[[Any, dict[str, Any], Bench], Any]


def clean(model: Any, _options: dict[str, Any], _bench: Bench) -> Any:
    """Take initialisers off the graph inputs (else the runtime must expect others and cannot fold), then simplify with onnxslim."""
    import onnxslim

    _weights_off_inputs(model)
    slimmed = onnxslim.slim(model, size_threshold=FOLD_BYTES)
    if slimmed is None:
        raise Refused("step-failed", "onnxslim gave nothing back")
    return slimmed


def same_answers(model: Any, _options: dict[str, Any], bench: Bench) -> Any:
    """Refuse unless the graph answers as the original does, up to rounding."""
    bench.notes.append(check_same(bench.source, model, bench.samples, bench.scratch))
    return model


def float16(model: Any, _options: dict[str, Any], bench: Bench) -> Any:
    """Weights and arithmetic in float16, signature unchanged; what would overflow stays in float32: see `half`."""
    from edgeopt.compiler.half import halved

    made, remarks = halved(model, bench.samples)
    bench.notes.extend(remarks)
    return made


def quantize_dynamic(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """Matrix products in int8 with ranges found while running. Convolutions stay float: ConvInteger is slower."""
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization import quantize_dynamic as quantize

    source, target = _save(model, bench, "float.onnx"), bench.scratch / "dynamic.onnx"
    quantize(
        source,
        target,
        op_types_to_quantize=list(DYNAMIC_OPS),
        per_channel=bool(options.get("per_channel", True)),
        weight_type=QuantType.QInt8,
    )
    return _quantised(target, "DynamicQuantizeLinear", "DynamicQuantizeLSTM", "QAttention")


def float32(model: Any, _options: dict[str, Any], bench: Bench) -> Any:
    """A float16 model in float32, for what is calibrated in float32."""
    if widen(model):
        bench.notes.append("widened from float16 to float32 first")
    return model


def prune(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """Fewer channels and blocks, what is left fitted to the samples: see `prune`."""
    from edgeopt.compiler.prune.step import prune_step

    return prune_step(model, options, _needed(bench), bench.notes)


def low_rank(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """Large products as two smaller ones, where that pays: see `prune.low_rank`."""
    from edgeopt.compiler.prune.step import low_rank_step

    return low_rank_step(model, options, _needed(bench), bench.notes)


def drop_layers(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """Fewer layers of a stack of alike ones: see `prune.drop`."""
    from edgeopt.compiler.prune.step import drop_layers_step

    return drop_layers_step(model, options, _needed(bench), bench.notes)


def student(model: Any, options: dict[str, Any], _bench: Bench) -> Any:
    """A smaller network that the user named, in the model's place: see `taught`."""
    from edgeopt.compiler.taught import read_student

    return read_student(model, Path(options["path"]), str(options["digest"]))


def keep(model: Any, _options: dict[str, Any], _bench: Bench) -> Any:
    """Nothing: work is kept between steps, and a recipe that others go on from ends behind such a place."""
    return model


def recover(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """A graph that was made smaller, trained to answer as the original does: see `train`."""
    from edgeopt.compiler.train.step import recover_step

    return recover_step(model, options, bench, _needed(bench))


def train_int8(network: Any, options: dict[str, Any], bench: Bench) -> Any:
    """A calibrated network, trained with the rounding in it to answer as the original does: see `train.int8`."""
    from edgeopt.compiler.train.step import train_int8_step

    return train_int8_step(network, options, bench, _needed(bench))


def calibrate(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """A calibrated int8 network by our own compiler, not yet written as QDQ: see `quantize`."""
    from edgeopt.compiler.quantize.budgets import BUDGETS
    from edgeopt.compiler.quantize.encoding import ENCODINGS
    from edgeopt.compiler.quantize.ladder import calibrate

    return calibrate(
        model,
        _needed(bench),
        encoding=ENCODINGS[options["calibrated_as"]],
        float_first=int(options["float_first"]),
        budget=BUDGETS[options["budget"]],
    )


def leave_float(network: Any, options: dict[str, Any], bench: Bench) -> Any:
    """A calibrated network anew, with the layers that hurt most in float."""
    from edgeopt.compiler.quantize.budgets import BUDGETS
    from edgeopt.compiler.quantize.ladder import leave_float

    share = float(options["float_share"])
    return leave_float(network, _needed(bench), share=share, budget=BUDGETS[options["budget"]])


def emit_qdq(network: Any, options: dict[str, Any], bench: Bench) -> Any:
    """A calibrated network as QDQ, in the encoding that the board's kernels want."""
    from edgeopt.compiler.quantize.budgets import BUDGETS
    from edgeopt.compiler.quantize.encoding import ENCODINGS
    from edgeopt.compiler.quantize.ladder import write

    made = write(
        network,
        _needed(bench),
        encoding=ENCODINGS[options["encoding"]],
        arm=options["rules"] == "arm",
        budget=BUDGETS[options["budget"]],
        scratch=bench.scratch,
    )
    bench.notes.extend(made.notes)
    return made.model


def int8_tables(model: Any, _options: dict[str, Any], bench: Bench) -> Any:
    """Large look-up tables (embeddings) in int8: see `quantize.tables`."""
    from edgeopt.compiler.quantize.tables import shrink_tables

    saved = shrink_tables(model)
    if saved:
        bench.notes.append(f"{len(saved)} look-up tables in int8, {sum(saved.values()) / 1e6:.1f} MB smaller")
    return model


def int4(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """Weights of matrix products in 4 bits: see `quantize.int4`."""
    from edgeopt.compiler.quantize.int4 import pack_products

    saved = pack_products(model, accuracy_level=int(options["accuracy_level"]))
    if not saved:
        raise Refused(
            "nothing-to-do", "no product by a large constant matrix is in the graph" + behind_control_flow(model)
        )
    bench.notes.append(f"{len(saved)} matrix products in 4 bits, {sum(saved.values()) / 1e6:.1f} MB smaller")
    return model


def borrow(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """QDQ with ranges, weights and biases by another tool: see `quantize.borrow`."""
    from edgeopt.compiler.quantize.borrow import borrow as quantise
    from edgeopt.compiler.quantize.budgets import BUDGETS

    made = quantise(
        model,
        _needed(bench),
        options["tool"],
        encoding=_signs(options),
        budget=BUDGETS[options["budget"]],
        scratch=bench.scratch,
    )
    bench.notes.extend(made.notes)
    return made.model


def legalise(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """A model that came quantised, in the form that fuses: see `quantize.legalise`."""
    from edgeopt.compiler.quantize.legalise import legalise as write_anew

    _weights_off_inputs(model)
    made = write_anew(model, bench.samples, encoding=_signs(options), scratch=bench.scratch)
    bench.notes.extend(made.notes)
    return made.model


def _signs(options: dict[str, Any]) -> Any:
    """The encoding of what another tool found: its codes serve with either sign of activations."""
    from edgeopt.compiler.quantize.encoding import S8S8, U8S8

    return S8S8 if options["activations"] == "int8" else U8S8


def _needed(bench: Bench) -> Feeds:
    if bench.samples is None:
        raise Refused("samples-missing", "it needs samples to calibrate on, and there are none")
    return bench.samples


def upgrade_opset(model: Any, options: dict[str, Any], bench: Bench) -> Any:
    """Raise the operators' version to what the next step needs, with onnx's own converter: see `opset`."""
    from edgeopt.compiler.opset import raised

    made, remark = raised(model, int(options["at_least"]), bench.max_opset)
    bench.notes.extend([remark] if remark else [])
    return made


STEPS: dict[str, Step] = {
    "clean": clean,
    "same_answers": same_answers,
    "float16": float16,
    "quantize_dynamic": quantize_dynamic,
    "float32": float32,
    "prune": prune,
    "low_rank": low_rank,
    "drop_layers": drop_layers,
    "student": student,
    "keep": keep,
    "recover": recover,
    "train_int8": train_int8,
    "calibrate": calibrate,
    "leave_float": leave_float,
    "emit_qdq": emit_qdq,
    "int8_tables": int8_tables,
    "int4": int4,
    "borrow": borrow,
    "legalise": legalise,
    "upgrade_opset": upgrade_opset,
    **CONVERSIONS,
}
"""Every step that a recipe can name."""


def _weights_off_inputs(model: Any) -> None:
    names = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in names]
    if len(kept) < len(model.graph.input):
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, MIN_IR_WITHOUT_INPUTS)


def _save(model: Any, bench: Bench, name: str) -> Path:
    path = bench.scratch / name
    path.write_bytes(model.SerializeToString())
    return path


def _quantised(path: Path, *signs: str) -> Any:
    """The result, if anything in it is quantised at all."""
    import onnx

    model = onnx.load(path)
    if not any(node.op_type in signs for graph, _ in walk_graphs(model) for node in graph.node):
        raise Refused("nothing-to-do", "nothing in the graph could be quantised" + behind_control_flow(model))
    return model
