"""The conversation with the true agent in a process of its own, reached over the local way."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from edgeopt.domain.device import Device
from edgeopt.domain.observer import Silent
from edgeopt.errors import AgentError, AgentLost, DeviceBusy, NotInstalled, PythonMissing, ReadOnly
from edgeopt.measure.session import Owner, Session
from edgeopt.measure.ship import Content, ship
from edgeopt.store.blobs import file_digest
from edgeopt.transport.link import Link
from edgeopt.transport.open import open_link


def make_device(root: Path, **changes: object) -> Device:
    fields: dict[str, object] = {"name": "board", "profile": "local", "address": "local:", "root": str(root)}
    return Device(**(fields | changes))  # type: ignore[arg-type]


def make_session(root: Path, *, ephemeral: bool = False, **changes: object) -> Session:
    def way() -> Link:
        return open_link("local:", known_hosts=root.parent / "known_hosts", name="board")

    return Session(make_device(root, **changes), way, ephemeral=ephemeral)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with make_session(tmp_path / "root") as opened:
        yield opened


def owner() -> Owner:
    return Owner.this_process("a-run")


def test_a_bare_device_gets_the_agent_once(tmp_path: Path) -> None:
    """The second session sends nothing: the agent is there under its own hash."""
    with make_session(tmp_path / "root") as first:
        assert first.landed is not None
        assert first.landed.bytes_sent > 0

    with make_session(tmp_path / "root") as second:
        assert second.landed is not None
        assert second.landed.bytes_sent == 0


def test_a_damaged_agent_is_sent_again(tmp_path: Path) -> None:
    """A file that does not hash to its name is not the agent."""
    with make_session(tmp_path / "root") as first:
        assert first.landed is not None
        path = Path(first.landed.path)
    path.write_bytes(b"not an agent")

    with make_session(tmp_path / "root") as second:
        assert second.landed is not None
        assert second.landed.bytes_sent > 0


def test_facts_name_the_device(session: Session) -> None:
    """The probe is one round trip."""
    facts = session.call("probe", {})

    assert facts["system"] == "Linux"
    assert facts["cpu"]["cores"] >= 1


def test_the_second_to_lock_is_told_who_came_first(tmp_path: Path) -> None:
    """Two hosts cannot interleave, and the one who waits knows for whom."""
    with make_session(tmp_path / "root") as first, make_session(tmp_path / "root") as second:
        first.lock("deploy", owner())

        with pytest.raises(DeviceBusy) as caught:
            second.lock("deploy", owner())

    assert f"process {os.getpid()}" in caught.value.message
    assert "deploy" in caught.value.message


def test_the_lock_is_free_when_its_session_ends(tmp_path: Path) -> None:
    """No stale lock is ever cleaned up by hand."""
    with make_session(tmp_path / "root") as first:
        first.lock("deploy", owner())

    with make_session(tmp_path / "root") as second:
        second.lock("deploy", owner())


def test_a_reopened_session_holds_its_lock_again(tmp_path: Path) -> None:
    """What broke and came back goes on as before."""
    with make_session(tmp_path / "root") as first:
        first.lock("deploy", owner())
        first.reopen()

        with make_session(tmp_path / "root") as second, pytest.raises(DeviceBusy):
            second.lock("deploy", owner())


def test_a_killed_agent_is_named_with_its_signal(session: Session) -> None:
    """The death of the agent is not a riddle."""
    os.kill(session.hello["pid"], signal.SIGKILL)

    with pytest.raises(AgentLost) as caught:
        session.call("probe", {})

    assert "SIGKILL" in caught.value.message


def test_a_closed_session_says_so(tmp_path: Path) -> None:
    """Using it is a fault of the caller, in words."""
    closed = make_session(tmp_path / "root")

    with pytest.raises(AgentLost):
        closed.call("probe", {})


def test_an_ephemeral_session_leaves_nothing(tmp_path: Path) -> None:
    """Not even the agent."""
    root = tmp_path / "root"
    with make_session(root, ephemeral=True) as session:
        used = Path(session.root)
        assert used.is_dir()

    assert not used.exists()
    assert not root.exists()


def test_a_missing_python_is_a_sentence(tmp_path: Path) -> None:
    """The name that was looked for and how to install one."""
    with pytest.raises(PythonMissing) as caught, make_session(tmp_path / "root", python="no-such-python"):
        pass

    assert "no-such-python" in caught.value.message


def test_a_broken_python_is_told_from_a_missing_one(tmp_path: Path) -> None:
    """It is there and does not work."""
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho cannot load libpython >&2\nexit 1\n")
    broken.chmod(0o755)

    with pytest.raises(PythonMissing) as caught, make_session(tmp_path / "root", python=str(broken)):
        pass

    assert caught.value.code == "python-broken"
    assert "cannot load libpython" in caught.value.message


def test_an_old_python_is_named_with_its_version(tmp_path: Path) -> None:
    """A stand-in that answers as Python 3.6 would."""
    old = tmp_path / "python3"
    # argv: -I -B -c SCRIPT mark root digest size ephemeral
    old.write_text(
        '#!/bin/sh\nprintf \'\\n%s{"python": "3.6.9", "executable": "/usr/bin/python3.6", "error": "python-too-old"}\\n\' "$5"\n'
    )
    old.chmod(0o755)

    with pytest.raises(PythonMissing) as caught, make_session(tmp_path / "root", python=str(old)):
        pass

    assert caught.value.code == "python-too-old"
    assert "3.6.9" in caught.value.message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_read_only(tmp_path: Path) -> None:
    """The message names the folder."""
    tmp_path.chmod(0o500)

    with pytest.raises(ReadOnly), make_session(tmp_path / "root"):
        pass


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """Nothing is overwritten."""
    (tmp_path / "root").write_text("precious")

    with pytest.raises(AgentError), make_session(tmp_path / "root"):
        pass

    assert (tmp_path / "root").read_text() == "precious"


def content(path: Path, data: bytes) -> Content:
    path.write_bytes(data)
    return Content(digest=file_digest(path), bytes=len(data), path=path, label=path.name)


def test_content_is_sent_once(session: Session, tmp_path: Path) -> None:
    """What is there already is not sent again."""
    file = content(tmp_path / "a.bin", os.urandom(100_000))

    first = ship(session, [file], Silent())
    second = ship(session, [file], Silent())

    assert (first.sent_bytes, first.already_there_bytes) == (100_000, 0)
    assert (second.sent_bytes, second.already_there_bytes) == (0, 100_000)


def test_an_upload_goes_on_where_it_stopped(session: Session, tmp_path: Path) -> None:
    """A part from an earlier, broken upload is used."""
    data = os.urandom(100_000)
    file = content(tmp_path / "a.bin", data)
    session.call("have", {"digests": [file.digest]})
    (Path(session.root) / "incoming" / f"{file.digest}.part").write_bytes(data[:60_000])

    shipped = ship(session, [file], Silent())

    assert (shipped.sent_bytes, shipped.resumed_bytes) == (40_000, 60_000)


def test_a_damaged_part_is_found_out_and_sent_whole(session: Session, tmp_path: Path) -> None:
    """The device hashes what arrived; a wrong beginning costs one more upload, never a wrong model."""
    file = content(tmp_path / "a.bin", os.urandom(100_000))
    session.call("have", {"digests": [file.digest]})
    (Path(session.root) / "incoming" / f"{file.digest}.part").write_bytes(b"x" * 60_000)

    ship(session, [file], Silent())

    assert file_digest(Path(session.root) / "blobs" / file.digest) == file.digest


def test_rolling_back_nothing_says_what_is_missing(session: Session) -> None:
    """A code of its own, and the command that shows what is there."""
    session.lock("rollback", owner())

    with pytest.raises(NotInstalled) as caught:
        session.call("rollback", {"app": "nothing", "timeout_s": 5})

    assert caught.value.code == "not-installed"
    assert "edgeopt status" in (caught.value.hint or "")


def test_a_wrong_verb_is_an_error_of_the_agent(session: Session) -> None:
    """Its code comes through."""
    with pytest.raises(AgentError) as caught:
        session.call("dance", {})

    assert caught.value.code == "unknown-verb"


def test_a_reopened_session_waits_for_its_own_earlier_lock(tmp_path: Path) -> None:
    """A board that has not noticed the dead connection yet says that we hold the lock; that passes by itself."""
    mine = owner()
    earlier = make_session(tmp_path / "root")
    earlier.open()
    earlier.lock("deploy", mine)
    with make_session(tmp_path / "root") as session:
        session._locked_for = ("deploy", mine)
        ending = threading.Timer(1.0, earlier.close)
        ending.start()

        session.reopen()

        ending.join()
        with make_session(tmp_path / "root") as other, pytest.raises(DeviceBusy):
            other.lock("deploy", owner())


def test_the_lock_of_a_run_of_ours_that_has_ended_is_waited_for(tmp_path: Path) -> None:
    """The board may not have noticed yet that the connection of a killed run is dead."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    gone = msgspec.structs.replace(owner(), pid=ended.pid, run="earlier")
    earlier = make_session(tmp_path / "root")
    earlier.open()
    earlier.lock("deploy", gone)
    ending = threading.Timer(1.0, earlier.close)
    ending.start()
    with make_session(tmp_path / "root") as session:
        session.lock("deploy", owner())
        ending.join()
