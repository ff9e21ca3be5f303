"""The conversation: its beginning, its order, its end, and who may have the device."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeopt_agent import wire
from tests.agent.client import OWNER, Client, Refused, children_of, is_running, wait_until_gone


def test_hello_says_who_it_is(client: Client, root: Path) -> None:
    hello = client.call("hello", protocol=1, client={"host": "h", "pid": 1, "user": "u"})
    assert hello["protocol"] == wire.PROTOCOL
    assert hello["root"] == str(root)
    assert hello["pid"] == client.process.pid


def test_hello_names_the_agent_by_its_own_hash(python: str, agent_zip: Path, root: Path) -> None:
    import hashlib

    with Client(python, agent_zip, root) as client:
        assert client.call("hello", protocol=1)["agent_sha256"] == hashlib.sha256(agent_zip.read_bytes()).hexdigest()


@pytest.mark.parametrize("protocol", [0, 2, "1", None])
def test_hello_in_another_protocol_is_refused_with_the_own_one(client: Client, protocol: object) -> None:
    with pytest.raises(Refused) as caught:
        client.call("hello", protocol=protocol)
    assert (caught.value.code, caught.value.detail["protocol"]) == ("protocol", 1)


def test_requests_are_answered_in_order(client: Client) -> None:
    sent = [client.send("have", digests=[]) for _ in range(5)]
    answered = [m["id"] for m in (client.receive() for _ in range(5)) if m and m["id"]]
    assert answered == sent


def test_the_agent_beats_while_nothing_happens(client: Client) -> None:
    assert client.receive() == {"id": 0, "event": {"beat": 1}}


@pytest.mark.parametrize(
    ("verb", "args", "code"),
    [
        ("eval", {}, "unknown-verb"),
        ("__class__", {}, "unknown-verb"),
        ("have", {"digests": "all"}, "bad-request"),
        ("have", {"digests": ["A" * 64]}, "bad-request"),
        ("commit", {"digest": "../../etc/passwd", "bytes": 1}, "bad-request"),
        ("commit", {"digest": "0" * 64, "bytes": -1}, "bad-request"),
        ("commit", {"digest": "0" * 64, "bytes": True}, "bad-request"),
        ("stage", {"digest": "0" * 64, "files": [{"path": "../x", "digest": "0" * 64, "bytes": 1}]}, "bad-request"),
        ("sample", {"seconds": 1e9, "period_s": 1}, "bad-request"),
        ("sample", {"seconds": "1", "period_s": 1}, "bad-request"),
        ("lock", {"purpose": "x", "owner": []}, "bad-request"),
        ("lock", {"purpose": 1, "owner": {}}, "bad-request"),
        ("block", {}, "not-locked"),
        ("runtime", {}, "not-locked"),
        ("install", {}, "not-locked"),
        ("activate", {}, "not-locked"),
        ("rollback", {}, "not-locked"),
        ("collect", {}, "not-locked"),
    ],
)
def test_a_bad_request_is_refused_and_the_conversation_goes_on(
    client: Client, verb: str, args: dict[str, object], code: str
) -> None:
    with pytest.raises(Refused) as caught:
        client.call(verb, **args)
    assert caught.value.code == code
    assert client.call("have", digests=[]) == {"missing": [], "partial": {}}


def test_arguments_that_are_no_object_are_a_bad_request(client: Client) -> None:
    client.send_raw(wire.encode({"id": 1, "verb": "have", "args": []}))
    with pytest.raises(Refused, match="bad-request"):
        client.wait_for(1)


@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff\xff", b"\0\0\0\0", wire.encode({"verb": "status"}), wire.encode({"id": "1"}), b"\0\0\0\x02[]"],
    ids=["too-long", "empty", "no-id", "text-id", "no-object"],
)
def test_a_violation_of_the_protocol_ends_the_conversation(client: Client, data: bytes) -> None:
    client.send_raw(data)
    message = client.receive()
    assert message is not None
    assert message["error"]["code"] == "protocol"
    assert client.process.wait(10) == 1


def test_a_stream_that_ends_inside_a_frame_is_a_violation(client: Client) -> None:
    client.send_raw(b"\0\0")
    assert client.close() == 1


def test_more_requests_than_anybody_waits_for_end_the_conversation(client: Client) -> None:
    client.send("sample", seconds=60, period_s=60)
    client.send_raw(b"".join(wire.encode({"id": n, "verb": "have", "args": {"digests": []}}) for n in range(2, 80)))
    messages = iter(client.receive, None)
    assert any(m.get("error", {}).get("code") == "protocol" for m in messages)


def test_the_end_of_stdin_ends_the_agent(client: Client) -> None:
    assert client.close() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_ends_the_agent_as_the_end_of_stdin_does(client: Client, number: int) -> None:
    client.send("sample", seconds=60, period_s=0.05)
    client.process.send_signal(number)
    assert client.process.wait(10) == 0


def test_what_is_printed_to_stdout_does_not_get_into_the_wire(client: Client) -> None:
    """A library that prints, prints to the log."""
    target = Path(f"/proc/{client.process.pid}/fd/1").readlink()
    assert target == Path(f"/proc/{client.process.pid}/fd/2").readlink()


class TestLock:
    def test_a_second_session_is_told_who_has_the_device(self, start: Callable[..., Client]) -> None:
        first, second = start(), start()
        first.call("lock", purpose="bench", owner=OWNER)
        with pytest.raises(Refused) as caught:
            second.lock()
        assert caught.value.code == "busy"
        assert caught.value.detail["holder"]["owner"] == OWNER
        assert caught.value.detail["holder"]["purpose"] == "bench"

    def test_status_says_who_has_the_device(self, start: Callable[..., Client]) -> None:
        first, second = start(), start()
        assert second.call("status")["lock"] is None
        first.lock()
        assert first.call("status")["lock"]["owner"] == OWNER
        assert second.call("status")["lock"]["owner"] == OWNER

    def test_taking_it_twice_is_taking_it_once(self, locked: Client) -> None:
        locked.lock()

    def test_it_is_free_when_the_holder_has_left(self, start: Callable[..., Client]) -> None:
        first, second = start(), start()
        first.lock()
        first.close()
        second.lock()

    def test_it_is_free_when_the_holder_was_killed(self, start: Callable[..., Client]) -> None:
        first, second = start(), start()
        first.lock()
        first.kill()
        second.lock()

    def test_two_ephemeral_sessions_exclude_each_other(self, start: Callable[..., Client], tmp_path: Path) -> None:
        first, second = start("--ephemeral", root=tmp_path / "a"), start("--ephemeral", root=tmp_path / "b")
        first.lock()
        with pytest.raises(Refused, match="busy"):
            second.lock()

    def test_an_ephemeral_session_respects_the_persistent_lock(
        self, start: Callable[..., Client], root: Path, tmp_path: Path
    ) -> None:
        first = start()
        first.lock()
        second = start("--ephemeral", "--runtimes", str(root / "runtimes"), root=tmp_path / "b")
        with pytest.raises(Refused) as caught:
            second.lock()
        assert caught.value.detail["holder"]["owner"] == OWNER


class TestEphemeral:
    def test_the_disk_of_the_root_that_stays_is_told_without_making_it(
        self, start: Callable[..., Client], tmp_path: Path
    ) -> None:
        home = tmp_path / "home"
        home.mkdir()
        told = start("--ephemeral", "--runtimes", str(home / ".edgeopt" / "runtimes")).call("probe")

        assert told["lasting_disk"]["path"] == str(home)
        assert told["lasting_disk"]["writable"]
        assert told["disk"]["path"] != str(home)
        assert list(home.iterdir()) == []

    def test_nothing_is_left(self, start: Callable[..., Client], root: Path) -> None:
        client = start("--ephemeral")
        client.put(b"content")
        assert root.exists()
        assert client.close() == 0
        assert not root.exists()

    def test_nothing_is_left_when_the_agent_is_killed(self, start: Callable[..., Client], root: Path) -> None:
        client = start("--ephemeral")
        client.put(b"content")
        janitors = children_of(client.process.pid)
        client.kill()
        for pid in janitors:
            wait_until_gone(pid)
        assert janitors
        assert not any(map(is_running, janitors))
        assert not root.exists()

    def test_a_folder_that_holds_something_is_never_taken_for_a_fresh_one(
        self, python: str, agent_path: Path, root: Path
    ) -> None:
        root.mkdir()
        (root / "thesis.tex").write_text("years of work")
        with pytest.raises(AssertionError, match=r"thesis\.tex"):
            Client(python, agent_path, root, "--ephemeral")
        assert (root / "thesis.tex").exists()


class TestBadSurroundings:
    def test_it_works_without_home_and_locale(self, start: Callable[..., Client]) -> None:
        client = start(environment={"LC_ALL": "C"})
        assert client.call("probe")["system"] == "Linux"

    def test_it_works_with_a_umask_that_forbids_everything_to_others(self, start: Callable[..., Client]) -> None:
        before = os.umask(0o077)
        try:
            client = start()
        finally:
            os.umask(before)
        assert client.put(b"x")

    def test_a_root_that_needs_a_home_which_is_not_there_is_named(self, python: str, agent_path: Path) -> None:
        with pytest.raises(AssertionError, match="not absolute"):
            Client(python, agent_path, Path("somewhere"))

    def test_a_folder_that_cannot_be_made_is_read_only(self, start: Callable[..., Client]) -> None:
        client = start(root=Path("/proc/edgeopt"))
        with pytest.raises(Refused) as caught:
            client.call("have", digests=[])
        assert caught.value.code in ("read-only", "io-error")
        assert caught.value.detail["path"].startswith("/proc/")
