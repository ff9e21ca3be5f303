"""Twenty boards at once: sessions that are open at the same time, and each board is only what itself says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest

from edgeopt.domain.device import Device
from edgeopt.errors import DeviceBusy, Unreachable
from edgeopt.flows.connect import open_session
from edgeopt.flows.devices import doctor, status, trust
from edgeopt.measure.session import Owner
from edgeopt.profiles.inventory import add_device
from edgeopt.profiles.places import Places
from tests.board import Board, make_fleet, stop_fleet

pytestmark = [pytest.mark.ssh, pytest.mark.e2e, pytest.mark.xdist_group("board-fleet")]

BOARDS = 20
T = TypeVar("T")


@dataclass
class Fleet:
    """Boards `board00` to `board19` in an inventory, all trusted."""

    boards: dict[str, Board]
    places: Places

    def each(self, ask: Callable[[str], T]) -> dict[str, T]:
        """Ask all of them at once."""
        with ThreadPoolExecutor(max_workers=len(self.boards)) as pool:
            return dict(zip(self.boards, pool.map(ask, self.boards), strict=True))

    def device(self, name: str) -> Device:
        board = self.boards[name]
        return Device(name=name, profile="local", address=board.address, identity=str(board.identity))


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    base = tmp_path_factory.mktemp("fleet")
    made = make_fleet(base, BOARDS)
    try:
        places = Places(config=base / "config", data=base / "data", cache=base / "cache")
        fleet = Fleet({f"board{number:02}": board for number, board in enumerate(made)}, places)
        for name in fleet.boards:
            add_device(fleet.device(name), places)
        # Pinned one after the other: they share the file of trusted keys.
        for name in fleet.boards:
            trust(name, places, lambda _: True)
        yield fleet
    finally:
        stop_fleet(made)


def test_sessions_with_all_boards_are_open_at_once_and_hear_only_their_own(fleet: Fleet) -> None:
    """Each leaves a file with the name it was given by here in its home; homes have the same path on every board."""
    together = threading.Barrier(BOARDS, timeout=120)

    def talk(name: str) -> tuple[str, str]:
        with open_session(fleet.device(name), fleet.places) as session:
            session.lock("fleet", Owner.this_process(name))
            together.wait()
            session.link.run(["sh", "-c", f"echo {name} > name"])
            holder = session.call("status", {})["lock"]["owner"]["run"]
            together.wait()
            return holder, session.root

    heard = fleet.each(talk)

    assert heard == {name: (name, "/home/pi/.edgeopt") for name in fleet.boards}
    assert {name: (board.home / "name").read_text() for name, board in fleet.boards.items()} == {
        name: f"{name}\n" for name in fleet.boards
    }


def test_one_board_that_is_in_use_or_off_keeps_nobody_from_the_others(fleet: Fleet) -> None:
    """`doctor` and `status` of all, while another session holds one board and the cable of a second is pulled."""
    off, busy = "board03", "board07"
    fleet.boards[off].link_down()

    def ask(name: str) -> str:
        try:
            with open_session(fleet.device(name), fleet.places) as session:
                session.lock("ask", Owner.this_process("ask"))
        except (DeviceBusy, Unreachable) as error:
            return type(error).__name__
        return f"{len(status(name, fleet.places).apps)} apps"

    try:
        with open_session(fleet.device(busy), fleet.places) as session:
            session.lock("hold", Owner.this_process("hold"))
            said = fleet.each(ask)
    finally:
        fleet.boards[off].link_up()

    expected = dict.fromkeys(fleet.boards, "0 apps") | {off: "Unreachable", busy: "DeviceBusy"}
    assert said == expected


def test_doctor_looks_at_all_boards_at_once(fleet: Fleet) -> None:
    reach = {
        name: next(f for f in found if f.subject == "reach")
        for name, found in fleet.each(lambda n: doctor(n, fleet.places)).items()
    }

    assert {finding.state for finding in reach.values()} == {"ok"}
    assert {name: finding.found.split(",")[0] for name, finding in reach.items()} == {
        name: board.address for name, board in fleet.boards.items()
    }
