"""How much pruning tries. Counted, never timed, so that every computer finds the same network for the same samples."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Samples that judge every move, samples that layers are fitted to, and how many residual blocks are tried to do without."""

    judged_by: int
    fitted_by: int
    blocks: int


BUDGETS = {
    "instant": Budget(judged_by=32, fitted_by=64, blocks=0),
    "standard": Budget(judged_by=64, fitted_by=256, blocks=1),
    "deep": Budget(judged_by=128, fitted_by=512, blocks=4),
}
