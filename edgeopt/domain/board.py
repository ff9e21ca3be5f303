"""Facts about kinds of boards: what a profile is made of, and where each fact comes from."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

RuntimeName = Literal["onnxruntime", "litert", "openvino", "ncnn", "tensorrt", "command"]
"""What runs a network on a device: one word in settings, profiles, wheels and `device setup --runtime`."""

BoardName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]

Mark = Literal["measured", "seen", "believed"]
"""How a fact is known: we measured or computed it; we saw it in a source that everybody can read; it is general knowledge that nobody here has verified."""


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where facts come from. `about`: the fields of the profile, or words, that it stands for."""

    about: tuple[str, ...]
    mark: Mark
    text: str


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a board of this kind shows itself, each a list of strings of which one is enough.

    `dt_model` and `dt_compatible`: the device tree's; a module's number matches within a carrier's (`nvidia,p3767-0005` in `nvidia,p3768-0000+p3767-0005-super`).
    `cpu_part`: part numbers that all its cores must be among. Android's properties: `product_model` (`ro.product.model`), `soc_model` (`ro.soc.model`) and
    `platform` (`ro.board.platform`).
    """

    dt_model: tuple[str, ...] = ()
    dt_compatible: tuple[str, ...] = ()
    cpu_part: tuple[str, ...] = ()
    product_model: tuple[str, ...] = ()
    soc_model: tuple[str, ...] = ()
    platform: tuple[str, ...] = ()


class Cluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cores of one kind. `part`: implementer and part number as /proc/cpuinfo has them, `0x41:0xd0b`; None where they do not tell kinds apart. `mhz`: the highest clock."""

    core: str
    count: Annotated[int, msgspec.Meta(ge=1)]
    part: Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-f]{1,2}:0x[0-9a-f]{1,3}$")] | None = None
    mhz: Annotated[int, msgspec.Meta(ge=1)] | None = None


class BoardSensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sensor that boards of this kind have. `name`: by what it is found; `note`: what it covers and what the user needs for it."""

    kind: Literal["temperature", "throttling", "power"]
    name: str
    note: str | None = None


class Published(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest wheel of a runtime that a system's own Python can load, as pip resolves it for its tags."""

    runtime: RuntimeName
    package: str
    version: str


class System(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An operating system for boards, and the newest runtimes for its Python.

    `python`: the interpreter that edgeopt uses there, `3.11`; None where there is none (Android). `glibc`: the C library's version. `wheels`: what is published;
    `lacks`: why a runtime is not, and what to do. `max_opset`, `max_ir_version`: the newest ONNX that its newest onnxruntime reads; None where it has none.
    `resolved`: the day on which `wheels` were resolved.
    """

    name: BoardName
    title: str
    arch: Literal["aarch64", "armv7l", "x86_64"]
    python: Annotated[str, msgspec.Meta(pattern=r"^3\.\d{1,2}$")] | None = None
    glibc: Annotated[str, msgspec.Meta(pattern=r"^2\.\d{1,2}$")] | None = None
    wheels: tuple[Published, ...] = ()
    lacks: dict[RuntimeName, str] = {}
    max_opset: int | None = None
    max_ir_version: int | None = None
    resolved: Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")] | None = None
    notes: tuple[str, ...] = ()
