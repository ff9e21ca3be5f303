"""TensorRT by its own program `trtexec`, which comes with JetPack. An engine fits one GPU and one version, so it is built on the board, once a model and precision, and kept in `engines` of the device tree.

The program times inferences itself (`timed`). Answers, and an application that uses this module, cost a process each: a native application opens `model.onnx` with TensorRT itself.
`model.json` beside it says how the model looks from outside, for the program tells no dtypes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import time
from importlib import import_module

from edgeopt_agent import digests
from edgeopt_agent.probes import memory
from edgeopt_agent.runtimes import trtexec
from edgeopt_agent.runtimes.distribution import version_in
from edgeopt_agent.tree import make_folder, remove_leftovers, temporary_beside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

GPU = "GPU"
PROGRAM = "trtexec"
PLACES = ("/usr/src/tensorrt/bin",)
"""Where JetPack and Debian's packages of NVIDIA (libnvinfer-bin) have it: in no folder of PATH."""

LACK = "there is no trtexec that starts, or this Python has no numpy to bring arrays to it"
"""Why it cannot be used where `find` finds nothing."""

_BORDER = "model.json"
_HELP_S = 20.0
_LOOK_S = 0.05
_MAX_TEXT = 64 << 20
_STAGED, _APPS, _RELEASES = "staged", "apps", "releases"


def program() -> str | None:
    """Return the path of trtexec, None where there is none."""
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), *PLACES])
    return shutil.which(PROGRAM, path=places)


def find(folders: list[str]) -> str | None:
    """Return the version of the program, which prints it. None without it, or without numpy in these folders to bring arrays to it."""
    path = program()
    if path is None or version_in(folders, "numpy", "numpy") is None:
        return None
    return _version(path)


def _version(path: str) -> str | None:
    try:
        done = subprocess.run(
            [path, "--help"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_HELP_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return trtexec.version_of(done.stdout.decode("utf-8", "replace"))


def version() -> str:
    """Return the program's version.

    Raises:
        ImportError: there is none that starts.
    """
    path = program()
    found = None if path is None else _version(path)
    if found is None:
        raise ImportError(f"{path} does not start" if path else "no trtexec on this device")
    import_module("numpy")  # arrays go to the program and come back
    return found


def providers() -> list[str]:
    """Return what it computes on."""
    return [GPU]


class Engine:
    """A model with its engine. Every use of it is a process of the program."""

    takes_batches = False
    provider_used = GPU

    def __init__(self, path: str, engine: str, border: dict[str, Any], rebuild: Callable[[], None]) -> None:
        self._program, self._engine, self._rebuild = path, engine, rebuild
        self._inputs = [(str(item["name"]), str(item["dtype"]), tuple(item["shape"])) for item in border["inputs"]]
        self._outputs = [(str(item["name"]), str(item["dtype"]), tuple(item["shape"])) for item in border["outputs"]]
        self.input_names = [name for name, _, _ in self._inputs]
        self.output_names = [name for name, _, _ in self._outputs]
        self.peak_bytes: int | None = None
        """The most memory that a process of the program has held, of those that were run."""
        self.load_ns: int | None = None
        """How long the last one took to bring the engine into memory."""

    def run(self, feed: dict[str, Any]) -> list[Any]:
        """Run the model once: {input name: array} -> the outputs in the model's order.

        Raises:
            ValueError: an input of another size than the file was made for, or answers that cannot be read.
            BlockFailed: the program gives up, with a sentence.
        """
        import numpy as np

        with self._scratch() as folder:
            written = os.path.join(folder, "answers.json")
            words = trtexec.answer_words(self._program, self._engine, self._written(feed, folder), written)
            self._do(words, folder)
            found = trtexec.answers(_read(written))
        missing = [name for name in self.output_names if name not in found]
        if missing:
            raise ValueError(f"trtexec gave no answer for output {missing[0]}")
        return [np.array(found[name]).astype(dtype).reshape(shape) for name, dtype, shape in self._outputs]

    def timed(self, feed: dict[str, Any], *, least: int, min_s: float, warmup_s: float) -> list[int]:
        """Let the program time inferences of one sample; returns each one's latency in ns.

        Raises:
            ValueError, BlockFailed: as `run`.
        """
        with self._scratch() as folder:
            times = os.path.join(folder, "times.json")
            inputs = self._written(feed, folder)
            words = trtexec.time_words(
                self._program, self._engine, inputs, times, least=least, min_s=min_s, warmup_s=warmup_s
            )
            self._do(words, folder)
            return trtexec.latencies_ns(_read(times), warmup_s)

    def _written(self, feed: dict[str, Any], folder: str) -> dict[str, str]:
        """Write inputs as raw bytes; returns {name: file}."""
        files = {}
        for number, (name, dtype, shape) in enumerate(self._inputs):
            array = feed[name]
            if tuple(array.shape) != shape:
                raise ValueError(f"input {name} is {list(array.shape)}, the file is for {list(shape)}")
            files[name] = os.path.join(folder, f"i{number}.bin")
            with open(files[name], "wb") as stream:
                stream.write(array.astype(dtype).tobytes())
        return files

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[str]:
        folder = temporary_beside(self._engine)
        os.mkdir(folder, 0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _do(self, words: list[str], folder: str) -> None:
        log = os.path.join(folder, "said")
        try:
            said, peak = execute(words, log)
        except trtexec.StaleEngine:
            # The card came from another board, or TensorRT is not what the engine's name says.
            self._rebuild()
            said, peak = execute(words, log)
        self.load_ns = trtexec.load_ns(said)
        self.peak_bytes = max(peak, self.peak_bytes or 0) or None

    def placement(self) -> tuple[dict[str, dict[str, int]] | None, str | None]:
        """Return (None, why not): layers are fused, and the program names only what it fused them to."""
        return None, "trtexec does not tell where each node ran"


def execute(words: list[str], log: str) -> tuple[str, int]:
    """Run the program to a good end; returns what it said and the most memory that it held, in bytes.

    Raises:
        StaleEngine, BlockFailed: what its words mean. It may end well and have failed, so its own word counts.
    """
    peak = 0
    with open(log, "wb") as stream:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, memory.peak_bytes_of(process.pid) or 0)
            time.sleep(_LOOK_S)
    said = _read(log)
    if process.returncode or not trtexec.has_passed(said):
        raise trtexec.refusal(said)
    return said, peak


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read(_MAX_TEXT)
    except FileNotFoundError as error:
        raise ValueError(f"trtexec wrote no {os.path.basename(path)}") from error


def engines_folder(model: str) -> str:
    """Return where engines are kept: `engines` of the device tree that the model lies in, staged or installed; of the user's own when it lies in none. Never where others may write: an engine is code."""
    above = os.path.dirname(os.path.dirname(os.path.abspath(model)))
    app = os.path.dirname(above) if os.path.basename(above) == _RELEASES else above
    if os.path.basename(above) == _STAGED:
        root = os.path.dirname(above)
    elif os.path.basename(os.path.dirname(app)) == _APPS:
        root = os.path.dirname(os.path.dirname(app))
    else:
        root = os.path.expanduser("~/.edgeopt")
    return os.path.join(root, "engines")


def load(model: str, setting: dict[str, Any], profile: str | None = None) -> Engine:  # noqa: ARG001 - every runtime's `load`
    """Open an ONNX file: take its engine, or build one, which takes from seconds to many minutes.

    Args:
        model: path of the .onnx file; its description lies beside it in `model.json`.
        setting: precision; fp32 where it says nothing.
        profile: not needed.

    Raises:
        ImportError: there is no program.
        BlockFailed: TensorRT does not take the model, with what is in the way, or memory is too small.
    """
    path = program()
    if path is None:
        raise ImportError("no trtexec on this device")
    precision = setting.get("precision") or "fp32"
    folder = engines_folder(model)
    make_folder(folder)
    remove_leftovers(folder, is_exclusive=False)
    # The model's digest comes first: by it an engine goes when its model does.
    builder = digests.of_bytes(str(version()).encode())[:12]
    engine = os.path.join(folder, f"{digests.of_file(model)[0]}.{builder}.{precision}.engine")
    border = json.loads(_read(os.path.join(os.path.dirname(model), _BORDER)))

    def build() -> None:
        _build(engine, lambda part: trtexec.build_words(path, model, part, precision, int8=border["int8"]))

    if not os.path.exists(engine):
        build()
    return Engine(path, engine, border, build)


def _build(engine: str, words: Callable[[str], list[str]]) -> None:
    part = temporary_beside(engine)
    try:
        execute(words(part), f"{part}.said")
        os.replace(part, engine)
    finally:
        for leftover in (part, f"{part}.said"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(leftover)
