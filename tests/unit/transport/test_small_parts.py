"""Deadlines, quoting, guards, and what a device's words about its disk mean."""

from __future__ import annotations

import errno
import itertools
import os
import shlex
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.errors import ConfigError, DiskFull, LinkError, ReadOnly
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.file_errors import find_errno, printable, write_error
from edgeopt.transport.files import Bounded, Ticker, open_source, receiving, write_all
from edgeopt.transport.open import open_link
from edgeopt.transport.quote import MAX_BYTES, GroupFinder, command_line
from edgeopt.transport.stall import StallGuard

# --- deadlines ---------------------------------------------------------------------------------------------------------


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_deadline_counts_down_expires_and_can_be_renewed() -> None:
    clock = Clock()
    deadline = Deadline(5.0, clock)
    assert (deadline.remaining, deadline.expired) == (5.0, False)
    clock.now += 4.0
    assert (deadline.remaining, deadline.expired) == (1.0, False)
    clock.now += 4.0
    assert (deadline.remaining, deadline.expired) == (0.0, True)
    deadline.renew()
    assert (deadline.remaining, deadline.expired) == (5.0, False)


def test_a_guard_breaks_what_passes_its_deadline_and_nothing_else() -> None:
    broken = threading.Event()
    guard = StallGuard(broken.set)
    with guard.watch(Deadline(60.0)):
        assert not guard.fired
    with guard.watch(Deadline(0.05)):
        assert broken.wait(10.0)
    assert guard.fired
    guard.close()


def test_a_guard_that_is_closed_ends() -> None:
    guard = StallGuard(lambda: None)
    guard.close()
    guard._thread.join(10.0)
    assert not guard._thread.is_alive()


# --- command lines -----------------------------------------------------------------------------------------------------


@given(words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
def test_a_shell_gives_the_words_back(words: list[str]) -> None:
    line = command_line(["printf", "%s\\0", *words], "x", "mark")
    done = subprocess.run(["sh", "-c", line], capture_output=True, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words or [""])


def test_the_shell_tells_its_process_group_and_the_exit_code() -> None:
    line = command_line(["sh", "-c", "exit 7"], "x", "mark")
    with subprocess.Popen(["sh", "-c", line], stderr=subprocess.PIPE, start_new_session=True) as shell:
        finder = GroupFinder("mark")
        assert shell.stderr is not None
        assert finder.feed(shell.stderr.read()) == b""
    assert finder.group == shell.pid
    assert shell.returncode == 7


def test_a_command_that_no_shell_takes_is_refused() -> None:
    with pytest.raises(LinkError, match="at most 120000"):
        command_line(["x" * MAX_BYTES], "x", "mark")


@given(before=st.binary(max_size=50), after=st.binary(max_size=50), cuts=st.lists(st.integers(0, 120), max_size=4))
def test_the_line_with_the_group_is_taken_out_wherever_the_pieces_are_cut(
    before: bytes, after: bytes, cuts: list[int]
) -> None:
    text = before + b"mark 4711\n" + after
    finder, passed, edges = GroupFinder("mark"), b"", [0, *sorted(cuts), len(text)]
    for start, end in itertools.pairwise(edges):
        if text[start:end]:
            passed += finder.feed(text[start:end])
    passed += finder.feed(b"")
    assert finder.group == 4711
    assert passed == before + after


def test_a_shell_that_never_tells_loses_nothing() -> None:
    finder = GroupFinder("mark")
    assert finder.feed(b"no such shell") == b""
    assert finder.feed(b"") == b"no such shell"
    assert finder.group is None


def test_noise_is_not_held_back_for_ever() -> None:
    assert GroupFinder("mark").feed(bytes(GroupFinder.LIMIT_BYTES)) == bytes(GroupFinder.LIMIT_BYTES)


# --- what a device says ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("cat: write error: No space left on device", DiskFull),
        ("cat: write error: Disk quota exceeded", DiskFull),
        ("sh: 1: cannot create /x: Read-only file system", ReadOnly),
        ("bash: line 1: /x: Permission denied", ReadOnly),
        ("sh: can't create /x: Operation not permitted", ReadOnly),
        ("sh: 1: cannot create /x/y: Directory nonexistent", LinkError),
        ("sh: can't create /x/y: nonexistent directory", LinkError),
        ("cat: write error: Input/output error", LinkError),
        ("something else", LinkError),
    ],
)
def test_what_the_tools_print_becomes_an_error(said: str, kind: type[Exception]) -> None:
    error = write_error(find_errno(said), "pi4", "/x", said)
    assert type(error) is kind
    assert error.message.startswith("pi4: ")
    assert said in error.message


def test_error_numbers_are_found_in_words() -> None:
    assert find_errno(os.strerror(errno.ENOSPC)) == errno.ENOSPC
    assert find_errno("all is well") is None


@given(st.binary(max_size=500))
def test_what_a_device_says_is_safe_to_print(raw: bytes) -> None:
    text = printable(raw)
    assert text.isprintable()
    assert 0 < len(text) <= 300


def test_lines_of_a_device_become_one() -> None:
    assert printable(b"a \x1b[31mb\n\n  c\xff\n") == "a [31mb; c\ufffd"
    assert printable(b"") == "it did not say why"


# --- this computer's files ---------------------------------------------------------------------------------------------


class Slow:
    """A sink that takes three bytes at a time."""

    def __init__(self) -> None:
        self.taken = b""

    def write(self, data: memoryview, /) -> int:
        self.taken += bytes(data[:3])
        return len(data[:3])


def test_everything_is_written_also_to_a_sink_that_takes_little() -> None:
    sink = Slow()
    write_all(sink, b"0123456789")
    assert sink.taken == b"0123456789"


def test_a_bounded_sink_takes_its_size_and_not_a_byte_more() -> None:
    sink, error = Slow(), LinkError("too much")
    bounded = Bounded(sink, 4, error)
    write_all(bounded, b"0123")
    with pytest.raises(LinkError, match="too much"):
        write_all(bounded, b"4")


def test_progress_is_told_rarely_and_at_the_end() -> None:
    told: list[int] = []
    ticker = Ticker(lambda done, _total: told.append(done), 1000)
    for done in range(1, 1001):
        ticker.at(done)
    assert told[-1] == 1000
    assert len(told) < 100


def test_a_download_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(LinkError, match="too much"), receiving(tmp_path / "file") as target:
        write_all(Bounded(target, 3, LinkError("too much")), b"half of")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_source_begins_at_its_offset(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with open_source(tmp_path / "file", 7) as source:
        assert source.read() == b"789"


# --- opening -----------------------------------------------------------------------------------------------------------


def test_this_computer_is_reached_without_any_ssh(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from edgeopt.transport.open import open_link;"
        "print(open_link('local:', known_hosts=pathlib.Path('x')).run(['printf', 'hello']).stdout);"
        "sys.exit('paramiko' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]
    )
    assert (done.stdout, done.returncode) == ("b'hello'\n", 0), done.stderr


def test_what_is_no_address_is_not_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        open_link("telnet://pi4", known_hosts=tmp_path / "x")


def test_quoting_is_the_standard_librarys() -> None:
    assert shlex.split(command_line(["a b", "c'd"], "x", "m").decode())[-2:] == ["a b", "c'd"]
