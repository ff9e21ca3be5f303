"""The command line for a shell, and what is taken out of a command's stderr again."""

from __future__ import annotations

import itertools
import shlex
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.errors import LinkError
from edgeopt.transport.quote import Tracker, command_line

MARK = "0123456789abcdef" * 2


def _cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def _fed(tracker: Tracker, pieces: list[bytes]) -> bytes:
    return b"".join(tracker.feed(piece) for piece in pieces if piece) + tracker.feed(b"")


def test_a_tracked_command_tells_its_group_and_its_end() -> None:
    line = command_line(["sh", "-c", "echo said >&2; exit 3"], "phone", MARK, is_end_told=True)
    done = subprocess.run(["sh", "-c", line.decode()], capture_output=True, check=False)
    tracker = Tracker(MARK)
    assert _fed(tracker, [done.stderr]) == b"said\n"
    assert (tracker.code, done.returncode) == (3, 3)
    assert tracker.group is not None


@settings(deadline=None)
@given(
    before=st.binary(max_size=80),
    between=st.binary(max_size=80),
    after=st.binary(max_size=80),
    places=st.lists(st.integers(0, 400), max_size=6),
)
def test_the_marks_lines_are_found_however_they_arrive_and_all_else_is_passed_on(
    before: bytes, between: bytes, after: bytes, places: list[int]
) -> None:
    data = before + f"{MARK} 4711\n".encode() + between + f"{MARK} = 137\n".encode() + after
    tracker = Tracker(MARK)
    assert _fed(tracker, _cut(data, places)) == before + between + after
    assert (tracker.group, tracker.code) == (4711, 137)


@settings(deadline=None)
@given(
    pieces=st.lists(
        st.sampled_from([MARK.encode(), MARK[:9].encode(), b" ", b"= ", b"12", b"\n", b"x" * 90]), max_size=12
    )
)
def test_a_mark_that_somebody_else_prints_is_no_line_of_ours(pieces: list[bytes]) -> None:
    tracker = Tracker(MARK)
    passed = _fed(tracker, pieces)
    if tracker.group is None and tracker.code is None:
        assert passed == b"".join(pieces)


def test_what_a_way_cannot_take_is_refused() -> None:
    with pytest.raises(LinkError, match="at most 1000"):
        command_line(["true", "x" * 1000], "phone", MARK, max_bytes=1000)


def test_a_command_without_its_end_told_is_as_it_always_was() -> None:
    assert shlex.split(command_line(["true"], "pi4", MARK).decode())[-2:] == [MARK, "true"]
