"""A calibrated int8 network before it is written as QDQ, and its files: one calibration, several encodings. Child side.

Graphs are ONNX, arrays one `.npz`, the rest MessagePack (JSON has no word for the infinite bound of a Relu). Nothing is pickled. Layers are found again in the graph, since
everything of them but the corrected biases stands there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeopt.compiler.quantize.emit import Network, Scale
from edgeopt.compiler.quantize.encoding import ENCODINGS
from edgeopt.compiler.quantize.graph import Array, Graph
from edgeopt.compiler.quantize.layers import find_layers
from edgeopt.compiler.quantize.placement import Placement
from edgeopt.compiler.reading import parse, serialise

TIDY, NORMAL, ARRAYS, RECORD = "tidy.onnx", "normal.onnx", "arrays.npz", "network.msgpack"


@dataclass(kw_only=True)
class Calibrated:
    """The network, the float graph that it was made from, and how it was found.

    `kind` is (equalised, which ranges): what a second search, with some layers in float, takes over. `choice` and `remarks` are for people.
    """

    tidy: Any
    network: Network
    choice: str
    kind: tuple[bool, str]
    remarks: list[str] = field(default_factory=list)
    float_layers: int = 0


class _Record(msgspec.Struct, kw_only=True):
    """All that is no array and no graph. Arrays are stored as `<field>.<number>`, numbered as the names here."""

    choice: str
    kind: tuple[bool, str]
    remarks: list[str]
    float_layers: int
    placement: Placement
    layers: list[str]
    scales: list[str]


def save_calibrated(calibrated: Calibrated, folder: Path) -> None:
    """Write it into an empty folder.

    Raises:
        TooLarge: a graph has more than 2 GiB.
    """
    network = calibrated.network
    record = _Record(
        choice=calibrated.choice,
        kind=calibrated.kind,
        remarks=calibrated.remarks,
        float_layers=calibrated.float_layers,
        placement=network.placement,
        layers=[layer.name for layer in network.layers],
        scales=sorted(network.scales),
    )
    arrays: dict[str, Array] = {}
    for number, layer in enumerate(network.layers):
        arrays[f"bias.{number}"] = layer.bias
        arrays[f"codes.{number}"] = network.codes[layer.name]
        arrays[f"weight_scale.{number}"] = network.weight_scales[layer.name]
    for number, lead in enumerate(record.scales):
        arrays[f"scale.{number}"] = network.scales[lead].scale
        arrays[f"zero.{number}"] = network.scales[lead].zero
    (folder / TIDY).write_bytes(serialise(calibrated.tidy))
    (folder / NORMAL).write_bytes(serialise(network.graph.model))
    (folder / RECORD).write_bytes(msgspec.msgpack.encode(record, order="deterministic"))
    np.savez(folder / ARRAYS, allow_pickle=False, **arrays)


def load_calibrated(folder: Path) -> Calibrated:
    """Read what `save_calibrated` wrote."""
    record = msgspec.msgpack.decode((folder / RECORD).read_bytes(), type=_Record)
    graph = Graph(parse(folder / NORMAL))
    found = {layer.name: layer for layer in find_layers(graph)}
    record.placement.encoding = ENCODINGS[record.placement.encoding.name]
    network = Network(graph=graph, layers=[found[name] for name in record.layers], placement=record.placement)
    with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
        for number, layer in enumerate(network.layers):
            layer.bias = arrays[f"bias.{number}"]
            network.codes[layer.name] = arrays[f"codes.{number}"]
            network.weight_scales[layer.name] = arrays[f"weight_scale.{number}"]
        for number, lead in enumerate(record.scales):
            network.scales[lead] = Scale(scale=arrays[f"scale.{number}"], zero=arrays[f"zero.{number}"])
    return Calibrated(
        tidy=parse(folder / TIDY),
        network=network,
        choice=record.choice,
        kind=record.kind,
        remarks=record.remarks,
        float_layers=record.float_layers,
    )
