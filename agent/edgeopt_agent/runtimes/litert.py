"""LiteRT, the runtime of TensorFlow Lite files; where it has no wheel (32-bit ARM) its predecessor `tflite-runtime`, which is frozen at 2.14."""

from __future__ import annotations

import sys
from importlib import import_module

from edgeopt_agent.probes.cpu import usable_cores
from edgeopt_agent.runtimes.distribution import version_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

XNNPACK, BUILTIN = "XNNPACK", "builtin"
"""What it computes with: the delegate that it applies by itself, or the kernels of its own."""

_PACKAGES = (("ai_edge_litert", "ai-edge-litert", ""), ("tflite_runtime", "tflite-runtime", "+tflite-runtime"))
"""(module, distribution, what is added to the version so that the two are told apart), the better one first."""
_DELEGATE = "DELEGATE"


def find(folders: list[str]) -> str | None:
    """Return the version that an import would find in these folders, without importing it."""
    for module, distribution, mark in _PACKAGES:
        found = version_in(folders, module, distribution)
        if found is not None:
            return found + mark
    return None


def version() -> str:
    """Return the version of the one that is imported."""
    _import()
    return find(sys.path) or "unknown"


def providers() -> list[str]:
    """Return what it can compute with."""
    _import()
    return [XNNPACK, BUILTIN]


def _import() -> Any:
    for module, _, _ in _PACKAGES[:-1]:
        try:
            return import_module(f"{module}.interpreter")
        except ModuleNotFoundError as error:
            if error.name != module:
                raise
    return import_module(f"{_PACKAGES[-1][0]}.interpreter")


class Interpreter:
    """An open model. The inputs are copied in and the outputs out, as in every use of it."""

    takes_batches = False
    """Its tensors have the sizes that they were allocated with."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self.input_names = [str(item["name"]) for item in inputs]
        self.output_names = [str(item["name"]) for item in outputs]
        self._set = [(str(item["name"]), int(item["index"])) for item in inputs]
        self._get = [int(item["index"]) for item in outputs]
        self._sizes = {str(item["name"]): tuple(int(size) for size in item["shape"]) for item in inputs}
        self._operators = _operators(interpreter)
        self.provider_used = XNNPACK if any(op["op_name"] == _DELEGATE for op in self._operators) else BUILTIN

    def run(self, feed: dict[str, Any]) -> list[Any]:
        """Run the model once: {input name: array} -> the outputs in the model's order."""
        interpreter, sizes = self._interpreter, self._sizes
        for name, index in self._set:
            array = feed[name]
            if array.shape != sizes[name]:
                self._resize(feed)
            interpreter.set_tensor(index, array)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in self._get]

    def _resize(self, feed: dict[str, Any]) -> None:
        """Take other sizes, where the model lets them open.

        Raises:
            RuntimeError: it does not.
        """
        for name, index in self._set:
            self._interpreter.resize_tensor_input(index, feed[name].shape, strict=True)
            self._sizes[name] = feed[name].shape
        self._interpreter.allocate_tensors()

    def placement(self) -> tuple[dict[str, dict[str, int]] | None, str | None]:
        """Return ({provider: {operator: number of nodes}}, None), or (None, why not)."""
        if not self._operators:
            return None, "this version of the interpreter does not list its operators"
        return placed(self._operators), None


def _operators(interpreter: Any) -> list[dict[str, Any]]:
    """The nodes of the graph, those that a delegate took among them, and the delegate's; none where this version does not say."""
    listed = getattr(interpreter, "_get_ops_details", None)
    return list(listed()) if listed is not None else []


def placed(operators: list[dict[str, Any]]) -> dict[str, dict[str, int]]:
    """Count who computes what.

    A delegate's node has the inputs and outputs of the part that it took, and the nodes of that part stay in the list: they are what lies between.

    Args:
        operators: {"op_name", "inputs", "outputs"} of each node, the tensors by their numbers.

    Returns:
        {provider: {operator: number of nodes}}.
    """
    makers = {int(t): n for n, op in enumerate(operators) if op["op_name"] != _DELEGATE for t in op["outputs"]}
    taken: set[int] = set()
    for delegate in (op for op in operators if op["op_name"] == _DELEGATE):
        given, open_ = {int(t) for t in delegate["inputs"]}, [int(t) for t in delegate["outputs"]]
        while open_:
            tensor = open_.pop()
            number = makers.get(tensor)
            if tensor in given or number is None or number in taken:
                continue
            taken.add(number)
            open_ += [int(t) for t in operators[number]["inputs"]]
    counts: dict[str, dict[str, int]] = {}
    for number, op in enumerate(operators):
        if op["op_name"] != _DELEGATE:
            kinds = counts.setdefault(XNNPACK if number in taken else BUILTIN, {})
            kinds[op["op_name"]] = kinds.get(op["op_name"], 0) + 1
    return counts


def load(model: str, setting: dict[str, Any], profile: str | None = None) -> Interpreter:  # noqa: ARG001 - every runtime's `load`
    """Open a .tflite file.

    Args:
        model: its path.
        setting: provider and threads (0: all usable cores). XNNPACK is its own choice; `builtin` computes without delegates.
        profile: not needed; the interpreter lists its nodes at any time.
    """
    module = _import()
    options: dict[str, Any] = {"num_threads": setting["threads"] or usable_cores()}
    if setting["provider"] == BUILTIN:
        options["experimental_op_resolver_type"] = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = module.Interpreter(model_path=model, **options)
    interpreter.allocate_tensors()
    return Interpreter(interpreter)
