"""Power sensors, the raw record of energy windows, and what they say of a candidate."""

from __future__ import annotations

from typing import Literal

import msgspec

SensorClass = Literal["A", "B", "C", "D", "E", "M"]
"""A: external meter in the supply line; B: the board's own shunt in its whole input; C: some rails; D: a battery's gauge; E: a plug in the mains; M: a model, which never ranks."""

GAUGE_LOAD_S = 60.0
Span = tuple[int, int]
"""From and to, in ns on the device's monotonic clock."""


class BoardEstimate(msgspec.Struct, frozen=True, kw_only=True):
    """From the total of a sensor to the whole board, by somebody's regression: `scale` * watts + `offset_w`. `gain` is its relative standard uncertainty."""

    scale: float
    offset_w: float
    gain: float
    source: str


class PowerSensor(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor as the agent describes it, or a meter that the host reads.

    `kind`: a `sample` is watts, a `counter` joules that accumulate. `total` are the rails whose sum is the total, `total_rule` says what that covers.
    `gain` (relative) and `offset_w` (watts) are standard uncertainties of the total. `wrap_j`: at how many joules a rail's counter begins again.
    """

    name: str
    grade: SensorClass = msgspec.field(name="class")
    kind: Literal["sample", "counter"]
    rails: tuple[str, ...]
    total: tuple[str, ...]
    total_rule: str
    period_s: float
    gain: float
    offset_w: float
    source: str
    wrap_j: dict[str, float] = {}
    estimate: BoardEstimate | None = None

    def least_times(self, idle_s: float, load_s: float) -> tuple[float, float]:
        """Return for how many seconds a window must rest, on either side, and work: `idle_s` and `load_s`, or longer for a sensor that needs it.

        A rest of 10 and a load of 100 periods leave sampling itself an error below 1 %; a gauge renews its value when it likes and gets a minute.
        """
        gauge_s = GAUGE_LOAD_S if self.grade == "D" else 0.0
        return max(idle_s, 10 * self.period_s), max(load_s, 100 * self.period_s, gauge_s)


class EnergyWindow(msgspec.Struct, frozen=True, kw_only=True):
    """One window as it was measured: idle, load, idle. `samples` are (time in ns, value by rail of the sensor, None where it could not be read).

    `period_s` is how far apart samples were meant to be. `clock_error_ns`: by how much the times of a meter that the host reads may be off, 0 for the device's own.
    `failure` says why there is no window; then the rest is empty.
    """

    candidate: str
    round: int
    position: int
    failure: str | None = None
    inferences: int = 0
    idle_before_ns: Span = (0, 0)
    load_ns: Span = (0, 0)
    idle_after_ns: Span = (0, 0)
    period_s: float = 0.0
    samples: tuple[tuple[int, tuple[float | None, ...]], ...] = ()
    clock_error_ns: int = 0
    flags: tuple[str, ...] = ()


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A level with its 95 % interval; the interval is None when one window alone cannot tell its scatter."""

    value: float
    low: float | None
    high: float | None


class Energy(msgspec.Struct, frozen=True, kw_only=True):
    """What the windows say of a candidate.

    `net_mj` is what an inference costs beyond what the board draws at rest anyway, in mJ; `gross_mj` with that, at full duty: what a battery gives while inferences run
    back to back. At f inferences per second a board that stays on draws `idle_w` + f * `net_mj` / 1000 watts. `ratio` compares `net_mj` with the original's inside
    rounds. `board_net_mj` is somebody's regression from the sensor's rails to the whole board, where there is one; it ranks nothing.
    """

    sensor: str
    grade: SensorClass = msgspec.field(name="class")
    covers: str
    windows: int
    invalid: int
    net_mj: Figure
    gross_mj: Figure
    idle_w: float
    load_w: float
    ratio: Figure | None = None
    board_net_mj: Figure | None = None
    reasons: dict[str, str] = {}
