"""What the commands that neither measure nor build print with `--json`: one object, whose form docs/schemas describes."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeopt.domain.bundle import Release
from edgeopt.domain.device import Device, Profile
from edgeopt.domain.installed import Installed
from edgeopt.domain.model import ModelInfo
from edgeopt.flows.devices import SetUps
from edgeopt.flows.finding import Finding
from edgeopt.flows.plan import DryRun
from edgeopt.store.index import RunRow


class _Document(msgspec.Struct, frozen=True, kw_only=True):
    schema: Literal[1] = 1


class InitDocument(_Document, frozen=True, kw_only=True):
    """`init`: the file that was written, and the commands to run next."""

    file: str
    next: tuple[str, ...]


class DeviceDocument(_Document, frozen=True, kw_only=True):
    """`device add`, `device show`."""

    device: Device


class DevicesDocument(_Document, frozen=True, kw_only=True):
    """`device list`."""

    devices: tuple[Device, ...]


class TrustDocument(_Document, frozen=True, kw_only=True):
    """`device trust`: the fingerprint that is trusted from now on."""

    device: str
    fingerprint: str


class SetupDocument(_Document, frozen=True, kw_only=True):
    """`device setup`."""

    device: str
    setup: SetUps


class RemovedDocument(_Document, frozen=True, kw_only=True):
    """`device remove`."""

    removed: str


class DoctorDocument(_Document, frozen=True, kw_only=True):
    """`doctor`. The exit code is 4 when a finding's state is `fail`."""

    device: str
    findings: tuple[Finding, ...]


class StatusDocument(_Document, frozen=True, kw_only=True):
    """`status`."""

    device: str
    status: Installed


class RollbackDocument(_Document, frozen=True, kw_only=True):
    """`rollback`: the release that is current now."""

    device: str
    release: Release


class PlanDocument(_Document, frozen=True, kw_only=True):
    """`deploy --dry-run`."""

    plan: DryRun


class InspectDocument(_Document, frozen=True, kw_only=True):
    """`inspect`."""

    model: ModelInfo


class ProfilesDocument(_Document, frozen=True, kw_only=True):
    """`profiles`: all of them, or the one that was named."""

    profiles: tuple[Profile, ...]


class RunsDocument(_Document, frozen=True, kw_only=True):
    """`runs list`, newest first."""

    runs: tuple[RunRow, ...]
