"""A `torch.export` archive (.pt2), read without `torch.export.load`, which unpickles. Child side.

The archive is a zip of raw weights and a graph in JSON. The graph is run operator by operator: of its targets only `torch.ops.aten` and arithmetic on sizes are known.
Nothing is unpickled, evaluated or imported by a name of the file; example inputs, which are a pickle, are not read but drawn.
"""

from __future__ import annotations

import json
import math
import operator
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.from_torch.arguments import DTYPES, read_argument, read_size
from edgeopt.compiler.convert.from_torch.axes import other_sizes, output_axes, resized
from edgeopt.compiler.convert.from_torch.export import quiet
from edgeopt.compiler.convert.from_torch.network import Network, Tensors
from edgeopt.compiler.refuse import Refused, shorten

MAX_BYTES = 2 << 30
MAX_JSON_BYTES = 256 << 20
ATEN = "torch.ops.aten."
SIZES: dict[str, Callable[..., Any]] = {
    f"_operator.{name}": getattr(operator, name)
    for name in (
        "add",
        "sub",
        "mul",
        "floordiv",
        "mod",
        "neg",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "getitem",
        "pow",
        "truediv",
    )
} | {"math.floor": math.floor, "math.ceil": math.ceil, "math.trunc": math.trunc}
SHAPE_OF = "torch.ops.aten.sym_size.int"
FORBIDDEN = frozenset({"from_file"})
"""Operators that reach beyond their tensors."""

CHECKS = ("torch.ops.aten._assert", "torch.ops.aten.sym_constrain")


def read_archive(request: dict[str, Any]) -> Network:
    """`{"source"}` -> the network, its open axes as they were exported.

    Raises:
        Refused: model-unreadable, model-unsupported.
    """
    import torch

    program, weights = _read(Path(request["source"]))
    try:
        module = _runner(program["graph_module"]["graph"], _bound(program, weights))
        example, axes, bounds = _inputs(program)
        count = len(module.outputs)
        names = ("output",) if count == 1 else tuple(f"output_{i}" for i in range(count))
        with torch.no_grad(), quiet():
            following = output_axes(module, example, axes, names)
        examples = [example, *(resized(example, axes, sizes) for sizes in other_sizes(example, axes, bounds))]
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise Refused(
            "model-unreadable", f"its graph is not as torch.export writes it: {shorten(repr(error))}"
        ) from error
    return Network(module=module, examples=examples, outputs=names, open_axes=axes | following)


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The program as JSON, and weights and constants by name.

    Raises:
        Refused: a damaged file, another form, or a part that is a pickle.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {name.partition("/")[2]: name for name in archive.namelist()}
            if sum(info.file_size for info in archive.infolist()) > MAX_BYTES:
                raise Refused("model-too-large", "its content exceeds 2 GiB")
            if "models/model.json" not in members:
                raise Refused(
                    "model-unsupported",
                    "it is no archive of torch.export.save (2.8 or later): it has no models/model.json",
                )
            pickled = [
                name
                for name in members
                if name.startswith(("data/weights/", "data/constants/")) and name.endswith(".pt")
            ]
            if pickled:
                raise Refused(
                    "model-unsupported",
                    f"its weights are a pickle ({pickled[0]}), which may run anything; save it again with torch.export.save",
                )
            program = _json(archive, members["models/model.json"])
            weights: dict[str, Any] = {}
            for kind in ("weights", "constants"):
                config = members.get(f"data/{kind}/model_{kind}_config.json")
                if config is not None:
                    weights |= _tensors(archive, members, _json(archive, config)["config"], f"data/{kind}/")
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        KeyError,
        TypeError,
    ) as error:
        raise Refused(
            "model-unreadable", f"it is damaged, or no archive of torch.export: {shorten(str(error))}"
        ) from error
    return program, weights


def _json(archive: zipfile.ZipFile, member: str) -> dict[str, Any]:
    if archive.getinfo(member).file_size > MAX_JSON_BYTES:
        raise Refused("model-too-large", f"{member} has more than {MAX_JSON_BYTES >> 20} MiB")
    found = json.loads(archive.read(member))
    if not isinstance(found, dict):
        raise Refused("model-unreadable", f"{member} is not a JSON object")
    return found


def _tensors(archive: zipfile.ZipFile, members: dict[str, str], config: dict[str, Any], place: str) -> dict[str, Any]:
    """Tensors from raw bytes."""
    import torch

    made: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for name, entry in config.items():
        file, meta = str(entry["path_name"]), entry["tensor_meta"]
        if entry["use_pickle"] or meta is None:
            raise Refused("model-unsupported", f"{name} is a pickle, which may run anything; plain tensors are read")
        dtype = DTYPES[meta["dtype"]]
        if file not in raw:
            data = archive.read(members[place + file])
            raw[file] = (
                torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
            )
        flat = (
            raw[file].view(getattr(torch, dtype)) if raw[file].numel() else torch.empty(0, dtype=getattr(torch, dtype))
        )
        sizes, strides = ([read_size(each)[0] for each in meta[key]] for key in ("sizes", "strides"))
        made[name] = flat.as_strided(sizes, strides, read_size(meta["storage_offset"])[0])
    return made


def _bound(program: dict[str, Any], weights: dict[str, Any]) -> dict[str, Any]:
    """Parameters, buffers and constants by their names in the graph."""
    bound = {}
    for spec in program["graph_module"]["signature"]["input_specs"]:
        ((kind, told),) = spec.items()
        if kind == "user_input":
            continue
        keys = {"parameter": "parameter_name", "buffer": "buffer_name", "tensor_constant": "tensor_constant_name"}
        if kind not in keys:
            raise Refused("model-unsupported", f"it has an input of the kind {kind}; tensors are what is taken")
        bound[told["arg"]["name"]] = weights[told[keys[kind]]]
    return bound


def _inputs(program: dict[str, Any]) -> tuple[Tensors, dict[str, dict[int, str]], dict[str, tuple[int, int]]]:
    """Example inputs, their open axes, and (least, most) of each."""
    import torch

    graph = program["graph_module"]["graph"]
    generator = torch.Generator().manual_seed(0)
    example: Tensors = {}
    axes: dict[str, dict[int, str]] = {}
    called: dict[str, str] = {}
    for name in _user_inputs(program):
        meta = graph["tensor_values"][name]
        sizes = [read_size(each) for each in meta["sizes"]]
        dtype = getattr(torch, DTYPES[meta["dtype"]])
        shape = [size for size, _ in sizes]
        drawn = (
            torch.randn(shape, generator=generator)
            if dtype.is_floating_point
            else torch.randint(0, 2, shape, generator=generator)
        )
        example[name] = drawn.to(dtype)
        axes[name] = {
            i: called.setdefault(symbol, "batch" if i == 0 else f"size_{len(called)}")
            for i, (_, symbol) in enumerate(sizes)
            if symbol is not None
        }
    limits = program.get("range_constraints") or {}
    bounds = {name: _bounds(limits.get(symbol) or {}) for symbol, name in called.items()}
    return example, {name: open_ for name, open_ in axes.items() if open_}, bounds


def _bounds(limit: dict[str, Any]) -> tuple[int, int]:
    low, high = limit.get("min_val"), limit.get("max_val")
    return (low if isinstance(low, int) else 1, high if isinstance(high, int) else 1 << 20)


def _user_inputs(program: dict[str, Any]) -> list[str]:
    specs = [
        spec["user_input"]["arg"]
        for spec in program["graph_module"]["signature"]["input_specs"]
        if "user_input" in spec
    ]
    if not all("as_tensor" in each for each in specs):
        raise Refused("model-unsupported", "it takes numbers beside tensors; export it with tensors only")
    return [str(each["as_tensor"]["name"]) for each in specs]


def _runner(graph: dict[str, Any], bound: dict[str, Any]) -> Any:
    """A module that runs the graph's nodes in order."""
    import torch

    nodes = [_node(node) for node in graph["nodes"]]
    inputs = [each["as_tensor"]["name"] for each in graph["inputs"] if each["as_tensor"]["name"] not in bound]
    outputs = [each["as_tensor"]["name"] for each in graph["outputs"] if "as_tensor" in each]

    class Runner(torch.nn.Module):  # type: ignore[misc]
        """Tensors in the order of the signature."""

        def __init__(self) -> None:
            super().__init__()
            self.outputs = outputs
            for number, tensor in enumerate(bound.values()):
                self.register_buffer(f"constant_{number}", tensor)

        def forward(self, *tensors: Any) -> Any:
            """Run the graph."""
            values = {name: getattr(self, f"constant_{i}") for i, name in enumerate(bound)}
            values |= dict(zip(inputs, tensors, strict=True))
            for node in nodes:
                node(values)
            found = tuple(values[name] for name in outputs)
            return found[0] if len(found) == 1 else found

    return Runner()


def _node(node: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """What runs one node on the values by name."""
    target = str(node["target"])
    call = _target(target)
    arguments = [(each["name"], read_argument(each["arg"], target), each.get("kind") == 2) for each in node["inputs"]]
    targets = _outputs(node["outputs"])

    several = len(targets) != 1 or any("as_tensors" in each for each in node["outputs"])

    def run(values: dict[str, Any]) -> None:
        plain = [made(values) for _, made, keyword in arguments if not keyword]
        found = call(*plain, **{name: made(values) for name, made, keyword in arguments if keyword})
        values.update(zip(targets, found if several else [found], strict=True))

    return run


def _outputs(outputs: Sequence[dict[str, Any]]) -> list[str]:
    """Names of what a node answers."""
    names: list[str] = []
    for each in outputs:
        ((kind, told),) = each.items()
        names += [one["name"] for one in told] if kind == "as_tensors" else [_name(told)]
    return names


def _name(told: Any) -> str:
    return str(told.get("name") or told.get("as_name")) if isinstance(told, dict) else ""


def _target(target: str) -> Callable[..., Any]:
    """The operator of a node.

    Raises:
        Refused: model-unsupported: none that is known.
    """
    import torch

    if target == SHAPE_OF:
        return lambda tensor, axis: tensor.shape[axis]  # the exporter follows this one, the operator it does not
    if target.startswith(CHECKS):
        return lambda *_arguments, **_more: None
    if target in SIZES:
        return SIZES[target]
    parts = target.removeprefix(ATEN).split(".")
    if target.startswith(ATEN) and len(parts) == 2 and parts[0] not in FORBIDDEN:
        packet = getattr(torch.ops.aten, parts[0], None)
        found = getattr(packet, parts[1], None) if isinstance(packet, torch._ops.OpOverloadPacket) else None  # noqa: SLF001 - it has no public name
        if isinstance(found, torch._ops.OpOverload):  # noqa: SLF001
            return found  # type: ignore[no-any-return]
    raise Refused("model-unsupported", f"its graph has the operator {target[:80]}, which is not one of PyTorch's own")
