"""What every way to a device does, and what it never does: one suite over this computer, a real SSH server, adb's client with a phone of our own, and the fake."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeopt.errors import DiskFull, EdgeoptError, LinkError, LinkLost, LinkTimeout
from edgeopt.transport.link import Link
from edgeopt.transport.local import LocalLink
from edgeopt.transport.open import open_link
from edgeopt.transport.process import OUTPUT_LIMIT_BYTES, STDERR_TAIL_BYTES
from tests.fakes.adbd import Phone, adb_server, start_phone
from tests.fakes.fake_link import FakeCommand, FakeDevice, FakeLink
from tests.sshd import Sshd, start_sshd

MIB = 1 << 20

FLOOD_STDERR = "while :; do echo 'a line of some length, that is said without end' >&2; done"
DIE_BY_SIGNAL = "kill -9 $$"
EXIT_SEVEN = "echo out; echo err >&2; exit 7"
IGNORE_THE_END = "trap '' HUP TERM INT PIPE; while :; do sleep 0.05; done"
WARN_THEN_ECHO = (
    "i=0; while [ $i -lt 4000 ]; do echo 'warning: this line is forty bytes long..' >&2; i=$((i+1)); done; echo done"
)
SCRIPTS = (FLOOD_STDERR, DIE_BY_SIGNAL, EXIT_SEVEN, IGNORE_THE_END, WARN_THEN_ECHO)


@dataclass
class Way:
    """A link and another way to look at the device's files and commands."""

    link: Link
    folder: str
    read: Callable[[str], bytes]
    write: Callable[[str, bytes], None]
    runs: Callable[[str], bool]
    """Whether a command that has this word among its arguments runs on the device."""
    full: str
    """A file on a full disk."""


def _runs_here(word: str) -> bool:
    for entry in Path("/proc").iterdir():
        try:
            if word.encode() in (entry / "cmdline").read_bytes() and entry.name != str(os.getpid()):
                return True
        except OSError:
            continue
    return False


def _here(link: Link, folder: Path) -> Way:
    folder.mkdir()
    return Way(
        link=link,
        folder=str(folder),
        read=lambda path: Path(path).read_bytes(),
        write=lambda path, data: void(Path(path).write_bytes(data)),
        runs=_runs_here,
        full="/dev/full",
    )


def void(_: object) -> None:
    """Forget a result."""


def _fake_shell(command: FakeCommand) -> int:
    """The few scripts of this suite, for a device without a shell."""
    script = command.argv[2]
    if script == FLOOD_STDERR:
        while True:
            command.complain(b"a line of some length, that is said without end\n" * 100)
    if script == DIE_BY_SIGNAL:
        return -9
    if script == IGNORE_THE_END:
        while True:
            command.sleep(0.05)
    if script == WARN_THEN_ECHO:
        command.complain(b"warning: this line is forty bytes long..\n" * 4000)
        command.say("done\n")
        return 0
    assert script == EXIT_SEVEN
    command.say("out\n")
    command.complain("err\n")
    return 7


def _fake() -> Way:
    device = FakeDevice(capacity_bytes=16 * MIB)
    device.programs["sh"] = _fake_shell
    device.files["/tmp/ballast"] = b""

    def fill(path: str, data: bytes) -> None:
        device.files[path] = data

    return Way(
        link=FakeLink(device, stall_timeout_s=1.0),
        folder="/tmp",
        read=lambda path: device.files[path],
        write=fill,
        runs=lambda word: any(word in w for c in device.running for w in c.argv),
        full="/tmp/too-large",
    )


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def phone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Phone]:
    made = start_phone(tmp_path_factory.mktemp("phone") / "files")
    with adb_server(tmp_path_factory.mktemp("adb")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield made
    made.stop()


WAYS = [
    "local",
    pytest.param("ssh", marks=[pytest.mark.ssh, pytest.mark.xdist_group("ssh")]),
    pytest.param("adb", marks=pytest.mark.xdist_group("adb contract")),
    "fake",
]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    if request.param == "local":
        made = _here(LocalLink(stall_timeout_s=1.0), tmp_path / "device")
    elif request.param == "ssh":
        server: Sshd = request.getfixturevalue("sshd")
        link = open_link(server.address, known_hosts=server.known_hosts, identity=server.identity, stall_timeout_s=3.0)
        made = _here(link, tmp_path / "device")
    elif request.param == "adb":
        made = _here(
            open_link(request.getfixturevalue("phone").address, known_hosts=tmp_path, stall_timeout_s=3.0),
            tmp_path / "device",
        )
    else:
        made = _fake()
    yield made
    made.link.close()


def _gone(way: Way, word: str) -> bool:
    end = time.monotonic() + 10.0
    while way.runs(word) and time.monotonic() < end:
        time.sleep(0.02)
    return not way.runs(word)


def _token() -> str:
    """A number of seconds to sleep that no other command sleeps."""
    return f"1000.{secrets.randbelow(10**9):09d}"


# --- run ---------------------------------------------------------------------------------------------------------------


def test_run_returns_both_streams_and_the_exit_code(way: Way) -> None:
    done = way.link.run(["sh", "-c", EXIT_SEVEN])
    assert (done.exit_code, done.stdout, done.stderr, done.truncated) == (7, b"out\n", b"err\n", False)


@pytest.mark.parametrize(
    "word",
    ["a b", "", "'", '"', "$HOME", "`id`", "a\nb", "\\", "*", "~", "-n", "ü€𝄞", "a;b&c|d>e", "!x", "\t", "#"],
    ids=repr,
)
def test_run_hands_every_word_to_the_command_unchanged(way: Way, word: str) -> None:
    done = way.link.run(["printf", "%s|", word, "end"])
    assert done.stdout.decode() == f"{word}|end|"


def test_run_feeds_stdin_to_the_command(way: Way) -> None:
    data = os.urandom(700_000)
    assert way.link.run(["cat"], data).stdout == data


def test_run_feeds_more_stdin_than_any_buffer_holds(way: Way) -> None:
    assert way.link.run(["wc", "-c"], bytes(5 * MIB)).stdout.split() == [str(5 * MIB).encode()]


def test_run_succeeds_when_the_command_does_not_read_its_stdin(way: Way) -> None:
    assert way.link.run(["true"], bytes(5 * MIB)).exit_code == 0


def test_a_missing_command_is_exit_code_127(way: Way) -> None:
    done = way.link.run(["there-is-no-such-command"])
    assert done.exit_code == 127
    assert b"not found" in done.stderr


def test_a_command_killed_by_a_signal_tells_which(way: Way) -> None:
    assert way.link.run(["sh", "-c", DIE_BY_SIGNAL]).exit_code in (-9, 128 + 9)


def test_endless_output_is_cut_and_the_command_is_ended(way: Way) -> None:
    done = way.link.run(["yes", word := _token()])
    assert done.truncated
    assert len(done.stdout) == OUTPUT_LIMIT_BYTES
    assert _gone(way, word)


def test_endless_complaints_are_cut_and_the_command_is_ended(way: Way) -> None:
    done = way.link.run(["sh", "-c", FLOOD_STDERR, word := _token()])
    assert done.truncated
    assert len(done.stderr) == OUTPUT_LIMIT_BYTES
    assert _gone(way, word)


def test_a_command_that_never_ends_is_stopped_at_its_deadline(way: Way) -> None:
    with pytest.raises(LinkTimeout, match=r"did not end within 0\.3 s"):
        way.link.run(["sleep", word := _token()], deadline_s=0.3)
    assert _gone(way, word)
    assert way.link.run(["true"]).exit_code == 0


@pytest.mark.parametrize("argv", [[], ["true", "a\0b"]])
def test_a_command_that_no_shell_could_run_is_refused(way: Way, argv: list[str]) -> None:
    with pytest.raises(LinkError, match="NUL"):
        way.link.run(argv)


# --- start -------------------------------------------------------------------------------------------------------------


def test_a_stream_is_a_conversation(way: Way) -> None:
    stream = way.link.start(["cat"])
    for line in (b"one\n", b"two\n"):
        stream.write(line)
        assert stream.read(100, 5.0) == line
    stream.close()


def test_a_stream_returns_what_is_there_and_not_more_than_was_asked(way: Way) -> None:
    stream = way.link.start(["cat"])
    stream.write(b"abcdef")
    assert stream.read(2, 5.0) == b"ab"
    assert stream.read(100, 5.0) == b"cdef"
    stream.close()


def test_a_stream_carries_megabytes_both_ways(way: Way) -> None:
    stream, data = way.link.start(["cat"]), os.urandom(3 * MIB)
    writer = threading.Thread(target=stream.write, args=(data,), daemon=True)
    writer.start()
    got = bytearray()
    while len(got) < len(data):
        got += stream.read(MIB, 5.0)
    writer.join()
    stream.close()
    assert got == data


def test_silence_is_a_timeout_and_the_conversation_goes_on(way: Way) -> None:
    stream = way.link.start(["cat"])
    with pytest.raises(LinkTimeout):
        stream.read(10, 0.1)
    stream.write(b"still here")
    assert stream.read(100, 5.0) == b"still here"
    stream.close()


def test_a_command_that_takes_no_input_is_a_timeout(way: Way) -> None:
    stream = way.link.start(["sleep", _token()])
    with pytest.raises(LinkTimeout):
        stream.write(bytes(16 * MIB))
    stream.close()


def test_a_stream_ends_with_nothing_and_an_exit_code(way: Way) -> None:
    stream = way.link.start(["sh", "-c", EXIT_SEVEN])
    assert stream.read(100, 5.0) == b"out\n"
    assert stream.read(100, 5.0) == b""
    assert stream.exit_code(5.0) == 7
    assert stream.stderr_tail() == b"err\n"
    stream.close()


def test_a_command_that_still_runs_has_no_exit_code(way: Way) -> None:
    stream = way.link.start(["cat"])
    assert stream.exit_code(0.05) is None
    stream.close()


def test_writing_to_a_command_that_has_ended_is_a_lost_link(way: Way) -> None:
    stream = way.link.start(["true"])
    assert stream.exit_code(5.0) == 0
    with pytest.raises(LinkLost):
        stream.write(bytes(4 * MIB))
    stream.close()


def test_a_chatty_command_does_not_block_on_stderr_and_only_the_tail_is_kept(way: Way) -> None:
    stream = way.link.start(["sh", "-c", WARN_THEN_ECHO])
    assert stream.read(100, 20.0) == b"done\n"
    assert stream.exit_code(5.0) == 0
    assert len(stream.stderr_tail()) == STDERR_TAIL_BYTES
    stream.close()


def test_closing_a_stream_ends_the_command_even_if_it_ignores_the_end_of_stdin(way: Way) -> None:
    stream = way.link.start(["sh", "-c", IGNORE_THE_END, word := _token()])
    stream.close()
    stream.close()
    assert _gone(way, word)


# --- put ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 65536, 3 * MIB + 17])
def test_put_copies_a_file(way: Way, tmp_path: Path, size: int) -> None:
    local, remote = tmp_path / "local", f"{way.folder}/remote"
    local.write_bytes(data := os.urandom(size))
    assert way.link.put(local, remote) == size
    assert way.read(remote) == data


@pytest.mark.parametrize("name", ["with space", "it's", "-n", "$HOME", "ü", "a\nb"], ids=repr)
def test_put_and_get_take_any_name(way: Way, tmp_path: Path, name: str) -> None:
    (tmp_path / "local").write_bytes(b"content")
    way.link.put(tmp_path / "local", f"{way.folder}/{name}")
    way.link.get(f"{way.folder}/{name}", tmp_path / "back", max_bytes=100)
    assert (tmp_path / "back").read_bytes() == b"content"


def test_put_replaces_what_was_there(way: Way, tmp_path: Path) -> None:
    remote = f"{way.folder}/remote"
    way.write(remote, b"much longer than what follows")
    (tmp_path / "local").write_bytes(b"short")
    way.link.put(tmp_path / "local", remote)
    assert way.read(remote) == b"short"


def test_put_from_an_offset_keeps_the_bytes_before_it_and_replaces_those_after(way: Way, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", f"{way.folder}/remote"
    local.write_bytes(b"0123456789")
    way.write(remote, b"abcdefghijklmnop")
    assert way.link.put(local, remote, offset=4) == 6
    assert way.read(remote) == b"abcd456789"


def test_put_with_everything_there_cuts_off_the_rest(way: Way, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", f"{way.folder}/remote"
    local.write_bytes(b"0123")
    way.write(remote, b"0123 and more")
    assert way.link.put(local, remote, offset=4) == 0
    assert way.read(remote) == b"0123"


def test_put_does_not_go_on_where_nothing_is(way: Way, tmp_path: Path) -> None:
    remote = f"{way.folder}/remote"
    (tmp_path / "local").write_bytes(bytes(100))
    way.write(remote, b"abc")
    with pytest.raises(LinkError, match="fewer than 50 bytes"):
        way.link.put(tmp_path / "local", remote, offset=50)
    assert way.read(remote) == b"abc"


@pytest.mark.parametrize("offset", [-1, 101])
def test_put_refuses_an_offset_outside_of_the_file(way: Way, tmp_path: Path, offset: int) -> None:
    (tmp_path / "local").write_bytes(bytes(100))
    with pytest.raises(LinkError, match="cannot begin"):
        way.link.put(tmp_path / "local", f"{way.folder}/remote", offset=offset)


def test_put_tells_its_progress_up_to_the_end(way: Way, tmp_path: Path) -> None:
    local, told = tmp_path / "local", []
    local.write_bytes(bytes(3 * MIB))
    way.write(f"{way.folder}/remote", bytes(MIB))
    way.link.put(local, f"{way.folder}/remote", offset=MIB, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[0][0] > MIB
    assert told[-1] == (3 * MIB, 3 * MIB)


def test_put_into_a_missing_folder_says_so(way: Way, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    with pytest.raises(LinkError, match="cannot be written"):
        way.link.put(tmp_path / "local", f"{way.folder}/missing/remote")


def test_put_of_a_missing_file_says_so(way: Way, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="cannot be read"):
        way.link.put(tmp_path / "missing", f"{way.folder}/remote")


def test_put_onto_a_full_disk_is_disk_full(way: Way, tmp_path: Path) -> None:
    with (tmp_path / "local").open("wb") as file:
        file.truncate(17 * MIB)
    with pytest.raises(DiskFull, match="No space left"):
        way.link.put(tmp_path / "local", way.full)
    assert way.link.run(["true"]).exit_code == 0


# --- get ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 17])
def test_get_copies_a_file(way: Way, tmp_path: Path, size: int) -> None:
    way.write(f"{way.folder}/remote", data := os.urandom(size))
    assert way.link.get(f"{way.folder}/remote", tmp_path / "local", max_bytes=size) == size
    assert (tmp_path / "local").read_bytes() == data


def test_get_refuses_a_file_that_is_too_large_and_leaves_nothing(way: Way, tmp_path: Path) -> None:
    way.write(f"{way.folder}/remote", bytes(1001))
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(LinkError, match="more than 1000 bytes"):
        way.link.get(f"{way.folder}/remote", folder / "local", max_bytes=1000)
    assert list(folder.iterdir()) == []


def test_get_of_a_missing_file_says_so(way: Way, tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="cannot be read"):
        way.link.get(f"{way.folder}/missing", tmp_path / "local", max_bytes=10)
    assert not (tmp_path / "local").exists()


def test_get_into_a_missing_folder_says_so(way: Way, tmp_path: Path) -> None:
    way.write(f"{way.folder}/remote", b"x")
    with pytest.raises(LinkError, match="on this computer cannot be written"):
        way.link.get(f"{way.folder}/remote", tmp_path / "missing" / "local", max_bytes=10)


def test_get_tells_its_progress_up_to_the_end(way: Way, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    way.write(f"{way.folder}/remote", bytes(3 * MIB))
    way.link.get(
        f"{way.folder}/remote", tmp_path / "local", max_bytes=4 * MIB, progress=lambda d, t: told.append((d, t))
    )
    assert told[-1] == (3 * MIB, 3 * MIB)


# --- close and Ctrl-C --------------------------------------------------------------------------------------------------


def test_a_closed_link_is_lost_for_everything(way: Way, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    way.link.close()
    way.link.close()
    for call in (
        lambda: way.link.run(["true"]),
        lambda: way.link.start(["true"]),
        lambda: way.link.put(tmp_path / "local", f"{way.folder}/remote"),
        lambda: way.link.get(f"{way.folder}/remote", tmp_path / "back", max_bytes=10),
    ):
        with pytest.raises(LinkLost):
            call()


def test_closing_a_link_ends_what_was_started_on_it(way: Way) -> None:
    stream = way.link.start(["sh", "-c", IGNORE_THE_END, word := _token()])
    way.link.close()
    assert _gone(way, word)
    stream.close()


@pytest.fixture
def stop_signal() -> Iterator[signal.Signals]:
    """A signal that does to this process what Ctrl-C does to a command; SIGINT itself belongs to whoever started the tests, and may be ignored."""
    before = signal.signal(signal.SIGUSR1, signal.default_int_handler)
    yield signal.SIGUSR1
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("call", ["run", "read", "write"])
def test_ctrl_c_leaves_a_link_that_closes(way: Way, call: str, stop_signal: signal.Signals) -> None:
    word = _token()
    stream = way.link.start(["sleep", word])
    # A true signal: it also wakes what waits in the kernel.
    interrupt = threading.Timer(0.2, signal.pthread_kill, (threading.main_thread().ident, stop_signal))
    interrupt.start()
    interrupted = {
        "run": lambda: way.link.run(["sleep", word]),
        "read": lambda: stream.read(10, 60.0),
        "write": lambda: stream.write(bytes(64 * MIB)),
    }[call]
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    interrupt.join()
    way.link.close()
    assert _gone(way, word)


@pytest.mark.parametrize("direction", ["put", "get"])
def test_ctrl_c_in_mid_transfer_leaves_a_link_that_closes(way: Way, tmp_path: Path, direction: str) -> None:
    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    local, remote = tmp_path / "local", f"{way.folder}/remote"
    local.write_bytes(bytes(8 * MIB))
    way.write(remote, bytes(8 * MIB))
    transfer = {
        "put": lambda: way.link.put(local, remote, progress=interrupt),
        "get": lambda: way.link.get(remote, tmp_path / "back", max_bytes=8 * MIB, progress=interrupt),
    }[direction]
    with pytest.raises(KeyboardInterrupt):
        transfer()
    way.link.close()


def test_only_our_errors_leave(way: Way, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(b"x")
    calls = (
        lambda: way.link.put(tmp_path, f"{way.folder}/remote"),
        lambda: way.link.put(tmp_path / "local", way.folder),
        lambda: way.link.put(tmp_path / "local", ""),
        lambda: way.link.get(way.folder, tmp_path / "back", max_bytes=10),
        lambda: way.link.get("", tmp_path / "back", max_bytes=10),
        lambda: way.link.get(f"{way.folder}/x", tmp_path, max_bytes=10),
        lambda: way.link.run(["true", "x" * 3_000_000]),
        lambda: way.link.start(["\0"]),
        lambda: way.link.run(["/"]),
    )
    for call in calls:
        try:
            call()
        except EdgeoptError as error:
            assert error.message  # noqa: PT017  whatever it is, it is ours and says something
