"""Content by digest."""

from __future__ import annotations

import hashlib
import os
import resource
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.errors import StoreError
from edgeopt.store.blobs import Blobs, file_digest, write_atomic


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


@pytest.fixture
def no_room() -> Iterator[None]:
    """No file of this process may grow, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


@given(st.binary(max_size=100))
def test_what_is_put_is_got(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """By its digest; putting again is nothing."""
    blobs = Blobs(tmp_path_factory.mktemp("blobs"))
    digest = blobs.put(content)
    assert digest == blobs.put(content) == hashlib.sha256(content).hexdigest()
    path = blobs.get(digest)
    assert path is not None
    assert path.read_bytes() == content
    assert file_digest(path) == digest


def test_a_file_is_copied(blobs: Blobs, tmp_path: Path) -> None:
    """The original stays where it is."""
    source = tmp_path / "x"
    source.write_bytes(b"abc" * 1_000_000)
    path = blobs.get(blobs.put_file(source))
    assert path is not None
    assert path.read_bytes() == source.read_bytes()


def test_what_was_never_put_is_none(blobs: Blobs) -> None:
    """So is anything in a folder that does not exist."""
    assert blobs.get("0" * 64) is None


@pytest.mark.parametrize("name", ["", "abc", "../" * 21 + "x", "A" * 64, "0" * 65])
def test_a_name_that_is_no_digest_is_a_mistake_of_the_caller(blobs: Blobs, name: str) -> None:
    """It never becomes a path."""
    with pytest.raises(ValueError, match="is not a sha256"):
        blobs.get(name)


def test_a_damaged_blob_is_removed(blobs: Blobs) -> None:
    """And can be put again."""
    digest = blobs.put(b"abc")
    path = blobs.get(digest)
    assert path is not None
    path.write_bytes(b"abd")
    assert blobs.get(digest) is None
    assert not path.exists()
    blobs.put(b"abc")
    assert blobs.get(digest) == path


def test_collecting_removes_what_was_used_longest_ago(blobs: Blobs) -> None:
    """Getting is using."""
    digests = [blobs.put(bytes([i]) * 10) for i in range(4)]
    for age, digest in enumerate(digests):
        path = blobs.get(digest)
        assert path is not None
        os.utime(path, (1000 + age, 1000 + age))
    assert blobs.get(digests[0]) is not None
    assert blobs.collect(25) == 20
    assert [blobs.get(digest) is not None for digest in digests] == [True, False, False, True]
    assert blobs.collect(20) == 0
    assert blobs.collect(0) == 20


def test_collecting_nothing_is_nothing(blobs: Blobs) -> None:
    """No folder yet."""
    assert blobs.collect(0) == 0


def test_many_threads_may_put_the_same(blobs: Blobs) -> None:
    """One file, whole."""
    content = bytes(range(256)) * 5000
    threads = [threading.Thread(target=blobs.put, args=(content,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    path = blobs.get(hashlib.sha256(content).hexdigest())
    assert path is not None
    assert [each.name for each in path.parent.iterdir()] == [path.name]


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    """It says what to do."""
    with pytest.raises(StoreError, match="cannot be written: File too large") as caught:
        blobs.put(b"abc")
    assert "free space" in str(caught.value.hint)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_files_in_the_way_are_sentences(tmp_path: Path) -> None:
    """Reading, writing and cleaning."""
    (tmp_path / "blobs").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be (read|written)"):
        Blobs(tmp_path / "blobs").put(b"x")
    with pytest.raises(StoreError, match="absent: cannot be read: No such file"):
        Blobs(tmp_path / "b").put_file(tmp_path / "absent")


def test_a_folder_that_cannot_be_cleaned_is_a_sentence(tmp_path: Path) -> None:
    """The kernel's list of open files, in which nothing can be removed by anybody."""
    (tmp_path / "x").write_text("open")
    with (tmp_path / "x").open(), pytest.raises(StoreError, match="cannot be cleaned: Operation not permitted"):
        Blobs(Path("/proc/self")).collect(0)


def test_a_file_that_changes_while_it_is_copied_is_refused(blobs: Blobs) -> None:
    """The kernel has one that differs at every reading."""
    with pytest.raises(StoreError, match="changed while it was read"):
        blobs.put_file(Path("/proc/sys/kernel/random/uuid"))


def test_an_atomic_write_replaces_and_obeys_the_umask(tmp_path: Path) -> None:
    """Private only when asked."""
    path = tmp_path / "x"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    write_atomic(tmp_path / "y", b"", mode=0o600)
    assert (tmp_path / "y").stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["x", "y"]


def test_an_atomic_write_that_fails_leaves_the_old_content(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """And no other file."""
    path = tmp_path / "x"
    write_atomic(path, b"one")
    request.getfixturevalue("no_room")
    with pytest.raises(OSError, match="File too large"):
        write_atomic(path, b"two")
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("x", b"one")]
