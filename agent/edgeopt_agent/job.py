"""Checks the job of a block and turns it into what the child gets."""

from __future__ import annotations

import os

from edgeopt_agent import scenarios
from edgeopt_agent import setting as settings
from edgeopt_agent.arguments import Arguments
from edgeopt_agent.errors import AgentError
from edgeopt_agent.runtimes import TABLE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from edgeopt_agent.session import Session

MODES = ("time", "outputs", "check", "energy", "sustained")
_HOUR_S = 3600.0
_DAY_S = 24 * _HOUR_S
_MILLION = 1_000_000
_MIN_MEMORY_BYTES = 1 << 20


def check(session: Session, args: Arguments) -> dict[str, Any]:
    """Return the job, with real paths and within bounds.

    Raises:
        AgentError: `bad-request`.
    """
    setting = args.mapping("setting")
    problem = settings.setting_problem(setting)
    if problem is not None:
        raise AgentError("bad-request", problem, field="setting")
    runtime = args.choice("runtime", tuple(TABLE))
    if setting["runtime"] != runtime:
        raise AgentError(
            "bad-request", f"setting: its runtime is {setting['runtime']}, the job's is {runtime}", field="setting"
        )
    root = session.tree.root
    sites = [root] if session.tree.more_runtimes is None else [root, session.tree.more_runtimes]
    job: dict[str, Any] = {
        "mode": args.choice("mode", MODES),
        "runtime": runtime,
        "site": None if args.values.get("site") is None else args.inside("site", *sites),
        "model": args.inside("model", root),
        "setting": settings.of(setting),
        "inputs": args.inside("inputs", root),
        "timeout_s": args.number("timeout_s", 0.1, _DAY_S, default=120),
        "memory_bytes": _memory(args),
    }
    return {**job, **_of_mode(session, args, job["mode"])}


def _memory(args: Arguments) -> int | None:
    if args.values.get("memory_bytes") is None:
        return None
    return max(args.count("memory_bytes"), _MIN_MEMORY_BYTES)


def _cool_down(args: Arguments) -> dict[str, float]:
    return {
        "max_s": args.number("max_s", 0, _HOUR_S, default=0),
        "margin_c": args.number("margin_c", 0, 100, default=3),
        "canary_ratio": args.number("canary_ratio", 1, 10, default=1.05),
    }


def _of_mode(session: Session, args: Arguments, mode: str) -> dict[str, Any]:
    if mode == "time":
        return {
            "min_s": args.number("min_s", 0, _DAY_S),
            "min_inferences": args.number("min_inferences", 1, _MILLION),
            "max_s": args.number("max_s", 0.001, _DAY_S),
            "warmup_min_s": args.number("warmup_min_s", 0, _DAY_S),
            "warmup_min_inferences": args.number("warmup_min_inferences", 1, _MILLION),
            "scenario": scenarios.check(
                Arguments(args.mapping("scenario") if "scenario" in args.values else {"name": scenarios.SINGLE})
            ),
            "cool_down": _cool_down(Arguments(args.mapping("cool_down") if "cool_down" in args.values else {})),
        }
    if mode == "sustained":
        from edgeopt_agent import sustained

        return sustained.check(args)
    if mode == "energy":
        from edgeopt_agent import energy

        return energy.check(session, args)
    if mode == "outputs":
        return {
            "limit_samples": args.number("limit_samples", 1, _MILLION),
            "limit_bytes": args.count("limit_bytes"),
            "out": os.path.join(session.scratch(), f"{os.urandom(8).hex()}.npz"),
        }
    return {
        "expected": args.inside("expected", session.tree.root),
        "rtol": args.number("rtol", 0, 1e9),
        "atol": args.number("atol", 0, 1e9),
    }
