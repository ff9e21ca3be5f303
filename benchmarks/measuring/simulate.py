"""What the rules of measurement are worth, on simulated devices of which the truth is known: the table of docs/measuring.md.

    python benchmarks/measuring/simulate.py [--trials 1000] [--first-seed 0] [--weather ordinary,quiet,rough] [coverage|gate|races|flags ...]

Devices have a virtual clock; the agent's real loop, the host's real rounds, race, summaries and pick run on it (`tests/fakes/simulated_device.py` says what a device is like).
"""

from __future__ import annotations

import argparse
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from trials import Trial, race

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.blocks import block_ms, clean_blocks, is_flagged
from edgeopt.select.compare import compare
from tests.fakes.simulated_device import Disturbance, SimulatedDevice, Weather

SETS = {
    "spread": (1.0, 1.1, 1.25, 1.5, 1.8, 2.2, 2.8, 3.5),
    "close": (1.0, 1.02, 1.03, 1.05, 1.08, 1.1, 1.15, 1.2),
    "tie": (1.0,) * 8,
}
"""Levels of eight candidates; which of them is the original's is drawn."""
WEATHER = {
    "ordinary": Weather(),
    "quiet": Weather(noise=0.005, process=0.002, drift=0.005, hits=0.0, stalls=0.002),
    "rough": Weather(noise=0.03, process=0.015, drift=0.03, hits=0.15, hit=0.2, stalls=0.03),
}
KINDS: tuple[Disturbance, ...] = ("throttled", "ramp", "warm-up of 1 s", "warm-up of 8 s", "two levels", "burst")


def one_race(kind: str, seed: int, plan: MeasurePlan, weather: Weather) -> tuple[Trial, dict[str, float]]:
    """A race of eight candidates with random peak memory, so that ties are decided by something else than latency."""
    rng = random.Random(f"{kind} {seed}")  # noqa: S311 - a simulation
    names = ["original", *(f"v{number}" for number in range(1, 8))]
    levels = {name: 10.0 * level for name, level in zip(names, rng.sample(SETS[kind], 8), strict=True)}
    peaks = {name: int(80e6 * rng.uniform(0.5, 1.5)) for name in names}
    device = SimulatedDevice(levels, seed=seed, weather=weather, peaks=peaks)
    return race(device, levels, plan), levels


def races(seeds: range, weathers: Mapping[str, Weather]) -> Iterator[str]:
    yield "| race | picks within 2 % of the best | no pick | device time against 12 fixed rounds | the same of 12 fixed rounds |"
    yield "|---|---|---|---|---|"
    fixed = MeasurePlan(rounds=12, drop_ratio=math.inf)
    for name, weather in weathers.items():
        for kind in SETS:
            good, empty, spent = score(kind, MeasurePlan(), weather, seeds)
            few_seeds = seeds[: max(len(seeds) // 10, 1)]
            trials, few = len(seeds), len(few_seeds)
            fixed_good, _, fixed_spent = score(kind, fixed, weather, few_seeds)
            share = spent / trials / (fixed_spent / few)
            yield f"| {kind}, {name} | {good / trials:.1%} | {empty / trials:.1%} | {share:.2f} | {fixed_good / few:.1%} of {few} |"


def score(kind: str, plan: MeasurePlan, weather: Weather, seeds: range) -> tuple[int, int, float]:
    """How many trials picked one within 2 % of the best, how many picked nothing, and the seconds in blocks."""
    good = empty = 0
    spent = 0.0
    for seed in seeds:
        trial, levels = one_race(kind, seed, plan, weather)
        picked = trial.pick.variant
        good += picked is not None and levels[picked] <= 1.02 * min(levels.values()) * (1 + 1e-9)
        empty += picked is None
        spent += trial.block_s
    return good, empty, spent


def coverage(seeds: range, weathers: Mapping[str, Weather]) -> Iterator[str]:
    yield "| interval of the ratio, nominal 95 % | holds the truth |"
    yield "|---|---|"
    levels = {"original": 13.0, "int8": 10.0}
    for name, weather in weathers.items():
        for rounds in (6, 8, 12, 24, None):
            plan = MeasurePlan(rounds=rounds)
            found = [holds(race(SimulatedDevice(levels, seed=seed, weather=weather), levels, plan)) for seed in seeds]
            told = [held for held in found if held is not None]
            words = "as the race ends" if rounds is None else f"{rounds} rounds"
            yield f"| {name}, {words} | {sum(told) / len(told):.1%} of {len(told)} |"


def holds(trial: Trial) -> bool | None:
    """Whether the interval has the truth; None when flagged blocks left too few rounds for an interval."""
    summary = next(s for s in trial.pick.summaries if s.variant == "int8")
    if summary.ratio_low is None or summary.ratio_high is None:
        return None
    return summary.ratio_low <= 10 / 13 <= summary.ratio_high


def gate(seeds: range, weathers: Mapping[str, Weather]) -> Iterator[str]:
    yield "| two identical builds, 10 rounds | called a regression | with a margin of 2 % | found a change, either way |"
    yield "|---|---|---|---|"
    levels = {"original": 10.0, "again": 10.0}
    for name, weather in weathers.items():
        bare = margin = changed = 0
        for seed in seeds:
            run = race(SimulatedDevice(levels, seed=seed, weather=weather), levels, MeasurePlan(rounds=10)).run
            a, b = (
                {block.round: block_ms(block) for block in clean_blocks(run, f"{variant}@all")} for variant in levels
            )
            found = compare(a, b, 0.0)
            bare += found.verdict == "regress"
            margin += compare(a, b).verdict == "regress"
            changed += found.low is not None and found.high is not None and not found.low <= 1 <= found.high
        yield f"| {name} | {bare / len(seeds):.1%} | {margin / len(seeds):.1%} | {changed / len(seeds):.1%} |"


def flags(seeds: range, weathers: Mapping[str, Weather]) -> Iterator[str]:
    yield "| series of one block | flagged | not flagged, and more than 5 % off |"
    yield "|---|---|---|"
    for name, weather in weathers.items():
        for kind in (None, *KINDS):
            share, harmful = flagged(weather, kind, seeds)
            yield f"| {kind or 'clean'}, {name} | {share:.1%} | {harmful:.1%} |"


def flagged(weather: Weather, kind: Disturbance | None, seeds: range) -> tuple[float, float]:
    """Share of blocks that are kept out of the ranking, and of those that are not though they are far off; one block per device."""
    levels = {"original": 10.0}
    out = harmful = 0
    for seed in seeds:
        device = SimulatedDevice(levels, seed=seed, weather=weather, disturbance=kind)
        (block,) = race(device, levels, MeasurePlan(rounds=1)).run.blocks
        out += is_flagged(block)
        harmful += not is_flagged(block) and abs(block_ms(block) / device.true_ms - 1) > 0.05
    return out / len(seeds), harmful / len(seeds)


PARTS: dict[str, Callable[[range, Mapping[str, Weather]], Iterator[str]]] = {
    "coverage": coverage,
    "gate": gate,
    "races": races,
    "flags": flags,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--first-seed", type=int, default=0, help="devices are drawn from this seed on")
    parser.add_argument("--weather", default=",".join(WEATHER))
    parser.add_argument("parts", nargs="*", default=list(PARTS), help=f"of {', '.join(PARTS)}")
    arguments = parser.parse_args()
    weathers = {name: WEATHER[name] for name in arguments.weather.split(",")}
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.trials)
    begin = time.monotonic()
    for name in arguments.parts:
        for line in PARTS[name](seeds, weathers):
            print(line, flush=True)
        print()
    print(f"{arguments.trials} trials each, seeds from {arguments.first_seed}, {time.monotonic() - begin:.0f} s")


if __name__ == "__main__":
    main()
