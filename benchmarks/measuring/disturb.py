"""Disturb measurements for real, and look whether they are called what they are. Needs root for the quota and the clock (left out without).

    python benchmarks/measuring/disturb.py [--blocks 10] [--only quiet,neighbour,...] [--model FILE]

Each disturbance spoils whole blocks of one second: a busy neighbour on every second core, a CPU quota of 60 % of a core on the agent's processes, the block's process stopped for 0.3 s in the middle, the
wall clock set ahead by half a second again and again. Told: how many of the blocks were flagged, and as what. `quiet` is the control: how many clean blocks are flagged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from board import EXAMPLE, board, example_input, timed_block

from edgeopt.domain.run import MeasurePlan
from edgeopt.select.blocks import EXCLUDING

JUMP_S = 0.5

Disturbance = Callable[[int], contextlib.AbstractContextManager[None]]
"""Of the process number of an agent."""


@contextmanager
def quiet(_: int) -> Iterator[None]:
    yield


@contextmanager
def neighbour(_: int) -> Iterator[None]:
    """Another process that computes, one for every two cores."""
    count = max(1, (os.cpu_count() or 1) // 2)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


@contextmanager
def quota(agent: int) -> Iterator[None]:
    """The agent and its children may use 60 ms of every 100 ms."""
    group = Path("/sys/fs/cgroup/cpu/edgeopt-disturb")
    unified = Path("/sys/fs/cgroup/edgeopt-disturb")
    if Path("/sys/fs/cgroup/cpu").is_dir():
        group.mkdir(exist_ok=True)
        (group / "cpu.cfs_period_us").write_text("100000")
        (group / "cpu.cfs_quota_us").write_text("60000")
    else:
        group = unified
        group.mkdir(exist_ok=True)
        (group / "cpu.max").write_text("60000 100000")
    home = group.parent
    (group / "cgroup.procs").write_text(str(agent))
    try:
        yield
    finally:
        (home / "cgroup.procs").write_text(str(agent))
        with contextlib.suppress(OSError):
            group.rmdir()


@contextmanager
def stopped(agent: int) -> Iterator[None]:
    """The process of the block is stopped for 0.3 s, again and again."""
    ended = threading.Event()

    def act() -> None:
        while not ended.wait(0.9):
            for child in _children(agent):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGSTOP)
                    time.sleep(0.3)
                    os.kill(child, signal.SIGCONT)

    yield from _while(act, ended)


@contextmanager
def clock(_: int) -> Iterator[None]:
    """The wall clock jumps half a second ahead, again and again, and back behind the block."""
    time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
    ended = threading.Event()
    jumps = 0

    def act() -> None:
        nonlocal jumps
        while not ended.wait(0.4):
            time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) + JUMP_S)
            jumps += 1

    try:
        yield from _while(act, ended)
    finally:
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME) - jumps * JUMP_S)


def _while(act: Callable[[], None], ended: threading.Event) -> Iterator[None]:
    thread = threading.Thread(target=act)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _children(pid: int) -> list[int]:
    """The block's process; not the keeper that waits for the agent's end."""
    with contextlib.suppress(OSError):
        return [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()
        ]
    return []


DISTURBANCES: dict[str, Disturbance] = {
    "quiet": quiet,
    "neighbour": neighbour,
    "quota": quota,
    "stopped": stopped,
    "clock": clock,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=int, default=10)
    parser.add_argument("--only")
    parser.add_argument("--model", type=Path, default=EXAMPLE)
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(DISTURBANCES)
    _, values = example_input(options.model)
    flagged: Counter[str] = Counter()
    seen: dict[str, Counter[str]] = {name: Counter() for name in names}
    left_out: dict[str, str] = {}
    with board(options.model, MeasurePlan(block_min_s=1.0), values) as bench:
        shuffler = np.random.default_rng(0)
        for number in range(options.blocks):
            for name in shuffler.permutation(names):
                try:
                    with DISTURBANCES[name](int(bench.session.hello["pid"])):
                        block = timed_block(bench, 1, number)
                except (PermissionError, FileNotFoundError) as error:
                    left_out[name] = str(error)
                    continue
                flagged[name] += not EXCLUDING.isdisjoint(block.flags)
                seen[name].update(block.flags)
    for name in names:
        if name in left_out:
            print(f"{name}: left out: {left_out[name]}")
            continue
        words = ", ".join(f"{count} {flag}" for flag, count in seen[name].most_common())
        print(f"{name}: {flagged[name]} of {options.blocks} blocks excluded ({words or 'no flag'})")
    print(
        json.dumps(
            {
                "disturb": {
                    name: {"excluded": flagged[name], "blocks": options.blocks, "flags": seen[name]} for name in names
                }
            }
        )
    )


if __name__ == "__main__":
    main()
