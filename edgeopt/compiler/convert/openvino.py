"""ONNX to OpenVINO's own form, an .xml of the graph and a .bin of the weights, by OpenVINO's reader of ONNX.

A QDQ file keeps its scales: the reader makes FakeQuantize of each pair, and the CPU plugin computes in int8 between them
(https://docs.openvino.ai, "Low Precision Transformations").
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.converted import Converted
from edgeopt.compiler.reading import serialise
from edgeopt.compiler.refuse import Refused, shorten
from edgeopt.compiler.running import Feed

GRAPH, WEIGHTS = "model.xml", "model.bin"
_SUMMARY = "Summary:"


def to_openvino(model: Any, scratch: Path, samples: Iterable[Feed] | None = None) -> Converted:
    """Convert a graph; weights keep their precision.

    Open axes get the sizes of the samples, where all of these are alike: with open ones every inference asks for its sizes anew (ResNet-8 on a desktop: 0.25 ms instead of 0.19).

    Args:
        model: an onnx.ModelProto.
        scratch: folder for files on the way.
        samples: inputs by name; without any, open axes stay open.

    Raises:
        Refused: OpenVINO does not take it; its own words say which operator.
    """
    import openvino

    source = scratch / "to-openvino.onnx"
    source.write_bytes(serialise(model))
    try:
        read = openvino.Core().read_model(source)
        sizes = _sizes(samples or ())
        if read.is_dynamic() and sizes is not None:
            read.reshape(sizes)
        openvino.save_model(read, scratch / GRAPH, compress_to_fp16=False)
    except RuntimeError as error:
        raise Refused("step-failed", f"OpenVINO cannot read it: {_said(str(error))}") from error
    return Converted(files={name: (scratch / name).read_bytes() for name in (GRAPH, WEIGHTS)})


def _sizes(samples: Iterable[Feed]) -> dict[str, list[int]] | None:
    """The shape of each input in all samples; None where they differ, or there are none."""
    shapes = [{name: list(array.shape) for name, array in feed.items()} for feed in samples]
    return shapes[0] if shapes and all(each == shapes[0] for each in shapes) else None


def _said(text: str) -> str:
    """What its message says of operators, which stands in its summary; else the last line that does not only name a place in its source."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    summary = lines[lines.index(_SUMMARY) + 1 :] if _SUMMARY in lines else []
    telling = [line for line in lines if not line.startswith(("Exception from", "Check '", "FrontEnd API failed"))]
    return shorten(
        "; ".join(line.removeprefix("-- ") for line in summary) or (telling or lines or ["it does not say why"])[-1]
    )
