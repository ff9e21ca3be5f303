"""What people read of energy, below the table."""

from __future__ import annotations

from collections.abc import Iterator

from edgeopt.domain.energy import Energy, Figure
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.report.cells import figure, interval, safe


def energy_lines(run: Run, pick: Pick) -> tuple[str, ...]:
    """Return why there is no energy; or by what it was measured, and each candidate's figures."""
    known = [(s.candidate, s.energy) for s in pick.summaries if s.energy is not None]
    if any(s.energy_mj is not None for s in pick.summaries) and not known:
        return ()
    if run.energy_sensor is None or not known:
        why = run.energy_reason or next((s.reasons.get("energy_mj", "") for s in pick.summaries), "nobody said why")
        return (safe(f"energy: not measured ({why})"),)
    sensor = run.energy_sensor
    head = f"energy: net, beyond rest, for each inference of one stream back to back, by {sensor.name} (class {sensor.grade}): {sensor.total_rule}"
    lines = [head, *(f"  {name}: {'; '.join(_figures(energy))}" for name, energy in known)]
    return tuple(safe(line) for line in (*lines, *([f"  {pick.energy_note}"] if pick.energy_note else [])))


def _figures(energy: Energy) -> Iterator[str]:
    yield f"net {_level(energy.net_mj)} mJ"
    yield f"gross {_level(energy.gross_mj)} mJ"
    yield f"{figure(energy.load_w)} W at work, {figure(energy.idle_w)} W at rest"
    if energy.board_net_mj is not None:
        yield f"whole board (estimated) net {_level(energy.board_net_mj)} mJ"
    if energy.invalid:
        yield f"{energy.invalid} of {energy.windows + energy.invalid} windows invalid ({energy.reasons['invalid']})"


def _level(level: Figure) -> str:
    bounds = interval(level.low, level.high)
    return f"{figure(level.value)} ({bounds})" if bounds else figure(level.value)
