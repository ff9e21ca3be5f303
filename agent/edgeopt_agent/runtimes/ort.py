"""ONNX Runtime."""

from __future__ import annotations

import os
import re
from functools import partial

from edgeopt_agent.probes.cpu import usable_cores
from edgeopt_agent.runtimes import placement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VERSION = re.compile(r"""^__version__\s*=\s*["']([0-9][0-9A-Za-z.+-]{0,40})["']""", re.MULTILINE)
_ERRORS_ONLY = 3
_QUIET = "ORT_DISABLE_TELEMETRY"
"""From 1.29 on the official builds keep an identifier in the user's home and report sessions to their maker unless this is set before the import."""


def find(folders: list[str]) -> str | None:
    """Return the version that an import would find in these folders, without importing it."""
    for folder in folders:
        try:
            with open(os.path.join(folder, "onnxruntime", "__init__.py"), encoding="utf-8", errors="replace") as stream:
                found = _VERSION.search(stream.read(1 << 20))
        except OSError:
            continue
        return found.group(1) if found else None
    return None


def version() -> str:
    """Return the version of the one that is imported."""
    return str(_import().__version__)


def providers() -> list[str]:
    """Return the execution providers of this build."""
    return [str(name) for name in _import().get_available_providers()]


def _import() -> Any:
    """Import it without its telemetry: nothing on a board talks to anybody but the host."""
    os.environ[_QUIET] = "1"
    import onnxruntime

    return onnxruntime


def _is_open(shape: Any) -> bool:
    """Tell whether the first axis of a tensor may have any size."""
    return bool(shape) and not isinstance(shape[0], int)


class Session:
    """An open model. `run` is onnxruntime's own, with nothing of ours round it: it is what is timed."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.input_names = [str(item.name) for item in session.get_inputs()]
        self.output_names = [str(item.name) for item in session.get_outputs()]
        self.takes_batches = all(_is_open(item.shape) for item in (*session.get_inputs(), *session.get_outputs()))
        self.provider_used = str(session.get_providers()[0])
        self.run = partial(session.run, self.output_names)

    def placement(self) -> tuple[dict[str, dict[str, int]] | None, str | None]:
        """Return ({provider: {operator: number of nodes that ran there}}, None), or (None, why not). Once, after an inference, of a model that was loaded with `profile`."""
        return placement.of_session(self._session)


def load(model: str, setting: dict[str, Any], profile: str | None = None) -> Session:
    """Open a model file.

    Args:
        model: path of the .onnx file; external data lies beside it.
        setting: provider, threads, and optionally spinning and arena. Threads are those inside an operator (0: all usable cores, which are those of an affinity);
            operators run one after the other. `spinning`: idle threads wait for work in a loop (`session.intra_op.allow_spinning`). `arena`: freed memory is kept
            for the next inference (`enable_cpu_mem_arena`). None leaves the runtime's own choice.
        profile: where the runtime may write what it did, for `placement`; the beginning of a file's path. It takes time: never when something is timed.
    """
    onnxruntime = _import()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = setting["threads"] or usable_cores()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    if setting.get("spinning") is not None:
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if setting["spinning"] else "0")
    if setting.get("arena") is not None:
        options.enable_cpu_mem_arena = setting["arena"]
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile
    options.log_severity_level = _ERRORS_ONLY
    wanted = setting["provider"]
    # An unknown provider would be replaced with a warning on stdout; asked this way, the replacement shows in `provider_used`.
    usable = wanted if wanted in onnxruntime.get_available_providers() else "CPUExecutionProvider"
    return Session(onnxruntime.InferenceSession(model, sess_options=options, providers=[usable]))
