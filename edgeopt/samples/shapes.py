"""The shape that an input will have: what the model says, with its dynamic axes filled from the project's `[shapes]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeopt.domain.model import TensorSpec
from edgeopt.errors import ConfigError

Axis = int | str | None
Shapes = Mapping[str, Sequence[int]]


def check_shapes(inputs: Sequence[TensorSpec], shapes: Shapes) -> None:
    """See that every given shape belongs to an input and agrees with its fixed axes.

    Raises:
        ConfigError: names the input, what was given and what the model takes.
    """
    specs = {spec.name: spec for spec in inputs}
    for name, given in shapes.items():
        if name not in specs:
            raise ConfigError(f'shapes."{name}": the model has no such input; its inputs: {", ".join(specs)}')
        declared = specs[name].shape
        if declared is not None and not agrees(given, declared):
            raise ConfigError(f'shapes."{name}": found {list(given)}, the model takes {words(declared)}')


def agrees(shape: Sequence[int], declared: Sequence[Axis]) -> bool:
    """Whether a shape has the declared rank and fixed axes."""
    return len(shape) == len(declared) and all(
        not isinstance(axis, int) or axis == size for size, axis in zip(shape, declared, strict=True)
    )


def expected_shape(spec: TensorSpec, shapes: Shapes) -> tuple[Axis, ...] | None:
    """The given shape, else the model's; None when even the rank is unknown."""
    given = shapes.get(spec.name)
    return spec.shape if given is None else tuple(given)


def words(shape: Sequence[Axis] | None) -> str:
    """A shape as people write it: `(N, 3, 96, 96)`, `?` for an unknown axis."""
    if shape is None:
        return "any shape"
    axes = ["?" if axis is None else str(axis) for axis in shape]
    return f"({axes[0]},)" if len(axes) == 1 else f"({', '.join(axes)})"
