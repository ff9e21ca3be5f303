"""What people see of a run, variants, boards and plans. Every text is `rich.text.Text` of `safe` text: there is no markup to inject."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from edgeopt.domain.device import Device
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.domain.variant import Built, Variant
from edgeopt.report.cells import UNKNOWN, figure, megabytes, percent, safe
from edgeopt.report.conditions import conditions_line
from edgeopt.report.energy import energy_lines
from edgeopt.report.fidelity import fidelity_lines
from edgeopt.report.measurement import measurement_lines
from edgeopt.report.placement_lines import placement_lines
from edgeopt.report.sustained import sustained_lines
from edgeopt.report.unchecked import unchecked_lines

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

_STATES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


def candidate_table(run: Run, pick: Pick) -> Group:
    """Return the whole story of a pick: what was chosen and why, every candidate's figures, a sentence for each loser, the conditions."""
    from rich.console import Group
    from rich.text import Text

    from edgeopt.report.candidates import CandidateTable

    title = Text(safe(f"{run.app} on {run.device.name} ({run.profile.title}), run {run.id}"), style="bold")
    chosen = Text(_headline(pick), style="bold green" if pick.candidate else "bold yellow")
    parts: list[Any] = [title, chosen, Text("")]
    if pick.summaries:
        parts += [CandidateTable(pick), Text("")]
    parts += [Text(line, overflow="fold") for line in energy_lines(run, pick)]
    told = fidelity_lines(run.variants)
    if told:
        parts += [Text(line, overflow="fold") for line in told]
    parts += [Text(safe(f"placement: {line}"), overflow="fold") for line in placement_lines(run)]
    parts += [Text(safe(f"not checked: {line}"), overflow="fold") for line in unchecked_lines(run)]
    parts += [Text(line, overflow="fold") for line in measurement_lines(run, pick)]
    surprises = [check.sentence for check in pick.prior if check.sentence is not None]
    parts += [Text(safe(f"expectation: {sentence}"), overflow="fold") for sentence in surprises]
    parts += [Text(safe(line), overflow="fold") for line in sustained_lines(run.sustained, pick.goal)]
    if run.pruned_settings:
        parts += [Text(""), Text("settings that did not go on:")]
        parts += [Text(safe(f"  @{name}: {why}"), overflow="fold") for name, why in run.pruned_settings.items()]
    if pick.losers:
        parts += [Text(""), Text("not picked:")]
        parts += [Text(safe(f"  {loser.name}: {loser.reason}"), overflow="fold") for loser in pick.losers]
    parts += [Text(""), Text(conditions_line(run), style="dim", overflow="fold")]
    return Group(*parts)


def variants_table(variants: Sequence[Variant]) -> Group:
    """Return what was built, and for what was not, why."""
    from rich.console import Group
    from rich.text import Text

    table = _new(("variant", "encoding", "size MB", "vs orig.", "agrees %", "SQNR dB", "build"), right=range(2, 7))
    original = next((v.bytes for v in variants if isinstance(v, Built) and v.name == "original"), None)
    skipped = []
    for variant in variants:
        if isinstance(variant, Built):
            _add(table, variant.name, variant.encoding, *_built(variant, original))
        else:
            skipped.append(Text(safe(f"{variant.name}: skipped, {variant.reason}"), overflow="fold"))
    told = [Text(line, overflow="fold") for line in fidelity_lines(variants)]
    below = [part for parts in (told, skipped) if parts for part in (Text(""), *parts)]
    return Group(table, *below)


def runs_table(rows: Iterable[Any]) -> Table:
    """Return saved runs; `rows` have id, created_at, app, device, status and what was picked."""
    table = _new(("run", "created", "app", "device", "status", "picked"), right=())
    for row in rows:
        picked = getattr(row, "candidate", None) or getattr(row, "pick", None)
        _add(table, row.id, row.created_at, row.app, row.device, row.status or UNKNOWN, picked or UNKNOWN)
    return table


def devices_table(devices: Sequence[Device]) -> Table:
    """Return the boards of the inventory."""
    table = _new(("device", "profile", "address", "python", "threads"), right=())
    for device in devices:
        threads = (
            "as profile"
            if device.threads is None
            else ", ".join("all" if count == 0 else str(count) for count in device.threads)
        )
        _add(table, device.name, device.profile, device.address, device.python or "python3", threads)
    return table


def doctor_table(rows: Iterable[tuple[str, str, str, str | None]]) -> Table:
    """Return findings of (subject, state, found, advice); advice stands below what was found."""
    from rich.text import Text

    table = _new(("", "subject", "found"), right=())
    for subject, state, found, advice in rows:
        text = Text(safe(found), overflow="fold")
        if advice:
            text.append("\n" + safe(advice), style="italic")
        table.add_row(Text(safe(state), style=_STATES.get(state, "dim")), Text(safe(subject)), text)
    return table


def plan_table(rows: Iterable[tuple[str, str, str, float | None, str | None]]) -> Table:
    """Return planned variants of (name, title, encoding, expected ms, reason); a reason says why it would be left out."""
    table = _new(("variant", "what it is", "encoding", "expected ms", "will be built"), right=(3,))
    for name, title, encoding, expected_ms, reason in rows:
        _add(table, name, title, encoding, figure(expected_ms), f"no: {reason}" if reason else "yes")
    return table


def _headline(pick: Pick) -> str:
    if pick.candidate is not None:
        return safe(f"picked {pick.candidate}: {pick.reason}")
    word = "goal not met" if pick.status == "goal-not-met" else "inconclusive"
    return safe(f"nothing picked ({word}): {pick.reason}")


def _built(variant: Built, original: int | None) -> tuple[str, ...]:
    fidelity = variant.fidelity
    share = f"{variant.bytes / original:.1%}" if original else UNKNOWN
    noise = "exact" if fidelity is not None and fidelity.identical else figure(fidelity.sqnr_db if fidelity else None)
    built = "cached" if variant.cached else f"{variant.build_s:.1f} s"
    return megabytes(variant.bytes), share, percent(fidelity.agreement if fidelity else None), noise, built


def _new(heads: Sequence[str], *, right: Iterable[int]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 2, 0, 0))
    numbers = set(right)
    for place, head in enumerate(heads):
        table.add_column(Text(head), justify="right" if place in numbers else "left", overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    from rich.text import Text

    table.add_row(*(Text(safe(cell)) for cell in cells))
