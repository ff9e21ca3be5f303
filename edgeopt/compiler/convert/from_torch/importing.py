"""The child's task `import_model`: a network of PyTorch, wherever it comes from, as one ONNX file that answers the same; or one of Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.from_keras import convert_keras
from edgeopt.compiler.convert.from_torch.archive import read_archive
from edgeopt.compiler.convert.from_torch.export import export
from edgeopt.compiler.convert.from_torch.folder import read_folder
from edgeopt.compiler.convert.from_torch.network import Reader
from edgeopt.compiler.convert.from_torch.user_module import read_callable

READERS: dict[str, Reader] = {"huggingface": read_folder, "archive": read_archive, "callable": read_callable}
"""By the kind of source, as `import_model.find_kind` tells them apart."""


def import_task(request: dict[str, Any], scratch: Path, _limits: dict[str, Any]) -> dict[str, Any]:
    """`{"kind", "source", "shapes", "python", "out"}` -> `{"notes"}`; `out` is the ONNX file.

    Raises:
        Refused: see the readers, `export` and `convert_keras`.
    """
    path = scratch / "model.onnx"
    notes = convert_keras(request, path) if request["kind"] == "keras" else _from_torch(request, path)
    path.replace(request["out"])
    return {"notes": notes}


def _from_torch(request: dict[str, Any], path: Path) -> list[str]:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(2)
    network = READERS[request["kind"]](request)
    apart = export(network, path)
    return [*network.notes, f"as ONNX it answers as PyTorch does, to {apart:.0e} of the largest value"]
