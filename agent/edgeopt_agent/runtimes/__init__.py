"""Inference runtimes: one file each, the only files here that import anything beyond the standard library, and only when they are used.

A runtime module has `find(folders)`, `version()`, `providers()` and `load(model, setting, profile)`. A new one is a file and a line in `TABLE`.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class LoadedModel(Protocol):
        """A model that is ready to run."""

        run: Callable[[dict[str, Any]], list[Any]]
        """Takes {input name: array}, returns the outputs in the model's order."""
        input_names: list[str]
        output_names: list[str]
        provider_used: str
        takes_batches: bool
        """Whether the first axis of every input and output is open."""

        def placement(self) -> tuple[dict[str, dict[str, int]] | None, str | None]:
            """Return ({provider: {operator: number of nodes that ran there}}, None), or (None, why not). Once, after an inference, of a model that was loaded with `profile`."""

    class TimedByProgram(LoadedModel, Protocol):
        """A model that a native program runs: it times inferences itself."""

        peak_bytes: int | None
        load_ns: int | None

        def timed(self, feed: dict[str, Any], *, least: int, min_s: float, warmup_s: float) -> list[int]:
            """Return the latency of each inference in ns."""

    class Runtime(Protocol):
        """One inference runtime."""

        def find(self, folders: list[str]) -> str | None:
            """Return the version that an import would find in these folders, without importing it; None when there is none."""

        def version(self) -> str:
            """Import the runtime and return its version."""

        def providers(self) -> list[str]:
            """Import the runtime and return what it can run on."""

        def load(self, model: str, setting: dict[str, Any], profile: str | None = None) -> LoadedModel:
            """Open a model file with exactly this setting: runtime, provider, threads (0: all usable cores), and where it says so spinning, arena and precision. `profile`: where it may write what it did."""


TABLE = {
    "onnxruntime": "edgeopt_agent.runtimes.ort",
    "litert": "edgeopt_agent.runtimes.litert",
    "openvino": "edgeopt_agent.runtimes.openvino",
    "ncnn": "edgeopt_agent.runtimes.ncnn",
    "tensorrt": "edgeopt_agent.runtimes.tensorrt",
}
"""Every runtime that there is: its name in settings, its module here."""


def open_runtime(name: str) -> Runtime:
    """Return a runtime's module. Raises KeyError for a name that is not in the table."""
    module: Any = import_module(TABLE[name])
    found: Runtime = module
    return found


def python_folders() -> list[str]:
    """Return where this interpreter finds packages, in its order, with the user's own packages (`pip install --user`), which `-I` leaves out."""
    return with_user_packages(list(sys.path))


def with_user_packages(path: list[str]) -> list[str]:
    """Return a search path as an application's interpreter has it. A virtual environment has no user packages."""
    import site

    user = site.getusersitepackages()
    if sys.prefix != sys.base_prefix or user in path or not os.path.isdir(user):
        return path
    own = [index for index, folder in enumerate(path) if folder.endswith(("site-packages", "dist-packages"))]
    index = own[0] if own else len(path)
    return [*path[:index], user, *path[index:]]
