"""What is shipped and installed."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeopt.domain.model import ModelFile, TensorSpec
from edgeopt.domain.run import Setting


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """Inputs and the outputs they must give: `.npz` files of the bundle. `|got - want| <= atol + rtol * |want|` for every element.

    `outputs` is None where what runs the network does not tell its answers: then it must run on the inputs, and no more is known.
    """

    inputs: str
    outputs: str | None
    rtol: float
    atol: float


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle's table of contents. Its canonical JSON's sha256 is the release's name."""

    schema: Literal[1] = 1
    app: str
    run: str
    variant: str
    encoding: str
    model: str
    setting: Setting
    runtime_version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    files: tuple[ModelFile, ...]
    probe: Probe
    edgeopt_version: str


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle installed on a device."""

    app: str
    digest: str
    previous: str | None
