"""Profiles (kinds of boards) and devices (particular boards)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]


class Match(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a board of this kind shows itself: device-tree strings and CPU part numbers."""

    dt_model: tuple[str, ...] = ()
    dt_compatible: tuple[str, ...] = ()
    cpu_part: tuple[str, ...] = ()


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts and defaults for a kind of device. A prior: what the agent's probe finds overrides it.

    `threads`: settings to measure; 0 means all cores. `int8_activations`: the activation type that the runtime's kernels fuse on this ISA.
    `max_opset`, `max_ir_version`: the newest ONNX that the oldest runtime shipped for this board's Python reads.
    """

    schema: Literal[1] = 1
    name: Name
    title: str
    match: Match = Match()
    arch: Literal["aarch64", "armv7l", "x86_64", "any"]
    soc: str | None = None
    cores: int | None = None
    ram_mb: tuple[int, ...] = ()
    isa: tuple[str, ...] = ()
    power_sensor: str | None = None
    power_reason: str | None = None
    runtimes: tuple[Literal["onnxruntime"], ...] = ("onnxruntime",)
    recipes: tuple[str, ...]
    threads: tuple[int, ...] = (0,)
    int8_activations: Literal["uint8", "int8"] = "uint8"
    fp16: bool = False
    max_opset: int = 21
    max_ir_version: int = 10
    notes: tuple[str, ...] = ()


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One board of the user's: how to reach it, what kind it is.

    `address` is `local:` or `ssh://[user@]host[:port]`. `python` is the interpreter on the board. `root` is where the agent keeps its tree, `~` is the
    board's home. `threads` overrides the profile's. `identity` is a private key file on the host.
    """

    name: Name
    profile: Name
    address: str
    python: str | None = None
    root: str = "~/.edgeopt"
    identity: str | None = None
    threads: tuple[int, ...] | None = None
