"""Samples from the user's own function, `module:function`. Named only by the user, in edgeopt.toml or on the command line."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.errors import SamplesError
from edgeopt.samples.record import Array

_SPEC = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)")


def is_function(spec: str) -> bool:
    """Whether the text has the form `module:function`."""
    return _SPEC.fullmatch(spec) is not None


def call_function(spec: str, *, base: Path, names: Sequence[str], limit: int) -> list[tuple[Array, ...]]:
    """Import `module` (from `base` first), call `function()` and take at most `limit` samples of what it returns, an endless iterable too.

    A sample is an array (for the only input) or a mapping from input names to arrays.

    Raises:
        SamplesError: samples-missing: no such module or function; samples-unreadable: it failed; samples-mismatch: other inputs than the model's.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise ValueError(f"{spec!r} is not module:function")
    with _importable_from(base, match["module"]):
        function = _import(spec, match["module"], match["function"], base)
        try:
            items = list(itertools.islice(iter(function()), limit))
        except Exception as error:
            raise SamplesError(
                f"{spec}: failed: {type(error).__name__}: {error}",
                hint="Correct the function; edgeopt calls it without arguments.",
            ) from error
    return [_row(item, names, f"{spec}, sample {number}") for number, item in enumerate(items)]


def _import(spec: str, module: str, function: str, base: Path) -> Any:
    """The user's function."""
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            message = f"{spec}: there is no module {module} in {base} or on Python's path, and no such folder or file"
            raise SamplesError(
                message, hint="Check the spelling; paths are relative to edgeopt.toml.", code="samples-missing"
            ) from error
        raise SamplesError(
            f"{spec}: {module} needs the module {error.name}", hint=f"Install {error.name} beside edgeopt."
        ) from error
    except Exception as error:
        raise SamplesError(
            f"{spec}: {module} cannot be imported: {type(error).__name__}: {error}", hint="Correct the module."
        ) from error
    if not callable(found):
        raise SamplesError(
            f"{spec}: {module} has no function {function}", hint="Check the spelling.", code="samples-missing"
        )
    return found


@contextlib.contextmanager
def _importable_from(base: Path, module: str) -> Iterator[None]:
    """Let Python look into `base` first. A module of the same name that came from elsewhere (another project) is set aside for good."""
    file = base.joinpath(*module.split(".")).with_suffix(".py")
    loaded = sys.modules.get(module)
    if loaded is not None and file.is_file() and getattr(loaded, "__file__", None) != str(file):
        del sys.modules[module]
    importlib.invalidate_caches()
    sys.path.insert(0, str(base))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(str(base))


def _row(item: Any, names: Sequence[str], label: str) -> tuple[Array, ...]:
    """One sample's arrays in the order of the inputs."""
    keyed = item if isinstance(item, Mapping) else {names[0]: item} if len(names) == 1 else None
    if keyed is None or set(keyed) != set(names):
        found = "an array without a name" if keyed is None else ", ".join(map(str, keyed)) or "nothing"
        message = f"{label}: found {found}; the model's inputs are {', '.join(names)}"
        raise SamplesError(message, hint="Yield a dict from input names to arrays.", code="samples-mismatch")
    try:
        row = tuple(np.asarray(keyed[name]) for name in names)
    except Exception as error:
        raise SamplesError(
            f"{label}: not an array: {error}", hint="Yield numpy arrays.", code="samples-mismatch"
        ) from error
    if any(array.dtype.hasobject for array in row):
        raise SamplesError(
            f"{label}: an array of Python objects", hint="Yield numpy arrays of numbers.", code="samples-mismatch"
        )
    return row
