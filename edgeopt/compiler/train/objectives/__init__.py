"""What a student is asked to do beside mimicry, by name: each a switch, each off unless it is asked for. None of them sees a label."""

from __future__ import annotations

from edgeopt.compiler.train.objectives.clm import clm
from edgeopt.compiler.train.objectives.masked import masked
from edgeopt.compiler.train.objectives.minilm import minilm
from edgeopt.compiler.train.objectives.mlm import mlm
from edgeopt.compiler.train.objectives.nce import nce
from edgeopt.compiler.train.objectives.plm import plm
from edgeopt.compiler.train.objectives.scene import Objective
from edgeopt.compiler.train.objectives.seed import seed

OBJECTIVES: dict[str, tuple[float, Objective]] = {
    "masked": (0.3, masked),
    "nce": (0.1, nce),
    "seed": (0.2, seed),
    "minilm": (1.0, minilm),
    "mlm": (1.0, mlm),
    "clm": (1.0, clm),
    "plm": (1.0, plm),
}
"""Name -> (weight beside mimicry's 1, the objective). The name `multitask` is none of them: it lets the weights be learned, see `lessons`."""
