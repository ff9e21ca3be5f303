"""The child's task `build`: the steps of one recipe, from the original's files to a variant's."""

from __future__ import annotations

import hashlib
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from edgeopt.compiler import progress
from edgeopt.compiler.convert.converted import Converted
from edgeopt.compiler.convert.from_tflite.convert import imported
from edgeopt.compiler.convert.from_tflite.reading import is_tflite
from edgeopt.compiler.convert.runner import open_converted
from edgeopt.compiler.digests import GRAPH, hash_file
from edgeopt.compiler.node_order import sort_nodes
from edgeopt.compiler.quantize.saved import Calibrated
from edgeopt.compiler.reading import check_valid, opset_of, parse, serialise
from edgeopt.compiler.refuse import Refused, TooLarge, out_of_memory, shorten
from edgeopt.compiler.running import feeds_of
from edgeopt.compiler.runtime import load_or_refuse
from edgeopt.compiler.states import load_state, save_state
from edgeopt.compiler.steps import STEPS, Bench

TFLITE = "model.tflite"
"""What a TensorFlow Lite file is called in its variant's folder."""

DOING = {
    "clean": "tidying the graph",
    "same_answers": "comparing with the original",
    "prune": "pruning",
    "low_rank": "products of lower rank",
    "drop_layers": "choosing layers",
    "recover": "training",
    "train_int8": "training",
    "keep": "writing the network",
    "emit_qdq": "writing int8",
    "to_tflite": "converting to TFLite",
    "to_openvino": "converting to OpenVINO",
    "to_ncnn": "converting to ncnn",
    "to_tensorrt": "fixing sizes for TensorRT",
}
"""Steps in words for people; others go by their names."""


ENDS_BEFORE = 0.8
"""Share of a child's time at which training ends by itself, so that what was learned is not lost."""


def build_task(request: dict[str, Any], scratch: Path, limits: dict[str, Any]) -> dict[str, Any]:
    """`{"source", "files", "steps", "samples", "pins", "out"}` and at will `{"begin", "keep", "progress", "training", "curves"}` -> `{"files", "graph_digest", "notes", "kept"}`.

    `source` is a graph with its external data beside it; with no steps it is copied byte for byte. `begin` is the folder and the notes of a state to go on from instead.
    `keep` are pairs of a number of steps and the folder that the state behind them goes to. `out` is an empty folder; None when the states are all that is wanted.
    `progress` is a file to tell in what is being done. `training` is the folder of what survives a training run that is killed, `curves` one that people watch.
    """
    started = time.monotonic()
    progress.begin(request.get("progress"))
    source, begin, pins = Path(request["source"]), request.get("begin"), request["pins"]
    if request["steps"] and is_tflite(source):
        source = imported(source, scratch / "imported.onnx")
    bench = Bench(
        source=source,
        scratch=scratch,
        samples=feeds_of(request["samples"]),
        max_opset=pins["max_opset"],
        max_ir_version=pins["max_ir_version"],
        notes=list(begin["notes"]) if begin else [],
        deadline=started + ENDS_BEFORE * float(limits["timeout_s"]),
        training=_path(request.get("training")),
        curves=_path(request.get("curves")),
    )
    if not request["steps"]:
        files = _copy(source, request["files"], Path(request["out"]), bench)
        return _answer(Path(request["out"]), files, bench, [])
    state = load_state(Path(begin["folder"])) if begin else _load(source)
    folders, kept = dict(request.get("keep", ())), []
    for number, step in enumerate(request["steps"], 1):
        progress.tell(DOING.get(step["name"], step["name"]))
        state = _apply(step, state, bench)
        if number in folders:
            # What comes next gets what was read back, so that it is the same for whoever begins here.
            save_state(state, Path(folders[number]))
            state = load_state(Path(folders[number]))
            kept.append({"notes": list(bench.notes), "build_s": time.monotonic() - started})
    if request["out"] is None:
        return {"kept": kept}
    out = Path(request["out"])
    if isinstance(state, Converted):
        return _answer_converted(out, state, bench, kept)
    _write(out / GRAPH, serialise(_pinned(state, bench)))
    _check_result(out / GRAPH)
    return _answer(out, [GRAPH], bench, kept)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)


def _answer(out: Path, files: list[str], bench: Bench, kept: list[dict[str, Any]]) -> dict[str, Any]:
    graph = out / files[0]
    digest = hash_file(graph)[0] if is_tflite(graph) else graph_digest(parse(graph))
    return {"files": files, "graph_digest": digest, "notes": bench.notes, "kept": kept}


def _answer_converted(out: Path, made: Converted, bench: Bench, kept: list[dict[str, Any]]) -> dict[str, Any]:
    """Write another runtime's files; it is loaded once, as the device will."""
    for name, data in made.files.items():
        _write(out / name, data)
    open_converted(out / next(iter(made.files)))
    digest = hashlib.sha256()
    for name, data in made.files.items():
        digest.update(f"{name} {len(data)}\n".encode() + data)
    return {"files": list(made.files), "graph_digest": digest.hexdigest(), "notes": bench.notes, "kept": kept}


def _load(source: Path) -> Any:
    import onnx

    model = parse(source)
    onnx.load_external_data_for_model(model, str(source.parent))
    return model


def _apply(step: dict[str, Any], state: Any, bench: Bench) -> Any:
    """One step. Whatever a library raises becomes a sentence that names the step; its traceback goes to the log."""
    try:
        made = STEPS[step["name"]](state, step["options"], bench)
        return made if isinstance(made, (Calibrated, Converted)) else sort_nodes(made)
    except (Refused, TooLarge, MemoryError):
        raise
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        sys.excepthook(type(error), error, error.__traceback__)
        words = shorten(str(error)) or f"{type(error).__name__} in {_place(error)}"
        raise Refused("step-failed", f"the step {step['name']} failed on this model: {words}") from error


def _place(error: Exception) -> str:
    """The library's file in which it was raised, for those that say nothing."""
    frames = traceback.extract_tb(error.__traceback__)
    return Path(frames[-1].filename).name if frames else "an unknown place"


def _copy(source: Path, files: list[dict[str, Any]], out: Path, bench: Bench) -> list[str]:
    """The original with all its files, each verified against what was inspected: it may have been changed since."""
    if is_tflite(source):
        _copy_file(source, out / TFLITE, files[0]["digest"])
        return [TFLITE]
    names = [GRAPH, *(file["path"] for file in files[1:])]
    if GRAPH in names[1:]:
        raise Refused("model-unsupported", f"its weights lie in a file called {GRAPH}, which is the graph's name here")
    for name, file in zip(names, files, strict=True):
        _copy_file(source.parent / file["path"], out / name, file["digest"])
    model = parse(out / GRAPH)
    if model.ir_version > bench.max_ir_version:
        (out / GRAPH).unlink()
        _write(out / GRAPH, serialise(_pinned(model, bench)))
        _check_result(out / GRAPH)
    return names


def _copy_file(source: Path, target: Path, digest: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    seen = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(1 << 20):
            seen.update(chunk)
            writer.write(chunk)
        writer.flush()
        os.fsync(writer.fileno())
    if seen.hexdigest() != digest:
        raise Refused("model-changed", f"{source.name} has changed since it was inspected")


def _pinned(model: Any, bench: Bench) -> Any:
    """With the IR version lowered to what the board's runtime reads. No step uses what later ones brought."""
    if opset_of(model) > bench.max_opset:
        raise Refused(
            "step-failed",
            f"the result needs opset {opset_of(model)}, and the board's runtime reads {bench.max_opset} at most",
        )
    if model.ir_version > bench.max_ir_version:
        bench.notes.append(
            f"IR version lowered from {model.ir_version} to {bench.max_ir_version} for the board's runtime"
        )
        model.ir_version = bench.max_ir_version
    return model


def _write(path: Path, data: bytes) -> None:
    with path.open("xb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _check_result(path: Path) -> None:
    """A variant is held to what an original is."""
    try:
        check_valid(parse(path), path)
        load_or_refuse(path)
    except Refused as refused:
        raise Refused(refused.code, f"what came out cannot be used: {refused}") from refused


def graph_digest(model: Any) -> str:
    """sha256 over what is computed: names of nodes, documentation, producers and inferred shapes do not count."""
    for field in ("producer_name", "producer_version", "doc_string", "model_version", "domain", "ir_version"):
        model.ClearField(field)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    model.graph.ClearField("name")
    model.graph.ClearField("doc_string")
    for node in model.graph.node:
        node.ClearField("name")
        node.ClearField("doc_string")
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
