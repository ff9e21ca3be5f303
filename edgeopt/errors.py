"""Every error that may leave edgeopt, and what each says of who must act.

EdgeoptError                      message, hint (what to do next), code (stable word), exit_code
├── UserError              2      the request must change
│   ├── ConfigError               config-invalid: edgeopt.toml, a profile, the inventory, an option
│   ├── ModelError                model-missing, -unreadable, -invalid, -too-large, -unsupported, -unsafe, -unconfined, student-unfit
│   ├── SamplesError              samples-missing, -empty, -mismatch, -unreadable, -synthetic
│   ├── UnknownName               unknown-device, unknown-profile, unknown-run, unknown-recipe
│   └── RunUnreadable             run-unreadable: a saved run of another schema, or a damaged one
├── GoalNotMet             1      measured, and nothing is good enough
├── Inconclusive           3      measured, and not sure enough to say
├── DeviceError            4      the board, its software or the way to it
│   ├── LinkError                 transport: the way to the board
│   │   ├── Unreachable           unreachable: refused, no route, name unknown, silent
│   │   ├── HostKeyUnknown        host-key-unknown: never trusted; `edgeopt device trust`
│   │   ├── HostKeyChanged        host-key-changed: hard stop, both fingerprints
│   │   ├── AuthRefused           auth-refused
│   │   ├── LinkLost              link-lost: was there, went away in the middle (transient)
│   │   ├── LinkTimeout           link-timeout: no progress, or the deadline passed (transient)
│   │   └── LinkUnsupported       link-unsupported: something in ~/.ssh/config that cannot be honoured
│   ├── PythonMissing             python-missing, python-too-old
│   ├── RuntimeMissing            runtime-missing: not on the board; `edgeopt device setup`
│   ├── WheelMissing              wheel-missing: nobody publishes this package for that Python and CPU
│   ├── DiskFull                  disk-full
│   ├── ReadOnly                  read-only: a file system that cannot be written
│   ├── DeviceBusy                device-busy: another host holds the lock
│   ├── AgentLost                 agent-lost: the agent died or was killed
│   ├── AgentError                agent-error: the agent answered with an error that has no class of its own
│   ├── HealthCheckFailed         health-check-failed: the new release does not answer as measured
│   ├── MeterError                meter: the power meter of this computer's network does not answer, or not as a meter does
│   └── NotInstalled              not-installed, no-previous
├── StoreError             4      the results database or the cache on this computer
├── BuildFailed            4      a confined child of this computer could not do its work at all
├── ExecutorError          4      the cluster of --executor: executor-unreachable, executor-mismatch, executor-lost
└── Interrupted          130      Ctrl-C, SIGTERM
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any


class EdgeoptError(Exception):
    """Base of all errors meant for people.

    Args:
        message: what happened, and to which file or device; one sentence or a few.
        hint: what to do next; shown on a line of its own.
        code: a stable word for scripts; defaults to the class's own.
    """

    code = "error"
    exit_code = 4
    transient = False
    told = False
    """The one object that `--json` prints says it already."""

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UserError(EdgeoptError):
    """The request must change."""

    code = "usage"
    exit_code = 2


class ConfigError(UserError):
    """A setting is wrong; the message names the key, what was found and what is allowed."""

    code = "config-invalid"


class ModelError(UserError):
    """The model file cannot be used."""

    code = "model-invalid"


class SamplesError(UserError):
    """The samples cannot be used with this model."""

    code = "samples-unreadable"


class UnknownName(UserError):
    """No device, profile, run or recipe of that name."""

    code = "unknown-name"


class RunUnreadable(UserError):
    """A saved run cannot be read."""

    code = "run-unreadable"


class GoalNotMet(EdgeoptError):
    """Everything was measured, and no candidate is within the limits."""

    code = "goal-not-met"
    exit_code = 1


class Inconclusive(EdgeoptError):
    """The measurement does not carry an answer."""

    code = "inconclusive"
    exit_code = 3


class DeviceError(EdgeoptError):
    """The board, its software or the way to it."""

    code = "device-error"


class LinkError(DeviceError):
    """The way to the board."""

    code = "link-error"


class Unreachable(LinkError):
    """No connection could be made."""

    code = "unreachable"
    transient = True


class HostKeyUnknown(LinkError):
    """The board's host key was never trusted."""

    code = "host-key-unknown"


class HostKeyChanged(LinkError):
    """The board shows another host key than the trusted one."""

    code = "host-key-changed"


class AuthRefused(LinkError):
    """The board refused every key that was offered."""

    code = "auth-refused"


class LinkLost(LinkError):
    """The connection broke in the middle."""

    code = "link-lost"
    transient = True


class LinkTimeout(LinkError):
    """No progress, or a deadline passed."""

    code = "link-timeout"
    transient = True


class LinkUnsupported(LinkError):
    """The address or the SSH configuration asks for something that edgeopt cannot honour."""

    code = "link-unsupported"


class PythonMissing(DeviceError):
    """No Python on the board, or one that is too old."""

    code = "python-missing"


class RuntimeMissing(DeviceError):
    """The inference runtime is not on the board."""

    code = "runtime-missing"


class WheelMissing(DeviceError):
    """Nobody publishes the runtime for the board's Python, libc and CPU."""

    code = "wheel-missing"


class DiskFull(DeviceError):
    """The board's disk is full."""

    code = "disk-full"


class ReadOnly(DeviceError):
    """The board's file system cannot be written."""

    code = "read-only"


class DeviceBusy(DeviceError):
    """Another host is using the board. `holder` is who: owner (host, pid, user, run), purpose, since."""

    code = "device-busy"
    holder: Mapping[str, Any] = MappingProxyType({})


class AgentLost(DeviceError):
    """The agent on the board died."""

    code = "agent-lost"
    transient = True


class AgentError(DeviceError):
    """The agent answered with an error that has no class of its own."""

    code = "agent-error"


class HealthCheckFailed(DeviceError):
    """A release does not answer as it was measured; nothing was switched."""

    code = "health-check-failed"


class MeterError(DeviceError):
    """The meter that this computer was to read does not answer, or not as a meter does."""

    code = "meter"


class NotInstalled(DeviceError):
    """There is nothing to roll back to, or no such app on the board."""

    code = "not-installed"


class StoreError(EdgeoptError):
    """The results database or the cache on this computer."""

    code = "store-error"


class BuildFailed(EdgeoptError):
    """A confined child of this computer could not do its work at all."""

    code = "build-failed"


class ExecutorError(EdgeoptError):
    """The cluster that was to build cannot be reached or used."""

    code = "executor-mismatch"


class Interrupted(EdgeoptError):
    """Stopped by the user."""

    code = "interrupted"
    exit_code = 130
