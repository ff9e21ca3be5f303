"""A link to a board of its own: another user, another home, a network that is cut, disks that are full or sealed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeopt.errors import DiskFull, HostKeyChanged, LinkLost, LinkTimeout, ReadOnly, Unreachable
from edgeopt.transport.link import Link
from edgeopt.transport.open import open_link
from tests.board import Board, make_board

pytestmark = [pytest.mark.ssh, pytest.mark.e2e, pytest.mark.xdist_group("board")]

MIB = 1 << 20


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Board]:
    made = make_board(tmp_path_factory.mktemp("board"))
    yield made
    made.stop()


def reach(board: Board) -> Link:
    return open_link(
        board.address, known_hosts=board.known_hosts, identity=board.identity, name="pi4", stall_timeout_s=2.0
    )


@pytest.fixture
def link(board: Board) -> Iterator[Link]:
    made = reach(board)
    yield made
    made.close()


def test_commands_run_as_the_user_in_the_users_home(link: Link) -> None:
    assert link.run(["sh", "-c", 'id -un; echo "$HOME"; pwd']).stdout.split() == [b"pi", b"/home/pi", b"/home/pi"]


def test_the_boards_python_is_bare(link: Link) -> None:
    done = link.run(
        ["python3", "-c", "import json, sqlite3, ssl\ntry:\n import numpy\nexcept ImportError: print('bare')"]
    )
    assert (done.exit_code, done.stdout) == (0, b"bare\n"), done


def test_a_board_may_have_no_python(tmp_path: Path) -> None:
    bare = make_board(tmp_path / "bare", python=None)
    try:
        with closing(reach(bare)) as link:
            assert link.run(["python3", "-c", "1"]).exit_code == 127
    finally:
        bare.stop()


def test_a_command_stopped_at_its_deadline_leaves_no_process(board: Board, link: Link) -> None:
    with pytest.raises(LinkTimeout):
        link.run(["sh", "-c", "sleep 1000 & sleep 1000; true"], deadline_s=0.5)
    assert not [command for command in board.commands() if "sleep" in command]


def test_closing_the_link_leaves_no_process(board: Board) -> None:
    link = reach(board)
    link.start(["sh", "-c", "trap '' HUP TERM; while :; do sleep 1; done"])
    link.start(["cat"])
    link.close()
    assert not [command for command in board.commands() if "sleep" in command]


def test_a_disk_that_fills_up_in_mid_upload_is_disk_full(board: Board, link: Link, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(os.urandom(8 * MIB))
    board.small_disk("/home/pi/small", 3 * MIB)
    try:
        with pytest.raises(DiskFull, match=r"pi4: no room for /home/pi/small/remote: .*No space left on device"):
            link.put(tmp_path / "local", "/home/pi/small/remote")
        assert int(link.run(["sh", "-c", "wc -c < small/remote"]).stdout) <= 3 * MIB
    finally:
        board.unmount("/home/pi/small")


def test_an_upload_goes_on_after_room_was_made(board: Board, link: Link, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(data := os.urandom(4 * MIB))
    board.small_disk("/home/pi/small", 3 * MIB)
    try:
        with pytest.raises(DiskFull):
            link.put(tmp_path / "local", "/home/pi/small/remote")
        have = int(link.run(["sh", "-c", "wc -c < small/remote"]).stdout)
        board.grow_disk("/home/pi/small", 16 * MIB)
        assert link.put(tmp_path / "local", "/home/pi/small/remote", offset=have) == len(data) - have
        link.get("/home/pi/small/remote", tmp_path / "back", max_bytes=8 * MIB)
        assert (tmp_path / "back").read_bytes() == data
    finally:
        board.unmount("/home/pi/small")


def test_a_sealed_file_system_is_read_only(board: Board, link: Link, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    link.run(["mkdir", "-p", "sealed"])
    board.read_only("/home/pi/sealed")
    try:
        with pytest.raises(ReadOnly, match="Read-only file system") as caught:
            link.put(tmp_path / "local", "/home/pi/sealed/remote")
        assert "SD card" in str(caught.value.hint)
    finally:
        board.unmount("/home/pi/sealed")


def test_a_folder_of_somebody_else_is_read_only(link: Link, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    with pytest.raises(ReadOnly, match="Permission denied"):
        link.put(tmp_path / "local", "/etc/edgeopt-test")


def test_a_network_cut_in_mid_upload_is_a_lost_link_and_the_upload_goes_on_where_it_stopped(
    board: Board, tmp_path: Path
) -> None:
    (tmp_path / "local").write_bytes(data := os.urandom(10 * MIB))
    board.cut_after(3 * MIB)
    try:
        with closing(reach(board)) as link, pytest.raises(LinkLost, match="connection broke"):
            link.put(tmp_path / "local", "/home/pi/remote")
    finally:
        board.heal()
    have = (board.home / "remote").stat().st_size
    assert 2 * MIB < have < 3 * MIB
    with closing(reach(board)) as link:
        assert link.put(tmp_path / "local", "/home/pi/remote", offset=have) == len(data) - have
    assert (board.home / "remote").read_bytes() == data


def test_a_cable_that_is_pulled_is_noticed_also_while_nothing_is_sent(board: Board) -> None:
    with closing(reach(board)) as link:
        stream = link.start(["cat"])
        board.link_down()
        try:
            with pytest.raises(LinkLost):
                stream.read(10, 60.0)
        finally:
            board.link_up()


def test_a_board_that_is_off_is_unreachable(board: Board) -> None:
    board.link_down()
    try:
        with pytest.raises(Unreachable):
            open_link(board.address, known_hosts=board.known_hosts, identity=board.identity, connect_timeout_s=0.5)
    finally:
        board.link_up()


def test_a_frozen_board_is_a_timeout(board: Board, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(bytes(20 * MIB))
    with closing(reach(board)) as link:
        board.freeze()
        try:
            with pytest.raises((LinkTimeout, LinkLost)):
                link.put(tmp_path / "local", "/home/pi/remote")
        finally:
            board.thaw()


def test_another_board_at_the_address_is_a_changed_key(tmp_path: Path) -> None:
    board = make_board(tmp_path / "board", python=None)
    try:
        board.trust_other_key()
        with pytest.raises(HostKeyChanged):
            reach(board)
    finally:
        board.stop()


def test_a_noisy_login_disturbs_neither_files_nor_conversations(tmp_path: Path) -> None:
    board = make_board(tmp_path / "board", python=None)
    try:
        board.login_noise("Welcome to your board! 3 updates can be installed.")
        (tmp_path / "local").write_bytes(data := os.urandom(300_000))
        with closing(reach(board)) as link:
            assert link.run(["printf", "hello"]).stdout.endswith(b"hello")
            link.put(tmp_path / "local", "/home/pi/remote")
            link.get("/home/pi/remote", tmp_path / "back", max_bytes=MIB)
            stream = link.start(["cat"])
            stream.write(b"still understood\n")
            heard = b""
            while not heard.endswith(b"still understood\n"):
                heard += stream.read(1000, 10.0)
            with pytest.raises(LinkTimeout):
                link.run(["sleep", "1000"], deadline_s=0.5)
            assert not [line for line in board.commands() if "sleep 1000" in line]
        assert (tmp_path / "back").read_bytes() == (board.home / "remote").read_bytes() == data
    finally:
        board.stop()
