"""Content: verified before it counts, never sent twice, never outside of the tree, gone when nobody needs it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.client import Client, Refused, file_entry, wheel


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_what_is_missing_is_named_with_what_came_already(client: Client, root: Path) -> None:
    here, partly, absent = digest_of(b"here"), digest_of(b"partly"), digest_of(b"absent")
    client.put(b"here")
    (root / "incoming" / f"{partly}.part").write_bytes(b"par")
    assert client.call("have", digests=[here, partly, absent]) == {"missing": [partly, absent], "partial": {partly: 3}}


def test_what_the_storage_damaged_is_missing_again(client: Client, root: Path) -> None:
    """Of the right size, so that only its hash tells."""
    digest = client.put(b"content")
    (root / "blobs" / digest).write_bytes(b"c0ntent")
    assert client.call("have", digests=[digest]) == {"missing": [digest], "partial": {}}
    assert client.put(b"content") == digest
    assert client.call("have", digests=[digest])["missing"] == []


def test_a_commit_moves_verified_content_to_the_blobs(client: Client, root: Path) -> None:
    digest = client.put(b"content")
    assert (root / "blobs" / digest).read_bytes() == b"content"
    assert not list((root / "incoming").iterdir())


def test_committing_again_is_done(client: Client) -> None:
    digest = client.put(b"content")
    assert client.call("commit", digest=digest, bytes=7) == {}


def test_empty_content_is_content(client: Client) -> None:
    assert client.put(b"") == digest_of(b"")


@pytest.mark.parametrize("arrived", [b"contEnt", b"content and more", b"cont"], ids=["flipped", "longer", "shorter"])
def test_content_that_changed_on_the_way_is_refused_and_removed(client: Client, root: Path, arrived: bytes) -> None:
    digest = digest_of(b"content")
    client.call("have", digests=[digest])
    (root / "incoming" / f"{digest}.part").write_bytes(arrived)
    with pytest.raises(Refused, match="digest-mismatch"):
        client.call("commit", digest=digest, bytes=7)
    assert client.call("have", digests=[digest]) == {"missing": [digest], "partial": {}}


def test_committing_what_never_came_is_refused(client: Client) -> None:
    with pytest.raises(Refused, match="missing-blob"):
        client.call("commit", digest=digest_of(b"x"), bytes=1)


def test_a_link_in_the_place_of_an_upload_is_not_followed(client: Client, root: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    digest = digest_of(b"secret")
    client.call("have", digests=[digest])
    (root / "incoming" / f"{digest}.part").symlink_to(secret)
    with pytest.raises(Refused, match="missing-blob"):
        client.call("commit", digest=digest, bytes=6)


def test_a_commit_says_after_every_mebibyte_how_far_it_is(tmp_path: Path) -> None:
    from edgeopt_agent.content import commit
    from edgeopt_agent.tree import Tree

    data, tree, said = bytes(5 << 19), Tree(str(tmp_path)), []
    (tmp_path / "incoming").mkdir()
    Path(tree.part(digest_of(data))).write_bytes(data)
    commit(tree, digest_of(data), len(data), said.append)
    assert said == [1 << 20, 2 << 20, 5 << 19]


def test_progress_is_not_said_more_often_than_wanted() -> None:
    from edgeopt_agent.content import at_most_every

    said: list[int] = []
    say = at_most_every(3600, said.append)
    say(1)
    assert said == []
    say = at_most_every(0, said.append)
    say(2)
    assert said == [2]


class TestStage:
    files = (file_entry("model.onnx", b"graph"), file_entry("data/weights.bin", b"weights"))

    def test_files_get_their_own_names(self, client: Client) -> None:
        client.put(b"graph")
        client.put(b"weights")
        folder = Path(client.call("stage", digest="a" * 64, files=self.files)["folder"])
        assert (folder / "model.onnx").read_bytes() == b"graph"
        assert (folder / "data" / "weights.bin").read_bytes() == b"weights"

    def test_staging_again_changes_nothing(self, client: Client) -> None:
        client.put(b"graph")
        client.put(b"weights")
        first = Path(client.call("stage", digest="a" * 64, files=self.files)["folder"]).stat()
        again = Path(client.call("stage", digest="a" * 64, files=self.files)["folder"]).stat()
        assert first == again

    def test_other_files_under_the_same_digest_replace_the_folder(self, client: Client) -> None:
        client.put(b"graph")
        client.put(b"other")
        client.call("stage", digest="a" * 64, files=[file_entry("model.onnx", b"graph")])
        folder = Path(client.call("stage", digest="a" * 64, files=[file_entry("model.onnx", b"other")])["folder"])
        assert (folder / "model.onnx").read_bytes() == b"other"

    def test_a_file_that_is_not_there_is_named_and_nothing_is_left(self, client: Client, root: Path) -> None:
        client.put(b"graph")
        with pytest.raises(Refused) as caught:
            client.call("stage", digest="a" * 64, files=self.files)
        assert caught.value.code == "missing-blob"
        assert caught.value.detail["digest"] == digest_of(b"weights")
        assert not list((root / "staged").iterdir())

    @pytest.mark.parametrize(
        "path",
        [
            "../x",
            "/etc/x",
            "a//b",
            "a/../b",
            "",
            ".",
            ".hidden",
            "a/",
            "a\0b",
            "a\nb",
            "ü",
            "x" * 64,
            "/".join(["abcdefghi"] * 21),
            "a\\b",
        ],
    )
    def test_a_path_that_is_not_plain_is_refused(self, client: Client, path: str) -> None:
        digest = client.put(b"x")
        with pytest.raises(Refused, match="bad-request"):
            client.call("stage", digest="a" * 64, files=[{"path": path, "digest": digest, "bytes": 1}])

    @pytest.mark.parametrize("paths", [("a", "a"), ("a", "a/b")])
    def test_paths_that_exclude_each_other_are_refused(self, client: Client, paths: tuple[str, str]) -> None:
        client.put(b"x")
        with pytest.raises(Refused, match="bad-request"):
            client.call("stage", digest="a" * 64, files=[file_entry(path, b"x") for path in paths])


class TestCollect:
    def test_blobs_that_are_not_kept_and_staged_folders_go(self, locked: Client, root: Path) -> None:
        kept, dropped = locked.put(b"kept"), locked.put(b"dropped")
        locked.call("stage", digest="a" * 64, files=[file_entry("x", b"kept")])
        assert locked.call("collect", keep=[kept])["freed_bytes"] == len(b"dropped")
        assert locked.call("have", digests=[kept, dropped])["missing"] == [dropped]
        assert not list((root / "staged").iterdir())

    def test_only_old_uploads_go(self, locked: Client, root: Path) -> None:
        old, young = "a" * 64, "b" * 64
        locked.call("have", digests=[])
        for digest in (old, young):
            (root / "incoming" / f"{digest}.part").write_bytes(b"1234")
        os.utime(root / "incoming" / f"{old}.part", (0, 0))
        assert locked.call("collect", keep=[])["freed_bytes"] == 4
        assert [path.name for path in (root / "incoming").iterdir()] == [f"{young}.part"]

    def test_engines_go_with_their_models(self, locked: Client, root: Path) -> None:
        kept, dropped = locked.put(b"kept"), locked.put(b"dropped")
        folder = root / "engines"
        folder.mkdir()
        for name in (f"{kept}.0.fp32.engine", f"{dropped}.0.fp16.engine", f"{'0' * 32}.engine"):
            (folder / name).write_bytes(b"1234")
        assert locked.call("collect", keep=[kept])["freed_bytes"] == len(b"dropped") + 8
        assert [path.name for path in folder.iterdir()] == [f"{kept}.0.fp32.engine"]

    def test_agents_go_except_this_one_and_the_one_that_is_imported(
        self, python: str, agent_zip: Path, root: Path
    ) -> None:
        folder = root / "agent"
        folder.mkdir(parents=True)
        own = folder / f"{digest_of(agent_zip.read_bytes())}.pyz"
        own.write_bytes(agent_zip.read_bytes())
        (folder / "old.pyz").write_bytes(b"old")
        for path in folder.iterdir():
            os.utime(path, (0, 0))
        with Client(python, own, root) as client:
            client.lock()
            assert client.call("collect", keep=[])["freed_bytes"] == 3
        assert sorted(path.name for path in folder.iterdir()) == sorted([own.name, "edgeopt_agent.pyz"])
        assert (folder / "edgeopt_agent.pyz").resolve() == own


def mount(folder: Path, options: str) -> None:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "edgeopt-test", str(folder)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no mounts here: {done.stderr.decode().strip()}")


def _fill_inodes(folder: Path) -> int:
    return os.statvfs(folder).f_favail


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount(folder, "size=1m,nr_inodes=64")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


class TestDisk:
    def test_a_disk_without_inodes_is_full_and_says_what_is_lacking(
        self, start: Callable[..., Client], small_disk: Path
    ) -> None:
        client = start(root=small_disk / "edgeopt")
        client.put(b"x")
        for number in range(_fill_inodes(small_disk)):
            (small_disk / f"filler{number}").touch()
        with pytest.raises(Refused, match="inodes") as caught:
            client.call("stage", digest="a" * 64, files=[file_entry("d/x", b"x")])
        assert caught.value.code == "disk-full"
        assert caught.value.detail["path"].startswith(str(small_disk))

    def test_a_runtime_that_does_not_fit_is_refused_before_it_is_unpacked(
        self, start: Callable[..., Client], small_disk: Path
    ) -> None:
        client = start(root=small_disk / "edgeopt")
        client.lock()
        digest = client.put(wheel({"a.py": bytes(900_000)}))
        with pytest.raises(Refused) as caught:
            client.call("runtime", name="onnxruntime", version="1", wheels=[{"file": "a.whl", "digest": digest}])
        assert caught.value.code == "disk-full"
        assert 0 < caught.value.detail["free_bytes"] < 1 << 20
        assert not list((small_disk / "edgeopt" / "runtimes").iterdir())

    def test_the_lock_can_be_had_and_room_be_made_on_a_full_disk(
        self, start: Callable[..., Client], small_disk: Path
    ) -> None:
        client = start(root=small_disk / "edgeopt")
        client.put(bytes(100_000))
        with pytest.raises(OSError, match="No space"):
            (small_disk / "filler").write_bytes(bytes(2 << 20))
        client.lock()
        assert client.call("collect", keep=[])["freed_bytes"] == 100_000

    def test_a_read_only_disk_is_named(self, start: Callable[..., Client], small_disk: Path) -> None:
        client = start(root=small_disk / "edgeopt")
        client.call("have", digests=[])
        subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
        with pytest.raises(Refused) as caught:
            client.lock()
        assert caught.value.code == "read-only"
        assert client.call("probe")["disk"]["writable"] is False

    def test_a_disk_that_nothing_can_be_run_from_is_named(self, start: Callable[..., Client], small_disk: Path) -> None:
        client = start(root=small_disk / "edgeopt")
        subprocess.run(["mount", "-o", "remount,noexec", str(small_disk)], check=True)
        assert client.call("probe")["disk"]["noexec"] is True


@pytest.mark.parametrize("size", [0, 1 << 40], ids=["little", "a-lot"])
def test_both_implementations_hash_alike(size: int) -> None:
    from edgeopt_agent.digests import _start

    state = _start(size)
    state.update(b"content")
    assert state.hexdigest() == digest_of(b"content")
