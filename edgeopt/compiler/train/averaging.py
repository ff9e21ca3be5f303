"""The mean of the weights of many steps: where long steps wander about, it is near to where shorter ones would end. Child side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

LATE = 3.0
"""How much more the late steps count: of n steps about the last quarter (polynomial-decay averaging; Shamir and Zhang, *Stochastic Gradient Descent for Non-smooth Optimization*, ICML 2013)."""


class Average:
    """Of parameters by name, over the steps since it began."""

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self.parameters = parameters
        self.steps = 0
        self.values: dict[str, Any] = {}

    def begin(self, steps: int = 0, values: Mapping[str, Any] | None = None) -> None:
        """Forget all steps, or go on from the values of so many."""
        self.steps = steps
        self.values = {
            name: torch.from_numpy(array).to(self.parameters[name]) for name, array in (values or {}).items()
        }

    def take(self) -> None:
        """Let the parameters as they are count as the latest step."""
        self.steps += 1
        share = (LATE + 1) / (LATE + self.steps)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if self.steps == 1:
                    self.values[name] = parameter.detach().clone()
                else:
                    self.values[name].lerp_(parameter, share)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The parameters have the mean's values meanwhile."""
        with torch.no_grad():
            own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            try:
                for name, parameter in self.parameters.items():
                    parameter.copy_(self.values[name])
                yield
            finally:
                for name, parameter in self.parameters.items():
                    parameter.copy_(own[name])
