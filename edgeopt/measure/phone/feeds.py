"""Inputs on a phone: pulled once from the wire's `.npz`, brought to where each program looks for them."""

from __future__ import annotations

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeopt.measure.phone import scripts
from edgeopt.measure.phone.answers import MOST_BYTES, Row, read_rows, write_rows
from edgeopt.measure.phone.shell import Shell
from edgeopt.measure.phone.tools import PERF_TEST, Tool
from edgeopt.transport.link import Link

_SETS = 4
"""Samples that onnxruntime_perf_test gets; it takes one at random for each inference."""
_MOST_INPUT_BYTES = 1 << 31

Fed = tuple[str, tuple[tuple[tuple[int, ...], str], ...]]
"""The folder of the model, and (shape, file) of each input where the program is told of them."""


class Feeds:
    """Remembers what is where, for one session.

    Args:
        shell: the phone's.
        link: to it.
        scratch: a folder there for this session alone.
    """

    def __init__(self, shell: Shell, link: Callable[[], Link], scratch: str) -> None:
        self._shell = shell
        self._link = link
        self._scratch = scratch
        self._rows: dict[str, list[Row]] = {}
        self._there: dict[str, str] = {}

    def rows(self, path: str) -> list[Row]:
        """Return the samples of a file of the phone."""
        if path not in self._rows:
            with tempfile.TemporaryDirectory(prefix="edgeopt-phone-") as folder:
                local = Path(folder) / "rows.npz"
                self._link().get(path, local, max_bytes=_MOST_INPUT_BYTES)
                self._rows[path] = read_rows(local)
        return self._rows[path]

    def bring(self, tool: Tool, model: str, path: str, sample: int, names: Sequence[str]) -> Fed:
        """Let a program find the samples of `path`.

        Args:
            tool: which.
            model: the model's file on the phone.
            path: of the samples.
            sample: the one that benchmark_model takes.
            names: of the network's inputs.
        """
        source = model.rpartition("/")[0]
        if tool is PERF_TEST:
            return self._beside(source, path, names), ()
        found = []
        for number, array in enumerate(self.rows(path)[sample]):
            key = f"{path} {sample} {number}"
            remote = f"{self._scratch}/{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"
            if key not in self._there:
                self._put(array.tobytes(), remote)
                self._there[key] = remote
            found.append((tuple(array.shape), remote))
        return source, tuple(found)

    def _beside(self, source: str, path: str, names: Sequence[str]) -> str:
        """A folder with the model and, beside it, its inputs as tensors of ONNX."""
        key = f"{source} {path}"
        if key not in self._there:
            folder, rows = f"{self._scratch}/{secrets.token_hex(4)}", self.rows(path)[:_SETS]
            self._shell.ask(scripts.LAY, source, folder, str(len(rows)))
            for number, row in enumerate(rows):
                for position, array in enumerate(row):
                    name = names[position] if position < len(names) else ""
                    self._put(_tensor(array, name), f"{folder}/test_data_set_{number}/input_{position}.pb")
            self._there[key] = folder
        return self._there[key]

    def _put(self, data: bytes, remote: str) -> None:
        with tempfile.TemporaryDirectory(prefix="edgeopt-phone-") as folder:
            local = Path(folder) / "data"
            local.write_bytes(data)
            self._link().put(local, remote)

    def taken(self, remote: str) -> bytes:
        """Return what a program wrote."""
        with tempfile.TemporaryDirectory(prefix="edgeopt-phone-") as folder:
            local = Path(folder) / "data"
            self._link().get(remote, local, max_bytes=MOST_BYTES)
            return local.read_bytes()

    def kept(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Leave answers in a file of the phone, as an agent does; return what the wire says of it."""
        with tempfile.TemporaryDirectory(prefix="edgeopt-phone-") as folder:
            local = Path(folder) / "answers.npz"
            digest, size = write_rows(rows, local)
            remote = f"{self._scratch}/{digest}.npz"
            self._link().put(local, remote)
        return {"path": remote, "bytes": size, "sha256": digest}


def _tensor(array: Any, name: str) -> bytes:
    """An ONNX TensorProto."""
    from onnx import numpy_helper

    return bytes(numpy_helper.from_array(array, name).SerializeToString())
