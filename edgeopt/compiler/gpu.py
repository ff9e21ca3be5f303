"""What a child may use where training finds a GPU. Host side: nothing here loads a driver."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edgeopt.compiler.confine import Limits
from edgeopt.compiler.recovery import TRAINING

VARIABLE = "EDGEOPT_TORCH_DEVICE"
"""`cpu` trains on the CPU whatever there is; see `train.device`."""

CONTROL = Path("/dev/nvidiactl")
"""There when the driver is loaded."""

ROOM_BYTES = 32 << 30
"""What CUDA's driver, context and kernels map into a process beside what is computed: memory that is counted, and mostly never touched."""


def limits_for(limits: Limits, steps: Sequence[str]) -> Limits:
    """The limits of a child that does these steps: more memory where it trains and there is a GPU, else as they are."""
    return limits if TRAINING.isdisjoint(steps) else with_gpu(limits)


def with_gpu(limits: Limits) -> Limits:
    """The limits of a child that uses the GPU where there is one."""
    if os.environ.get(VARIABLE) == "cpu" or not CONTROL.exists():
        return limits
    return msgspec.structs.replace(limits, memory_bytes=limits.memory_bytes + ROOM_BYTES)
