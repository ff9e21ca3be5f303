"""The whole measured record. Raw: every summary and pick can be recomputed from it with no device."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edgeopt.domain.device import Device, Profile
from edgeopt.domain.energy import EnergyWindow, PowerSensor
from edgeopt.domain.failure import Failure as Failure  # noqa: PLC0414 - others know it as a word of a run
from edgeopt.domain.goal import Goal
from edgeopt.domain.model import ModelInfo
from edgeopt.domain.prior import Prior
from edgeopt.domain.sustained import Sustained
from edgeopt.domain.variant import Fidelity, Variant

Scenario = Literal["single-stream", "multi-stream", "fixed-rate", "offline"]


Precision = Literal["fp32", "fp16", "bf16"]

PROVIDERS = {
    "onnxruntime": "CPUExecutionProvider",
    "litert": "XNNPACK",
    "openvino": "CPU",
    "ncnn": "CPU",
    "tensorrt": "GPU",
    "command": "CPU",
}
"""Runtime -> what it computes with when nothing else is asked of it."""


def plain_provider(runtime: str) -> str:
    """What a runtime computes with when nothing else is asked of it."""
    return PROVIDERS[runtime]


ON_GPU = frozenset({"tensorrt"})
"""Runtimes to which threads and cores of the CPU mean nothing."""

BUILDS_S = {"tensorrt": 1800.0}
"""Runtime -> seconds that it may take beyond a block's time to build, on the device and the first time, what it runs."""


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """How a variant is run. `threads` 0 means all cores of the device, or of `affinity`: the numbers of the cores that its process may use, in ascending order, () for all.

    `spinning`: the runtime's idle threads wait for work in a loop (lower latency, more power); `arena`: freed memory is kept for the next inference (more memory, fewer page faults).
    None leaves the runtime's own choice. `precision` is what floating point is computed in, where a runtime leaves the choice (OpenVINO, ncnn, TensorRT); None is fp32.
    """

    runtime: str = "onnxruntime"
    provider: str = "CPUExecutionProvider"
    threads: int = 0
    affinity: tuple[int, ...] = ()
    spinning: bool | None = None
    arena: bool | None = None
    precision: Precision | None = None


def plain_setting(runtime: str, threads: int = 0) -> Setting:
    """How a runtime is run when nothing else is asked of it."""
    return Setting(runtime=runtime, provider=plain_provider(runtime), threads=threads)


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A variant in a setting: the thing that is measured. `id` is `<variant>@t<threads>`."""

    id: str
    variant: str
    setting: Setting


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """One fresh process on the device. Times in ns on its monotonic clock, memory in bytes from VmHWM (never ru_maxrss).

    `peak_rss_bytes` is the whole process; `runtime_rss_bytes` the same before the model was loaded, so their difference is the model's. `anon_bytes`, `file_bytes` and `shared_bytes` are
    what was resident at the end of the timed part: anonymous memory is what a board can run out of, pages of files can be read again. `conditions_before/after` are what the agent
    read (clocks, temperatures, load, memory, throttle counters), as it sent them. `flags` are doubts. `warmup_ns` are the inferences after the first that do not count,
    `latencies_ns` those that do, in which `feeds` inputs took turns (0: not in turn, None: not told); `steady` tells whether they had settled (None: too few to tell), `steady_reason` what moved. `timed` are the kernel's counters over the timed part.
    `cool_down_s` is how long the board was left alone before, until it was as cool and as fast as at the session's beginning.

    `latencies_are` each inference's, or one value that stands for all: some native programs tell no more than that. `inferences` that the counted part had took `timed_ns`; `late_starts` of them had to wait for the one before (None: nothing was scheduled). `stream_ns` are the latencies of the
    single inferences of queries of several streams.
    """

    candidate: str
    round: int
    position: int
    failure: Failure | None = None
    load_ns: int | None = None
    first_ns: int | None = None
    warmup_ns: tuple[int, ...] = ()
    latencies_ns: tuple[int, ...] = ()
    latencies_are: Literal["each", "median", "mean"] = "each"
    feeds: int | None = None
    steady: bool | None = None
    steady_reason: str | None = None
    peak_rss_bytes: int | None = None
    runtime_rss_bytes: int | None = None
    anon_bytes: int | None = None
    file_bytes: int | None = None
    shared_bytes: int | None = None
    timed: dict[str, Any] = {}
    provider_used: str | None = None
    runtime_version: str | None = None
    conditions_before: dict[str, Any] = {}
    conditions_after: dict[str, Any] = {}
    flags: tuple[str, ...] = ()
    wall_ns: int | None = None
    inferences: int | None = None
    timed_ns: int | None = None
    late_starts: int | None = None
    stream_ns: tuple[int, ...] = ()
    cool_down_s: float | None = None


class OutputCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that the device itself gave, against the original's on the host.

    `placement` is how many nodes of the optimised graph ran on each provider, by kind of kernel, as the runtime's own profile of one inference says; a part that a provider compiled into one counts as one.
    `unchecked` says why there are no answers of the device though the network ran there.
    """

    candidate: str
    fidelity: Fidelity | None
    failure: Failure | None = None
    placement: dict[str, dict[str, int]] | None = None
    placement_reason: str | None = None
    unchecked: str | None = None


class SamplesInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Where the samples came from and how they were divided. `digest` covers the preprocessed tensors."""

    source: str
    count: int
    calibration: int
    heldout: int
    digest: str
    synthetic: bool = False


class MeasurePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often. Every field is a condition of the result. Times in seconds.

    `rounds` is a fixed number, in which only gross losers are dropped. None: the race decides after each round who goes on, between `min_rounds` and `max_rounds`, and
    calls levels within `epsilon` alike. `budget_s` limits the time on the device, whatever is undecided then; None does not.

    `cool_down_max_s`: a block waits at most so long until the board is within 3 degrees and 5 % of the temperature and speed it had at first; 0 for no wait.
    `settings`: `auto` compares ways of running (threads, clusters, spinning) in short blocks first and races the best; `fixed` uses the thread counts that were given, which
    naming any does, too.

    `scenario` is how inferences arrive (docs/scenarios.md), and latency is that scenario's: `streams` at once in `multi-stream`, a batch of so many, or so many threads, in
    `offline`; `rate_hz` arrivals a second in `fixed-rate`. `sustained_minutes`: afterwards the pick and its original run back to back until the board's temperature is flat, or for so long.

    `accept_disturbed`: blocks that others disturbed count, too, for boards that are never quiet. Verdicts stay what they are. All candidates take turns in every
    round, so the comparison stays fair where the levels are not.

    `energy`: measure energy windows when there is a sensor: always, never, or (`auto`) when the goal is energy. Each rests for `energy_idle_s`, works for at least
    `energy_load_s` and `energy_min_inferences`, and rests again; a slow sensor makes them longer.
    """

    seed: int = 0
    rounds: int | None = None
    min_rounds: int = 6
    max_rounds: int = 24
    epsilon: float = 0.02
    budget_s: float | None = None
    block_min_s: float = 1.0
    block_min_inferences: int = 20
    block_max_s: float = 15.0
    block_timeout_s: float = 120.0
    warmup_min_s: float = 0.2
    warmup_min_inferences: int = 3
    drop_ratio: float = 1.3
    output_samples: int = 64
    accept_disturbed: bool = False
    cool_down_max_s: float = 30.0
    energy: bool | Literal["auto"] = "auto"
    energy_rounds: int = 3
    energy_idle_s: float = 5.0
    energy_load_s: float = 10.0
    energy_min_inferences: int = 50
    settings: Literal["auto", "fixed"] = "auto"
    scenario: Scenario = "single-stream"
    streams: int = 4
    rate_hz: float | None = None
    sustained_minutes: float | None = None

    @property
    def most_rounds(self) -> int:
        """How many rounds there can be."""
        return self.max_rounds if self.rounds is None else self.rounds


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was built and measured, under which conditions. `energy_reason` says why there is no energy; empty when there are `energy_windows`.

    `stopped` says why the rounds ended (None: not told). `priors` are what was expected of candidates before the device was asked. `pruned` says of candidates, and of variants by their name, why no device time was
    spent on them. `screen_blocks` are the short blocks in which settings were compared before the rounds (`<variant>@<setting>`), `pruned_settings` says by the setting's short name
    why one did not go on.
    """

    schema: Literal[1] = 1
    id: str
    created_at: str
    edgeopt_version: str
    app: str
    model: ModelInfo
    device: Device
    profile: Profile
    facts: dict[str, Any]
    samples: SamplesInfo | None
    goal: Goal
    plan: MeasurePlan
    variants: tuple[Variant, ...]
    candidates: tuple[Candidate, ...]
    blocks: tuple[Block, ...]
    output_checks: tuple[OutputCheck, ...]
    energy_reason: str
    energy_sensor: PowerSensor | None = None
    energy_windows: tuple[EnergyWindow, ...] = ()
    dropped_early: dict[str, str] = {}
    priors: tuple[Prior, ...] = ()
    pruned: dict[str, str] = {}
    stopped: str | None = None
    screen_blocks: tuple[Block, ...] = ()
    pruned_settings: dict[str, str] = {}
    sustained: tuple[Sustained, ...] = ()
    versions: dict[str, str] = {}
