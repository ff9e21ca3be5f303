"""Where training computes."""

from __future__ import annotations

import os
from typing import Any

import torch

from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import THREADS

VARIABLE = "EDGEOPT_TORCH_DEVICE"
"""`cpu`, `cuda` or `cuda:1` where a user does not want the first GPU that there is."""


def pick_device() -> Any:
    """The GPU when there is one, else the CPU, set up so that the same seed gives the same bytes.

    Raises:
        Refused: what the environment asks for is not there.
    """
    wanted = os.environ.get(VARIABLE, "")
    try:
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise Refused("device-unusable", f"{VARIABLE} is {wanted!r}, and torch cannot use that here") from error
    torch.set_num_threads(threads())
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = False
    return device


HALF_FROM_MACS: int | None = None
"""Multiplications of a sample from which matrix products in bfloat16 make a GPU's steps shorter; None: never found so far (benchmarks/recovery/gpu.py looks)."""


def half_helps(device: Any, macs: int | None) -> bool:
    """Whether networks of this size are trained in bfloat16 where torch's autocast sees no harm. Never on a CPU."""
    large = HALF_FROM_MACS is not None and macs is not None and macs >= HALF_FROM_MACS
    return device.type == "cuda" and large and torch.cuda.is_bf16_supported()


def threads() -> int:
    """Fixed for all confined children, since the order of float additions depends on it."""
    count = os.environ.get("OMP_NUM_THREADS", "")
    return int(count) if count.isdigit() and int(count) else THREADS


def describe(device: Any) -> str:
    """In words for people."""
    return str(torch.cuda.get_device_name(device)) if device.type == "cuda" else "the CPU"
