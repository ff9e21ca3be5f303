"""What a run looks like while it trains, for who wants to watch: TensorBoard events where it is installed, W&B offline where that is, and a table of lines in any case."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from typing import Any

from edgeopt.compiler.train.judge import Score

TABLE = "curve.csv"


class Curves:
    """Writes into a folder of the user's: `curve.csv` with the columns step, loss, distance, agreement."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._stream = (folder / TABLE).open("w", newline="")
        self._table = csv.writer(self._stream)
        self._table.writerow(["step", "loss", "distance", "agreement"])
        self._board = _board(folder)
        self._run = _run(folder)

    def write(self, step: int, loss: float, score: Score) -> None:
        """One step."""
        values = {"loss": loss, "distance": score.distance, "agreement": score.agreement}
        self._table.writerow([step, *("" if value is None else f"{value:.6g}" for value in values.values())])
        known = {name: value for name, value in values.items() if value is not None}
        if self._board is not None:
            for name, value in known.items():
                self._board.add_scalar(name, value, step)
        if self._run is not None:
            self._run.log(known, step=step)

    def close(self) -> None:
        """Everything to disk."""
        self._stream.close()
        if self._board is not None:
            self._board.close()
        if self._run is not None:
            self._run.finish()


def _board(folder: Path) -> Any:
    with contextlib.suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder))
    return None


def _run(folder: Path) -> Any:
    """Training has no network, so a run lies beside the events until `wandb sync` sends it."""
    with contextlib.suppress(ImportError):
        import wandb

        return wandb.init(project="edgeopt", dir=str(folder), mode="offline")
    return None
