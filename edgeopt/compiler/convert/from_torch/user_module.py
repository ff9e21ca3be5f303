"""The user's own module, `module:callable` or `file.py:callable`. Named only by the user, so its code runs, in a child that keeps the network. Child side."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeopt.compiler.convert.from_torch.axes import likely_axes, other_sizes, output_axes, resized
from edgeopt.compiler.convert.from_torch.export import answers, quiet
from edgeopt.compiler.convert.from_torch.network import Network, Tensors
from edgeopt.compiler.refuse import Refused, out_of_memory, shorten

EXAMPLES = "let it return (module, inputs), or give the shapes in edgeopt.toml: [shapes] x = [1, 3, 224, 224]"


def read_callable(request: dict[str, Any]) -> Network:
    """`{"source", "shapes"}` -> the network. What is called may return a module, or a module and its example inputs: a tensor, a tuple, or a dict by name.

    Raises:
        Refused: model-missing, model-unsupported.
    """
    import torch

    where, _, name = request["source"].rpartition(":")
    found = getattr(_imported(Path(where)), name, None)
    if not callable(found):
        raise Refused("model-missing", f"{Path(where).name} has no callable {name}")
    try:
        made = found if isinstance(found, torch.nn.Module) else found()
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused("model-unsupported", f"{name}() failed: {type(error).__name__}: {shorten(str(error))}") from error
    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, torch.nn.Module):
        raise Refused("model-unsupported", f"{name}() gave {type(module).__name__}, not a torch.nn.Module")
    module = module.eval().cpu()
    example = _drawn(module, request["shapes"]) if inputs is None else _named(module, inputs)
    return opened(module, example)


def _imported(where: Path) -> Any:
    """A module by its file, or by its name from the folder."""
    folder, name = where.parent, where.name
    sys.path.insert(0, str(folder))
    try:
        if not name.endswith(".py"):
            return importlib.import_module(name)
        if not where.is_file():
            raise Refused("model-missing", f"{where}: no such file")
        spec = importlib.util.spec_from_file_location(where.stem, where)
        if spec is None or spec.loader is None:
            raise Refused("model-missing", f"{where}: not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[where.stem] = module
        spec.loader.exec_module(module)
        return module
    except Refused:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise MemoryError from error
        raise Refused(
            "model-missing", f"{name} cannot be imported: {type(error).__name__}: {shorten(str(error))}"
        ) from error


def _parameters(module: Any) -> list[str]:
    """Names of what `forward` takes by position and has no default for."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        each.name
        for each in inspect.signature(module.forward).parameters.values()
        if each.kind in kinds and each.default is inspect.Parameter.empty
    ]


def _named(module: Any, inputs: Any) -> Tensors:
    """Example inputs by name, in the order of `forward`."""
    import torch

    takes = [each.name for each in inspect.signature(module.forward).parameters.values()]
    if isinstance(inputs, Mapping):
        unknown = [name for name in inputs if name not in takes]
        if unknown:
            raise Refused(
                "model-unsupported", f"its example has {', '.join(map(str, unknown))}; forward takes {', '.join(takes)}"
            )
        given = {name: inputs[name] for name in takes if name in inputs}
        if list(given) != takes[: len(given)]:
            raise Refused("model-unsupported", f"its example leaves out one of {', '.join(takes[: len(given)])}")
    else:
        values = inputs if isinstance(inputs, (tuple, list)) else (inputs,)
        spare = [f"input_{i}" for i in range(len(takes), len(values))]
        given = dict(zip([*takes, *spare], values, strict=False))
    try:
        return {name: torch.as_tensor(value).detach().cpu() for name, value in given.items()}
    except (TypeError, ValueError, RuntimeError) as error:
        raise Refused("model-unsupported", f"its example inputs are not tensors: {shorten(str(error))}") from error


def _drawn(module: Any, shapes: Mapping[str, list[int]]) -> Tensors:
    """Floats of the shapes that the project names."""
    import torch

    names = _parameters(module)
    missing = [name for name in names if name not in shapes]
    if missing or not names:
        raise Refused(
            "model-unsupported",
            f"nothing says what its inputs {', '.join(missing) or '(none named)'} look like: {EXAMPLES}",
        )
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(tuple(shapes[name]), generator=generator) for name in names}


def opened(module: Any, example: Tensors) -> Network:
    """The network with as many open axes as it answers on: what fails on another size keeps that one.

    Raises:
        Refused: it fails on its example.
    """
    import torch

    with torch.no_grad(), quiet():
        count = len(answers(module, example))
        names = ("output",) if count == 1 else tuple(f"output_{i}" for i in range(count))
        for axes in likely_axes(example):
            try:
                following = output_axes(module, example, axes, names)
                examples = [example, *(resized(example, axes, sizes) for sizes in other_sizes(example, axes))]
                for other in examples[1:]:
                    answers(module, other)
            except Refused:
                continue
            return Network(module=module, examples=examples, outputs=names, open_axes=axes | following)
    return Network(module=module, examples=[example], outputs=names)
