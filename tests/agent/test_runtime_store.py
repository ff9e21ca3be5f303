"""Runtimes from wheels: unpacked once, found again, and never anything but plain files inside of their folder."""

from __future__ import annotations

import contextlib
import io
import json
import stat
import zipfile
from pathlib import Path

import pytest

from edgeopt_agent import runtime_store
from edgeopt_agent.errors import AgentError
from edgeopt_agent.wheel import unpack
from tests.agent.client import Client, Refused, fake_runtime, install_runtime, wheel


def row(digest: str, file: str = "a.whl") -> dict[str, str]:
    return {"file": file, "digest": digest}


class TestVerb:
    def test_wheels_become_a_folder_for_the_path(self, locked: Client, root: Path) -> None:
        a, b = (
            locked.put(wheel({"a/__init__.py": b"A"})),
            locked.put(wheel({"b.py": b"B", "x-1.data/purelib/c.py": b"C"})),
        )
        reply = locked.call("runtime", name="onnxruntime", version="1.0", wheels=[row(a), row(b, "b.whl")])
        site = Path(reply["site"])
        assert [(site / name).read_bytes() for name in ("a/__init__.py", "b.py", "c.py")] == [b"A", b"B", b"C"]
        assert site.parent == root / "runtimes" / reply["key"]
        record = json.loads((site.parent / "runtime.json").read_text())
        assert (record["name"], record["version"], record["bytes"]) == ("onnxruntime", "1.0", 3)

    def test_the_key_is_the_hash_of_the_sorted_wheel_digests(self) -> None:
        import hashlib

        a, b = "a" * 64, "b" * 64
        assert runtime_store.key_of([b, a]) == hashlib.sha256(f"{a}\n{b}".encode()).hexdigest()[:16]

    def test_the_wheels_go_but_count_as_there(self, locked: Client, root: Path) -> None:
        digest = locked.put(wheel({"a.py": b"A"}))
        locked.call("runtime", name="onnxruntime", version="1.0", wheels=[row(digest)])
        assert not (root / "blobs" / digest).exists()
        assert locked.call("have", digests=[digest])["missing"] == []

    def test_a_wheel_that_another_runtime_has_is_linked_and_not_sent_again(self, locked: Client, root: Path) -> None:
        numpy, first, second = (locked.put(wheel({f"{name}/__init__.py": name.encode()})) for name in ("np", "a", "b"))
        one = locked.call("runtime", name="onnxruntime", version="1.0", wheels=[row(first), row(numpy, "np.whl")])
        assert locked.call("have", digests=[numpy])["missing"] == []
        two = locked.call("runtime", name="litert", version="2.0", wheels=[row(second), row(numpy, "np.whl")])
        shared = [Path(made["site"]) / "np/__init__.py" for made in (one, two)]
        assert shared[1].read_bytes() == b"np"
        assert shared[0].samefile(shared[1]), "it takes no room again"
        assert (Path(two["site"]) / "b/__init__.py").read_bytes() == b"b"
        assert not (Path(two["site"]) / "a").exists()

    def test_what_was_shared_outlives_the_runtime_that_it_came_with(self, locked: Client) -> None:
        numpy, first, second = (locked.put(wheel({f"{name}.py": name.encode()})) for name in ("np", "a", "b"))
        locked.call("runtime", name="litert", version="1.0", wheels=[row(first), row(numpy)])
        newer = locked.call("runtime", name="litert", version="2.0", wheels=[row(second), row(numpy)])
        assert locked.call("collect", keep=[])["freed_bytes"] > 0
        assert (Path(newer["site"]) / "np.py").read_bytes() == b"np"
        assert locked.call("have", digests=[first, numpy])["missing"] == [first]

    def test_a_runtime_without_a_note_of_its_files_shares_nothing(self, locked: Client, root: Path) -> None:
        """One that was unpacked by an older agent: its wheels are sent again."""
        numpy = locked.put(wheel({"np.py": b"np"}))
        made = locked.call("runtime", name="onnxruntime", version="1.0", wheels=[row(numpy)])
        (Path(made["site"]).parent / "files.json").unlink()
        assert locked.call("have", digests=[numpy])["missing"] == [numpy]

    def test_unpacking_again_is_done(self, locked: Client) -> None:
        digest = locked.put(wheel({"a.py": b"A"}))
        args = {"name": "onnxruntime", "version": "1.0", "wheels": [row(digest)]}
        assert locked.call("runtime", **args) == locked.call("runtime", **args)

    def test_a_wheel_that_is_not_there_is_named(self, locked: Client) -> None:
        with pytest.raises(Refused, match="missing-blob"):
            locked.call("runtime", name="onnxruntime", version="1.0", wheels=[row("a" * 64)])

    @pytest.mark.parametrize("wheels", [[], "all", [{"file": "a.whl"}], [{"file": 1, "digest": "a" * 64}]])
    def test_wheels_that_are_no_wheels_are_a_bad_request(self, locked: Client, wheels: object) -> None:
        with pytest.raises(Refused, match="bad-request"):
            locked.call("runtime", name="onnxruntime", version="1.0", wheels=wheels)

    def test_an_unsafe_wheel_leaves_nothing(self, locked: Client, root: Path) -> None:
        digest = locked.put(wheel({"../../evil.py": b"x"}))
        with pytest.raises(Refused, match="bad-request"):
            locked.call("runtime", name="onnxruntime", version="1.0", wheels=[row(digest)])
        assert not list((root / "runtimes").iterdir())
        assert not list(root.rglob("evil.py"))

    def test_the_probe_names_a_runtime_that_loads(self, locked: Client) -> None:
        site = install_runtime(locked, fake_runtime("pass"))
        found = [item for item in locked.call("probe")["runtimes"] if item["source"] == "edgeopt"]
        key = Path(site).parent.name
        assert found == [
            {
                "name": "onnxruntime",
                "version": "9.9.9",
                "source": "edgeopt",
                "site": site,
                "key": key,
                "providers": ["CPUExecutionProvider"],
            }
        ]

    def test_the_probe_says_why_a_runtime_does_not_load(self, locked: Client) -> None:
        install_runtime(locked, fake_runtime("pass", top="import a_library_that_is_not_there"))
        facts = locked.call("probe")
        assert not [item for item in facts["runtimes"] if item["source"] == "edgeopt"]
        assert any("a_library_that_is_not_there" in reason for reason in facts["runtimes_reason"].values())

    def test_a_runtime_for_another_python_is_no_runtime(self, locked: Client) -> None:
        site = Path(install_runtime(locked, fake_runtime("pass")))
        record = json.loads((site.parent / "runtime.json").read_text())
        (site.parent / "runtime.json").write_text(json.dumps({**record, "python": "cp27"}))
        facts = locked.call("probe")
        assert not [item for item in facts["runtimes"] if item["source"] == "edgeopt"]
        assert any("cp27" in reason for reason in facts["runtimes_reason"].values())

    def test_collect_keeps_the_newest(self, locked: Client) -> None:
        install_runtime(locked, fake_runtime("pass", version="1.0"), version="1.0")
        site = install_runtime(locked, fake_runtime("pass", version="2.0"), version="2.0")
        assert locked.call("collect", keep=[])["freed_bytes"] > 0
        assert [item["version"] for item in locked.call("status")["runtimes"]] == ["2.0"]
        assert Path(site).is_dir()

    def test_an_ephemeral_session_sees_the_runtimes_of_the_persistent_root(
        self, start: object, locked: Client, root: Path, tmp_path: Path
    ) -> None:
        assert callable(start)
        site = install_runtime(locked, fake_runtime("pass"))
        locked.close()
        client: Client = start("--ephemeral", "--runtimes", str(root / "runtimes"), root=tmp_path / "b")
        assert site in [item["site"] for item in client.call("probe")["runtimes"]]
        client.close()
        assert Path(site).is_dir()


def archive_of(tmp_path: Path, *entries: tuple[zipfile.ZipInfo | str, bytes]) -> str:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, data in entries:
            archive.writestr(entry, data)
    return str(path)


def special(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | 0o777) << 16
    return entry


def refuse(path: str, tmp_path: Path) -> str:
    site = tmp_path / "inside" / "site"
    site.mkdir(parents=True)
    with pytest.raises(AgentError) as caught:
        unpack(path, "x.whl", str(site), lambda: None)
    assert caught.value.code == "bad-request"
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and site not in p.parents and p.name != "x.whl"]
    assert outside == []
    return str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "../evil",
        "a/../../evil",
        "/etc/evil",
        "a//evil",
        "./evil",
        "a\\..\\evil",
        "a\nb",
        "x" * 256,
        "/".join(["abcdefgh"] * 120),
    ],
)
def test_a_path_that_is_not_plain_is_refused(tmp_path: Path, name: str) -> None:
    assert "plain relative path" in refuse(archive_of(tmp_path, (name, b"x")), tmp_path)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_what_is_not_a_plain_file_is_refused(tmp_path: Path, kind: int) -> None:
    assert "not a plain file" in refuse(archive_of(tmp_path, (special("link", kind), b"/etc/passwd")), tmp_path)


def test_a_bomb_is_refused_before_it_goes_off(tmp_path: Path) -> None:
    assert "the limit" in refuse(archive_of(tmp_path, ("zeros", bytes(50 << 20))), tmp_path)


def test_a_file_that_is_longer_than_it_says_is_refused(tmp_path: Path) -> None:
    path = Path(archive_of(tmp_path, ("a", b"x" * 5000)))
    data = path.read_bytes().replace((5000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(data)
    refuse(str(path), tmp_path)


def test_a_name_that_appears_twice_is_refused(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive_of(tmp_path, ("a", b"1"), ("a", b"2"))
    assert "twice" in refuse(path, tmp_path)


def test_a_file_in_a_file_is_refused(tmp_path: Path) -> None:
    refuse(archive_of(tmp_path, ("a", b"1"), ("a/b", b"2")), tmp_path)


def test_unusual_compression_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("a", b"x" * 100)
    assert "compression" in refuse(str(path), tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip at all" * 10])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.whl").write_bytes(data)
    refuse(str(tmp_path / "x.whl"), tmp_path)


@pytest.mark.parametrize("position", range(0, 120, 7))
def test_a_damaged_archive_is_refused_or_unpacked_inside(tmp_path: Path, position: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.py", b"print(1)\n" * 50)
    data = bytearray(buffer.getvalue())
    data[position % len(data)] ^= 0x41
    (tmp_path / "x.whl").write_bytes(data)
    site = tmp_path / "site"
    site.mkdir()
    with contextlib.suppress(AgentError):
        unpack(str(tmp_path / "x.whl"), "x.whl", str(site), lambda: None)
    assert {path.name for path in site.rglob("*")} <= {path.name for path in site.iterdir()}


def test_scripts_and_headers_are_left_out(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    path = archive_of(
        tmp_path,
        ("a.py", b""),
        ("x.data/scripts/run", b""),
        ("x.data/headers/a.h", b""),
        ("x.data/platlib/b.so", b""),
        ("d/", b""),
    )
    unpack(path, "x.whl", str(site), lambda: None)
    assert sorted(str(p.relative_to(site)) for p in site.rglob("*") if p.is_file()) == ["a.py", "b.so"]
