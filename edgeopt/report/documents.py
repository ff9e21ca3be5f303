"""What `--json` prints and `variants.json` holds. A field may be added; `schema` rises when one changes its meaning or goes."""

from __future__ import annotations

from typing import Literal

import msgspec

from edgeopt.domain.bundle import Release
from edgeopt.domain.coverage import Coverage
from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Loser, Summary
from edgeopt.domain.prior import PriorCheck
from edgeopt.domain.run import Scenario
from edgeopt.domain.sustained import Sustained
from edgeopt.domain.variant import Fidelity, Recipe


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Which model: `digest` covers all of its files."""

    name: str
    digest: str
    bytes: int


class BuiltEntry(msgspec.Struct, frozen=True, kw_only=True, tag="built", tag_field="status"):
    """A variant that exists. `file` is the graph, relative to the folder of variants.json, None where there is no such folder.

    `sha256` is of the graph file alone, `digest` names the set of all its files; `bytes` counts all of them. `notes` say how it was made, `provenance` by which
    tools, `build_s` in how many seconds (`cached`: at an earlier time).
    """

    name: str
    recipe: Recipe
    file: str | None
    format: str
    runtime: str
    encoding: str
    bytes: int
    sha256: str
    digest: str
    fidelity: Fidelity | None
    fidelity_reason: str | None
    notes: tuple[str, ...] = ()
    provenance: dict[str, str] = {}
    build_s: float | None = None
    cached: bool = False


class SkippedEntry(msgspec.Struct, frozen=True, kw_only=True, tag="skipped", tag_field="status"):
    """A variant that does not exist, and why."""

    name: str
    recipe: Recipe
    reason: str


VariantEntry = BuiltEntry | SkippedEntry


class VariantsDocument(msgspec.Struct, frozen=True, kw_only=True):
    """Content of variants.json, beside a folder for each built variant."""

    schema: Literal[1] = 1
    kind: Literal["variants"] = "variants"
    edgeopt_version: str
    model: ModelEntry
    variants: tuple[VariantEntry, ...]


class ExplainDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What of a file runs in int8. `variant`, `encoding` and `notes` (how it was made) are those of variants.json, where the file was named by it."""

    schema: Literal[1] = 1
    kind: Literal["explain"] = "explain"
    file: str
    variant: str | None = None
    encoding: str | None = None
    notes: tuple[str, ...] = ()
    coverage: Coverage


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What figures depend on. Results of different conditions are not to be compared. None: the device does not say.

    `virtual` is what shows that the board is a virtual or emulated machine, whose times say nothing about a board (None: nothing shows it).
    `threads` are the settings that were measured, 0 means all cores. `rounds` were run, `stopped` says why no more. `block_min_s` in seconds.
    """

    board: str | None
    cpu: str | None
    cores: int | None
    machine: str | None
    kernel: str | None
    governor: str | None
    python: str | None
    runtime: str
    runtime_version: str | None
    threads: tuple[int, ...]
    rounds: int
    stopped: str | None = None
    block_min_s: float
    seed: int
    samples: int | None
    synthetic_samples: bool
    accept_disturbed: bool
    virtual: str | None = None
    scenario: Scenario = "single-stream"
    streams: int | None = None
    rate_hz: float | None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What was picked (`candidate` is None: nothing), and why."""

    candidate: str | None
    variant: str | None
    reason: str


class BenchDocument(msgspec.Struct, frozen=True, kw_only=True):
    """A measured run and the pick from it. `status` is the verdict: exit codes 0, 1 and 3 in this order.

    `prior` is what was expected of each candidate, and how it turned out; `pruned` says what was not measured at all, and why; `pruned_settings` the same of settings.
    """

    schema: Literal[1] = 1
    kind: Literal["bench"] = "bench"
    edgeopt_version: str
    run: str
    created_at: str
    app: str
    device: str
    profile: str
    model: ModelEntry
    goal: Goal
    status: Literal["picked", "goal-not-met", "inconclusive"]
    pick: Choice
    frontier: tuple[str, ...]
    losers: tuple[Loser, ...]
    candidates: tuple[Summary, ...]
    more_time: str | None = None
    variants: tuple[VariantEntry, ...]
    energy_reason: str
    energy_note: str | None = None
    conditions: Conditions
    prior: tuple[PriorCheck, ...] = ()
    pruned: dict[str, str] = {}
    pruned_settings: dict[str, str] = {}
    sustained: tuple[Sustained, ...] = ()


class DeployDocument(BenchDocument, frozen=True, kw_only=True):
    """The same, and the release that was installed; None when nothing was."""

    kind: Literal["deploy"] = "deploy"  # type: ignore[assignment]
    release: Release | None


class ErrorEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong: `code` is a stable word for scripts, `hint` says what to do next."""

    code: str
    message: str
    hint: str | None
    exit_code: int


class ErrorDocument(msgspec.Struct, frozen=True, kw_only=True):
    """What stands on stdout after a failure under `--json`."""

    schema: Literal[1] = 1
    error: ErrorEntry
