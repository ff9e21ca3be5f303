"""The child's task `run_model`: a model's answers to samples, from one `.npz` to another."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.convert.runner import open_converted, runtime_of_file
from edgeopt.compiler.refuse import Refused, TooLarge, out_of_memory, shorten
from edgeopt.compiler.runtime import open_session

Feed = dict[str, "np.ndarray[Any, np.dtype[Any]]"]


class Feeds:
    """Samples in a file, read one at a time, so that memory does not grow with their number."""

    def __init__(self, path: Path, names: Sequence[str], count: int, start: int = 0) -> None:
        self.path = path
        self.names = tuple(names)
        self.count = count
        self.start = start

    def __iter__(self) -> Iterator[Feed]:
        with np.load(self.path, allow_pickle=False) as archive:
            for i in range(self.start, self.start + self.count):
                yield {name: archive[f"s{i}.{j}"] for j, name in enumerate(self.names)}

    def first(self, count: int) -> Feeds:
        """Only the first `count` of them."""
        return Feeds(self.path, self.names, min(count, self.count), self.start)

    def without_first(self, count: int) -> Feeds:
        """The others."""
        count = min(count, self.count)
        return Feeds(self.path, self.names, self.count - count, self.start + count)


def feeds_of(described: dict[str, Any] | None) -> Feeds | None:
    """From the request's `{"path", "names", "count"}`."""
    if described is None:
        return None
    return Feeds(Path(described["path"]), described["names"], described["count"])


def run_model_task(request: dict[str, Any], scratch: Path, limits: dict[str, Any]) -> dict[str, Any]:
    """`{"model", "samples", "out"}` -> `{"samples", "outputs": names}`; answers go to `out` as arrays `s<i>.<j>`, one sample at a time.

    Raises:
        Refused: model-failed with the runtime's words.
        TooLarge: the answers exceed the limit.
    """
    feeds = feeds_of(request["samples"])
    if feeds is None:
        raise Refused("samples-missing", "there are no samples to run it on")
    run, names = open_runner(Path(request["model"]))
    partial = scratch / "answers.npz"
    left = int(limits["output_bytes"])
    with zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
        for i, feed in enumerate(feeds):
            outputs = run_one(run, feed)
            left -= sum(array.nbytes for array in outputs)
            if left < 0:
                raise TooLarge(f"its answers exceed {limits['output_bytes'] / 2**20:,.0f} MiB")
            for j, array in enumerate(outputs):
                with archive.open(f"s{i}.{j}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)
    partial.replace(request["out"])
    return {"samples": feeds.count, "outputs": names}


Run = Callable[[Feed], Sequence[Any]]
"""{input name: array} -> the outputs, in the model's order."""


def open_runner(model: Path) -> tuple[Run, list[str]]:
    """Open a model of any form by the ending of its name: (what runs it, names of its outputs).

    Raises:
        Refused: no runtime here opens it.
    """
    if runtime_of_file(model) is not None:
        converted = open_converted(model)
        return converted.run, list(converted.output_names)
    session = open_session(model)
    names = [output.name for output in session.get_outputs()]
    return partial(session.run, names), names


def run_one(run: Run, feed: Feed) -> list[Any]:
    """One inference.

    Raises:
        Refused: model-failed; or the answer is no array of numbers.
    """
    try:
        outputs = run(feed)
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-failed", shorten(str(error))) from error
    for output in outputs:
        if not isinstance(output, np.ndarray) or output.dtype.hasobject:
            raise Refused("model-failed", "it answers something that is not an array of numbers")
    return list(outputs)
