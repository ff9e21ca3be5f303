"""What a run looks like to who watches: the table always, TensorBoard and W&B where they are installed. Both are played here."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")

from edgeopt.compiler.train.curves import Curves
from edgeopt.compiler.train.judge import Score


class Recorder:
    """Stands for a writer of either kind."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.opened, self.told, self.closed = (args, options), [], False

    def add_scalar(self, name: str, number: float, step: int) -> None:
        self.told.append((name, number, step))

    def log(self, numbers: dict[str, float], step: int) -> None:
        self.told.append((numbers, step))

    def close(self) -> None:
        self.closed = True

    finish = close


def test_both_get_every_step_and_wandb_stays_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not known (agreement of networks without classes) is left out."""
    made: list[Recorder] = []
    board, runs = ModuleType("torch.utils.tensorboard"), ModuleType("wandb")

    def opened(*args: Any, **options: Any) -> Recorder:
        made.append(Recorder(*args, **options))
        return made[-1]

    board.SummaryWriter, runs.init = opened, opened
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
    monkeypatch.setitem(sys.modules, "wandb", runs)

    curves = Curves(tmp_path / "curves")
    curves.write(1, 0.5, Score(0.25, None))
    curves.close()

    tensorboard, wandb = made
    assert tensorboard.told == [("loss", 0.5, 1), ("distance", 0.25, 1)]
    assert wandb.told == [({"loss": 0.5, "distance": 0.25}, 1)]
    assert wandb.opened[1]["mode"] == "offline"
    assert tensorboard.closed
    assert wandb.closed
    assert (tmp_path / "curves" / "curve.csv").read_text().splitlines() == [
        "step,loss,distance,agreement",
        "1,0.5,0.25,",
    ]


def test_without_either_there_is_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is needed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "wandb", None)

    curves = Curves(tmp_path)
    curves.write(3, 1.0, Score(0.5, 0.75))
    curves.close()

    assert [path.name for path in tmp_path.iterdir()] == ["curve.csv"]
    assert (tmp_path / "curve.csv").read_text().splitlines()[1] == "3,1,0.5,0.75"
