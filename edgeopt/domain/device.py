"""Profiles (kinds of boards) and devices (particular boards)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edgeopt.domain.board import BoardName, BoardSensor, Cluster, Match, RuntimeName, Source, System

Int8Encoding = Literal["auto", "u8s8", "s8s8", "u8s8-7bit", "u8u8", "trt", "qnn", "qnn-a16"]

Name = BoardName


class Roofline(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How fast a kind of board computes networks in a number format, both rates fitted to measured latencies: `MAC / P + bytes / BW`.

    `threads` that the latencies were measured with. `gmac_per_s` (P) in 10^9 multiply-accumulates a second, `gb_per_s` (BW) in 10^9 bytes a second.
    `error_factor` is the fit's own error, one standard deviation; None where a rate was derived from another format's.
    """

    dtype: Literal["fp32", "fp16", "int8"]
    threads: Annotated[int, msgspec.Meta(ge=1)]
    gmac_per_s: Annotated[float, msgspec.Meta(gt=0)]
    gb_per_s: Annotated[float, msgspec.Meta(gt=0)]
    error_factor: Annotated[float, msgspec.Meta(ge=1)] | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts and defaults for a kind of device. A prior: what the agent's probe finds overrides it.

    `aliases`: names it had before. `os`: on Android there is no Python, and other strings tell what a device is. `clusters`: the fastest cores first; `cores` counts
    them all. `memory_gb_per_s`: what the memory's clock and width give in theory. `accelerators`: what else computes there, and whether edgeopt uses it.
    `isa`, `isa_absent`: what the kernel's words for the CPU's abilities are among, and what they are surely not.
    `systems`: the operating systems that such boards run, the likeliest first. `runtimes`, `recipes`: in the order worth trying.
    `threads`: settings to measure; 0 means all cores. `int8_encoding`: how int8 is written (docs/compression.md), `auto`: by what the board's CPU can do.
    `int8_activations` is the older word, `uint8` for u8s8 and `int8` for s8s8; it counts where `int8_encoding` is `auto`.
    `sensors`: what is there beside `power_sensor`, or `power_reason` why there is none. `notes`: caveats in the words that users read.
    `roofline`: what the prior goes by; empty where nothing was measured on such a board.
    `max_opset`, `max_ir_version`: the newest ONNX that the oldest runtime shipped for this board's Python reads.
    `sources`: where the facts come from, and how sure each is.
    """

    schema: Literal[1] = 1
    name: Name
    aliases: tuple[Name, ...] = ()
    title: str
    os: Literal["linux", "android"] = "linux"
    match: Match = Match()
    arch: Literal["aarch64", "armv7l", "x86_64", "any"]
    soc: str | None = None
    cores: int | None = None
    clusters: tuple[Cluster, ...] = ()
    ram_mb: tuple[int, ...] = ()
    memory_gb_per_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    isa: tuple[str, ...] = ()
    isa_absent: tuple[str, ...] = ()
    accelerators: tuple[str, ...] = ()
    systems: tuple[System, ...] = ()
    power_sensor: str | None = None
    power_reason: str | None = None
    sensors: tuple[BoardSensor, ...] = ()
    runtimes: tuple[RuntimeName, ...] = ("onnxruntime",)
    recipes: tuple[str, ...]
    threads: tuple[int, ...] = (0,)
    int8_encoding: Int8Encoding = "auto"
    int8_activations: Literal["uint8", "int8"] | None = None
    fp16: bool = False
    max_opset: int = 21
    max_ir_version: int = 10
    notes: tuple[str, ...] = ()
    roofline: tuple[Roofline, ...] = ()
    sources: tuple[Source, ...] = ()

    @property
    def encoding(self) -> Int8Encoding:
        """What int8 is written as, in the newer word."""
        if self.int8_encoding != "auto" or self.int8_activations is None:
            return self.int8_encoding
        return "s8s8" if self.int8_activations == "int8" else "u8s8"


class Device(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One board of the user's: how to reach it, what kind it is.

    `address` is `local:`, `ssh://[user@]host[:port]`, `adb://SERIAL` or `adb://host:port`. `python` is the interpreter on the board. `root` is where the agent keeps its tree, `~` is the
    board's home. `threads` overrides the profile's. `identity` is a private key file on the host. `meter` is a power meter that the host reads,
    `shelly://host` or `tasmota://host`. `command`: files of this computer that are brought to a phone, its benchmark programs and the libraries that they need.
    """

    name: Name
    profile: Name
    address: str
    python: str | None = None
    root: str = "~/.edgeopt"
    identity: str | None = None
    threads: tuple[int, ...] | None = None
    meter: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    command: tuple[str, ...] = ()


__all__ = ["Device", "Int8Encoding", "Match", "Name", "Profile", "Roofline", "RuntimeName"]
