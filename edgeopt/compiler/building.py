"""The child's task `build`: the steps of one recipe, from the original's files to a variant's."""

from __future__ import annotations

import hashlib
import os
import sys
import traceback
from pathlib import Path
from typing import Any

from edgeopt.compiler.digests import GRAPH
from edgeopt.compiler.node_order import sort_nodes
from edgeopt.compiler.reading import check_valid, opset_of, parse
from edgeopt.compiler.refuse import Refused, TooLarge, out_of_memory, shorten
from edgeopt.compiler.running import feeds_of
from edgeopt.compiler.runtime import load_or_refuse
from edgeopt.compiler.steps import STEPS, Bench

MAX_GRAPH_BYTES = (2 << 30) - 1


def build_task(request: dict[str, Any], scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"source", "steps", "samples", "pins", "out"}` -> `{"files", "graph_digest", "notes"}`.

    `source` is a graph with its external data beside it; with no steps it is copied byte for byte. `out` is an empty folder.
    """
    source, out = Path(request["source"]), Path(request["out"])
    pins = request["pins"]
    bench = Bench(
        source=source,
        scratch=scratch,
        samples=feeds_of(request["samples"]),
        max_opset=pins["max_opset"],
        max_ir_version=pins["max_ir_version"],
        notes=[],
    )
    if request["steps"]:
        model = _rewrite(source, request["steps"], bench)
        files = [GRAPH]
        _write(out / GRAPH, _serialise(_pinned(model, bench)))
        _check_result(out / GRAPH)
    else:
        files = _copy(source, request["files"], out, bench)
    return {"files": files, "graph_digest": graph_digest(parse(out / GRAPH)), "notes": bench.notes}


def _rewrite(source: Path, steps: list[dict[str, Any]], bench: Bench) -> Any:
    import onnx

    model = parse(source)
    onnx.load_external_data_for_model(model, str(source.parent))
    for step in steps:
        model = sort_nodes(_apply(step, model, bench))
    return model


def _apply(step: dict[str, Any], model: Any, bench: Bench) -> Any:
    """One step. Whatever a library raises becomes a sentence that names the step; its traceback goes to the log."""
    try:
        return STEPS[step["name"]](model, step["options"], bench)
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
    names = [GRAPH, *(file["path"] for file in files[1:])]
    if GRAPH in names[1:]:
        raise Refused("model-unsupported", f"its weights lie in a file called {GRAPH}, which is the graph's name here")
    for name, file in zip(names, files, strict=True):
        _copy_file(source.parent / file["path"], out / name, file["digest"])
    model = parse(out / GRAPH)
    if model.ir_version > bench.max_ir_version:
        (out / GRAPH).unlink()
        _write(out / GRAPH, _serialise(_pinned(model, bench)))
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


def _serialise(model: Any) -> bytes:
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except ValueError as error:
        raise TooLarge("the result is larger than 2 GiB") from error
    if len(data) > MAX_GRAPH_BYTES:
        raise TooLarge("the result is larger than 2 GiB")
    return data


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
