"""For applications on the device: open what is installed, exactly as it was measured.

`model = load("app")`, then `outputs = model({"input": array})`, or `model(array)` when there is one input.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Model:
    """An installed model, open. Call it with {input name: array}, or with the array when it has one input; it returns the list of its outputs.

    Attributes:
        manifest: the release's table of contents: variant, encoding, setting, runtime version and so on.
        inputs: name, dtype and shape of each input, in order.
        outputs: the same of each output.
    """

    def __init__(self, manifest: dict[str, Any], run: Any) -> None:
        self.manifest = manifest
        self.inputs: list[dict[str, Any]] = manifest["inputs"]
        self.outputs: list[dict[str, Any]] = manifest["outputs"]
        self._run = run

    def __call__(self, inputs: Any) -> list[Any]:
        """Run the model once.

        Args:
            inputs: {input name: array}, or the array of the only input.

        Raises:
            TypeError: a bare array for a model of several inputs.
        """
        if not isinstance(inputs, dict):
            if len(self.inputs) != 1:
                names = ", ".join(spec["name"] for spec in self.inputs)
                raise TypeError(f"this model has {len(self.inputs)} inputs: pass {{name: array}} for {names}")
            inputs = {self.inputs[0]["name"]: inputs}
        outputs: list[Any] = self._run(inputs)
        return outputs


def load(app: str, root: str | None = None) -> Model:
    """Open the current release of an app with the setting and the runtime that it was measured with.

    A setting with an affinity keeps the calling thread, which computes with the runtime's own, on its cores from now on.

    Args:
        app: its name.
        root: the device tree, `~/.edgeopt` unless it was installed elsewhere.

    Raises:
        FileNotFoundError: the app is not installed there, or its release is damaged.
        ImportError: its runtime, in its version, is not there for this Python.
        ValueError: it was measured on cores that this process may not use.
    """
    from edgeopt_agent import release, runtime_store
    from edgeopt_agent.arguments import is_name
    from edgeopt_agent.errors import AgentError
    from edgeopt_agent.tree import Tree

    tree = Tree(os.path.abspath(os.path.expanduser(root or "~/.edgeopt")))
    # Resolved once: a switch in the middle of this does not mix two releases.
    folder = os.path.realpath(os.path.join(tree.apps, app, "current")) if is_name(app) else ""
    manifest = release.read(folder)
    if manifest is None:
        raise FileNotFoundError(f"{app!r} is not installed in {tree.root}; on the host: edgeopt deploy")
    name, version = release.used_runtime(manifest)
    try:
        site = runtime_store.choose(tree, name, version)
    except AgentError as error:
        raise ImportError(f"{error}; on the host: edgeopt device setup") from error
    return Model(manifest, _open(folder, manifest, name, version, site))


def _open(folder: str, manifest: dict[str, Any], name: str, version: str, site: str | None) -> Any:
    from edgeopt_agent.runtimes import open_runtime
    from edgeopt_agent.setting import pin

    if site is not None and site not in sys.path and name not in sys.modules:
        sys.path.insert(0, site)
    runtime = open_runtime(name)
    if runtime.version() != version:
        raise ImportError(
            f"{name} {runtime.version()} is imported already, the model was measured with {version}: call load() before importing it"
        )
    pin(manifest["setting"].get("affinity", []))
    return runtime.load(os.path.join(folder, manifest["model"]), manifest["setting"]).run
