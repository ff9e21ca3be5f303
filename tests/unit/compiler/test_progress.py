"""What a child tells, and what is made of whatever stands in its file."""

from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeopt.compiler import progress
from edgeopt.compiler.progress import MAX_WORDS, about, begin, read_progress, tell


@pytest.fixture
def told(tmp_path):
    path = tmp_path / "progress"
    begin(str(path))
    yield lambda: read_progress(path)
    about("")
    begin(None)


def test_what_is_told_is_what_is_read(told):
    assert told() == ""
    tell("tidying the graph")
    assert told() == "tidying the graph"
    about("choice 2 of 4")
    tell("rounding", 3, 26)
    assert told() == "choice 2 of 4: rounding 3/26"
    about("")
    tell("judging")
    assert told() == "judging"


def test_a_fast_loop_writes_now_and_then(told, monkeypatch):
    """Every new activity at once, its steps at most five times a second."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    tell("ranges", 1, 252)
    tell("ranges", 2, 252)
    assert told() == "ranges 1/252"
    now[0] += progress.LEAST_S
    tell("ranges", 90, 252)
    assert told() == "ranges 90/252"
    tell("statistics", 1, 252)
    assert told() == "statistics 1/252"


def test_nobody_listening_costs_nothing_and_breaks_nothing(tmp_path):
    begin(None)
    tell("ranges", 1, 2)
    about("x")
    begin(str(tmp_path / "gone" / "progress"))
    tell("ranges", 1, 2)
    begin(None)


@settings(max_examples=200, derandomize=True)
@given(st.binary(max_size=2000))
def test_whatever_stands_there_is_one_short_harmless_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(data)
    line = read_progress(path)
    assert len(line) <= MAX_WORDS
    assert all(letter.isprintable() for letter in line)


def test_escapes_do_not_reach_the_terminal(tmp_path):
    path = tmp_path / "progress"
    path.write_bytes(b"\x1b[31mranges\x07 1/2\r\x00\xe2\x80\xae3\nsecond line")
    assert read_progress(path) == "[31mranges 1/23"


@pytest.mark.parametrize("kind", ["missing", "folder", "link", "pipe"])
def test_only_a_plain_file_is_read_and_nothing_is_waited_for(tmp_path, kind):
    path = tmp_path / "progress"
    (tmp_path / "other").write_text("secret")
    match kind:
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "other")
        case "pipe":
            os.mkfifo(path)
    assert read_progress(path) == ""
