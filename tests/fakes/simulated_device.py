"""A device of which the truth is known: a virtual clock and a model of latency, under the agent's real measuring loop.

A block runs `edgeopt_agent.timing.measure` with a clock and a model that are simulated; its answer has the form that the agent gives it, flags included, and goes
through the host's real code. Only what no clock can see (temperatures, other programs) is not there, so nothing but the series itself can be flagged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from edgeopt.domain.device import Device
from edgeopt_agent.block import _doubts_of
from edgeopt_agent.child import _plan
from edgeopt_agent.timing import measure

Disturbance = Literal["throttled", "ramp", "warm-up of 1 s", "warm-up of 8 s", "two levels", "burst"]
_CHUNK = 256
_KERNEL = 24
"""Neighbours that noise remembers; at a memory of 0.5 nothing is left after them."""


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How unsteady the board is. Shares of 1, standard deviations of logarithms, seconds.

    `noise` of an inference, which its neighbour shares by `memory`; `stalls`: the share of inferences that take up to three times as long. `process`: what a
    process is slower or faster by, for its whole life. `drift` of the board within `drift_s`. `hits`: the share of blocks that something slows by up to `hit`.
    """

    noise: float = 0.01
    memory: float = 0.5
    stalls: float = 0.01
    process: float = 0.005
    drift: float = 0.01
    drift_s: float = 60.0
    hits: float = 0.05
    hit: float = 0.10


ORDINARY = Weather()


class SimulatedDevice:
    """Stands where a session stands: answers `block`."""

    device = Device(name="simulated", profile="local", address="local")

    def __init__(
        self,
        levels_ms: Mapping[str, float],
        *,
        seed: int,
        weather: Weather = ORDINARY,
        peaks: Mapping[str, int] | None = None,
        disturbance: Disturbance | None = None,
    ) -> None:
        """Make a device.

        Args:
            levels_ms: model -> its true latency.
            seed: of all that is random.
            weather: how unsteady it is.
            peaks: model -> peak memory of its process in bytes.
            disturbance: what happens in every block.
        """
        self._levels = levels_ms
        self._random = np.random.default_rng(seed)
        self._weather = weather
        self._peaks = peaks or {}
        self._disturbance = disturbance
        self._drift = self._random.normal(0, weather.drift)
        self._drifted_ns = 0
        self.now_ns = 0
        self.true_ms = 0.0
        """What the last block would have measured without noise and disturbance."""

    def clock_s(self) -> float:
        """Return virtual seconds."""
        return self.now_ns / 1e9

    def call(self, verb: str, job: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Run a block in virtual time; the answer is that of the wire."""
        assert verb == "block"
        assert timeout_s > 0
        start_ns, load_ns = self.now_ns, 300_000_000
        self.now_ns += load_ns
        self.true_ms = self._levels[job["model"]] * self._of_process()
        durations = self._durations(self.true_ms * 1e6)

        def run(_: object) -> None:
            self.now_ns += next(durations)

        timing = measure(run, [None], lambda: self.now_ns, _plan(job, is_uniform=True), lambda _: None)
        result = {
            "load_ns": load_ns,
            "first_ns": timing.first_ns,
            "warmup_ns": list(timing.warmup_ns),
            "latencies_ns": list(timing.latencies_ns),
            "feeds": 1,
            "steady": timing.judgement.is_steady,
            "steady_reason": timing.judgement.reason,
            "peak_rss_bytes": self._peaks.get(job["model"]),
        }
        flags = _doubts_of(result, job)
        return {"status": "ok", **result, "flags": flags, "wall_ns": self.now_ns - start_ns}

    def _of_process(self) -> float:
        """What makes this block slower or faster as a whole: the board's drift, the process's luck, something that hits it."""
        weather, random = self._weather, self._random
        share = float(np.exp((self._drifted_ns - self.now_ns) / 1e9 / weather.drift_s))
        self._drift = self._drift * share + random.normal(0, weather.drift * np.sqrt(1 - share * share))
        self._drifted_ns = self.now_ns
        hit = random.uniform(0, weather.hit) if random.random() < weather.hits else 0.0
        return float(np.exp(self._drift + random.normal(0, weather.process) + hit))

    def _durations(self, level_ns: float) -> Iterator[int]:
        """Yield how long each inference of a process takes, without end."""
        weather, random = self._weather, self._random
        kernel = weather.memory ** np.arange(_KERNEL)
        kernel /= np.sqrt(np.sum(kernel**2))
        switch = random.uniform(0.1, 0.7)
        elapsed = 0.0
        while True:
            noise = weather.noise * np.convolve(random.normal(0, 1, _CHUNK + _KERNEL - 1), kernel, "valid")
            stalled = random.random(_CHUNK) < weather.stalls
            values = level_ns * np.exp(noise) * np.where(stalled, random.uniform(1, 3, _CHUNK), 1.0)
            seconds = (elapsed + np.cumsum(values)) / 1e9
            elapsed += float(np.sum(values))
            values = values * self._shape(seconds, switch)
            yield from values.astype(np.int64).tolist()

    def _shape(self, seconds: Any, switch: float) -> Any:
        """How much slower inferences are, by the seconds since the process began to compute; every block is a second or longer."""
        if self._disturbance == "throttled":
            return 1.0 + 0.25 * (seconds > 0.3 + switch)
        if self._disturbance == "ramp":
            return 1.0 + 0.25 * seconds
        if self._disturbance in ("warm-up of 1 s", "warm-up of 8 s"):
            return 1.0 + 0.5 * np.exp(-seconds / (1.0 if self._disturbance == "warm-up of 1 s" else 8.0))
        if self._disturbance == "two levels":
            return np.where(self._random.random(len(seconds)) < 0.35, 1.2, 1.0)
        if self._disturbance == "burst":
            return 1.0 + 0.3 * ((seconds > 0.3 + switch / 2) & (seconds < 0.7 + switch / 2))
        # What every process has: a slow first moment.
        return 1.0 + 0.5 * np.exp(-seconds / 0.03)
