"""What an objective works with: one group of samples, and both networks on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeopt.compiler.train.compared import Compared

Tensors = dict[str, Any]
Run = Callable[[Mapping[str, Any]], Tensors]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`teacher` and `student` are the tensors of `compared` on `feeds`; the runs give the same on other feeds, the teacher's without gradients.

    `random` draws on the CPU. `anchors` are embeddings by the teacher of samples that are learned from, [samples, channels]. `attention` names the last attention of the teacher and of
    the student, None where one has none.
    """

    feeds: Mapping[str, Any]
    compared: Compared
    teacher: Tensors
    student: Tensors
    run_teacher: Run
    run_student: Run
    random: Any
    anchors: Any = None
    attention: Any = None


Objective = Callable[[Scene], Any]
"""A loss, mean over the group; None where it does not apply to this network."""
