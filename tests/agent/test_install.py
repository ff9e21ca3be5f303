"""Releases: whole before they count, healthy before they are switched to, and always one way back."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt_agent.app_state import App, true_history
from edgeopt_agent.heal import heal
from edgeopt_agent.install import install
from edgeopt_agent.tree import Tree
from tests.agent.client import Client, Refused, canonical, file_entry

VERSION = "1.0.0"


def manifest_of(files: dict[str, bytes], **changes: Any) -> tuple[dict[str, Any], str]:
    """Return a manifest and its digest."""
    manifest = {
        "schema": 1,
        "app": "app",
        "run": "r1",
        "variant": "int8",
        "encoding": "int8",
        "model": "model.onnx",
        "setting": {"runtime": "onnxruntime", "provider": "CPUExecutionProvider", "threads": 1},
        "runtime_version": VERSION,
        "inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 4]}],
        "files": [file_entry(path, data) for path, data in files.items()],
        "probe": {"inputs": "probe/inputs.npz", "outputs": "probe/outputs.npz", "rtol": 0.001, "atol": 0.001},
        "edgeopt_version": "0.1.0",
        **changes,
    }
    return manifest, hashlib.sha256(canonical(manifest)).hexdigest()


FILES = {"model.onnx": b"graph", "probe/inputs.npz": b"in", "probe/outputs.npz": b"out"}


def install_files(client: Client, files: dict[str, bytes], **changes: Any) -> tuple[str, Path]:
    """Install a release of these files; returns (digest, folder)."""
    for data in files.values():
        client.put(data)
    manifest, digest = manifest_of(files, **changes)
    return digest, Path(client.call("install", app="app", manifest=manifest, digest=digest)["folder"])


class TestInstall:
    def test_a_release_has_its_files_and_its_manifest(self, locked: Client, root: Path) -> None:
        digest, folder = install_files(locked, FILES)
        assert folder == root / "apps" / "app" / "releases" / digest
        assert {
            str(p.relative_to(folder)): p.read_bytes()
            for p in folder.rglob("*")
            if p.is_file() and p.name != "manifest.json"
        } == FILES
        assert hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest() == digest

    def test_nothing_is_switched(self, locked: Client) -> None:
        install_files(locked, FILES)
        (app,) = locked.call("status")["apps"]
        assert (app["current"], app["previous"]) == (None, None)

    def test_installing_again_is_done(self, locked: Client) -> None:
        assert install_files(locked, FILES) == install_files(locked, FILES)

    def test_a_broken_file_of_a_release_is_replaced(self, locked: Client) -> None:
        _, folder = install_files(locked, FILES)
        (folder / "model.onnx").unlink()
        (folder / "probe" / "inputs.npz").unlink()
        (folder / "probe" / "inputs.npz").write_bytes(b"xx")
        install_files(locked, FILES)
        assert (folder / "model.onnx").read_bytes() == b"graph"
        assert (folder / "probe" / "inputs.npz").read_bytes() == b"in"

    def test_a_blob_that_the_storage_lost_is_removed_so_that_it_is_sent_again(self, locked: Client, root: Path) -> None:
        digest, *_ = [locked.put(data) for data in FILES.values()]
        (root / "blobs" / digest).write_bytes(b"grapH")
        manifest, name = manifest_of(FILES)
        with pytest.raises(Refused, match="digest-mismatch"):
            locked.call("install", app="app", manifest=manifest, digest=name)
        assert locked.call("have", digests=[digest])["missing"] == [digest]
        install_files(locked, FILES)

    def test_a_missing_file_is_named_and_nothing_is_left(self, locked: Client, root: Path) -> None:
        manifest, digest = manifest_of(FILES)
        with pytest.raises(Refused, match=r"missing-blob: model\.onnx"):
            locked.call("install", app="app", manifest=manifest, digest=digest)
        assert not list(root.glob("apps/*/releases/*"))

    def test_a_manifest_of_another_digest_is_refused(self, locked: Client) -> None:
        manifest, _ = manifest_of(FILES)
        with pytest.raises(Refused, match="digest-mismatch"):
            locked.call("install", app="app", manifest=manifest, digest="0" * 64)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"schema": 2}, "newer edgeopt"),
            ({"app": "other"}, "other"),
            ({"files": []}, "files"),
            ({"files": [file_entry("../evil", b"x")]}, "plain names"),
            ({"files": [file_entry("manifest.json", b"x")]}, "own name"),
            ({"model": "nothing.onnx"}, "model is not among"),
            ({"model": 1}, "model is not among"),
            ({"probe": None}, "probe"),
            ({"probe": {"inputs": "x", "outputs": "y", "rtol": 0, "atol": 0}}, "probe.inputs is not among"),
            ({"probe": {"inputs": "x", "outputs": "y", "rtol": True, "atol": 0}}, "tolerances"),
            ({"setting": {"runtime": "sh", "provider": "x", "threads": 1}}, "setting"),
            ({"runtime_version": None}, "runtime_version"),
            ({"inputs": [{}]}, "inputs"),
            ({"run": "\ud800"}, "bad-request"),
        ],
    )
    def test_a_manifest_that_cannot_be_installed_is_refused(
        self, locked: Client, changes: dict[str, Any], words: str
    ) -> None:
        manifest, _ = manifest_of(FILES)
        manifest.update(changes)
        digest = hashlib.sha256(canonical(manifest)).hexdigest() if "run" not in changes else "0" * 64
        with pytest.raises(Refused, match="bad-request") as caught:
            locked.call("install", app="app", manifest=manifest, digest=digest)
        assert words in str(caught.value)

    @pytest.mark.parametrize("app", ["../x", "", ".", "a/b", "x" * 64, "ü", 1, None])
    def test_an_app_without_a_plain_name_is_refused(self, locked: Client, app: object) -> None:
        manifest, digest = manifest_of(FILES)
        with pytest.raises(Refused, match="bad-request"):
            locked.call("install", app=app, manifest=manifest, digest=digest)


class TestActivateWithoutRuntime:
    def test_a_release_whose_runtime_is_not_there_is_not_switched_to(self, locked: Client) -> None:
        digest, _ = install_files(locked, FILES)
        with pytest.raises(Refused, match="runtime-missing") as caught:
            locked.call("activate", app="app", digest=digest, timeout_s=10)
        assert caught.value.detail["version"] == VERSION
        assert locked.call("status")["apps"][0]["current"] is None

    def test_a_release_that_is_not_there_is_not_installed(self, locked: Client) -> None:
        with pytest.raises(Refused, match="not-installed"):
            locked.call("activate", app="app", digest="0" * 64, timeout_s=10)

    def test_a_release_with_a_flipped_bit_is_refused(self, locked: Client) -> None:
        digest, folder = install_files(locked, FILES)
        (folder / "model.onnx").write_bytes(b"grapH")
        with pytest.raises(Refused, match=r"digest-mismatch: model\.onnx"):
            locked.call("activate", app="app", digest=digest, timeout_s=10)

    def test_there_is_nothing_to_go_back_to_before_anything_was_installed(self, locked: Client) -> None:
        with pytest.raises(Refused, match="not-installed"):
            locked.call("rollback", app="app", timeout_s=10)


def release(tree: Tree, content: bytes) -> str:
    """Install a release in a tree with no agent in between; returns its digest."""
    files = {"model.onnx": content, "probe/inputs.npz": b"in", "probe/outputs.npz": b"out"}
    Path(tree.blobs).mkdir(parents=True, exist_ok=True)
    for data in files.values():
        Path(tree.blob(hashlib.sha256(data).hexdigest())).write_bytes(data)
    manifest, digest = manifest_of(files)
    install(tree, App(tree, "app"), manifest, digest, lambda _: None)
    return digest


@pytest.fixture
def tree(root: Path) -> Tree:
    return Tree(str(root))


@pytest.fixture
def app(tree: Tree) -> App:
    return App(tree, "app")


class TestSwitch:
    def test_current_and_previous_follow_the_switches(self, tree: Tree, app: App) -> None:
        a, b = release(tree, b"a"), release(tree, b"b")
        app.switch(a, None)
        assert (app.current(), app.linked_previous()) == (a, None)
        app.switch(b, None)
        assert (app.current(), app.linked_previous()) == (b, a)
        app.switch(a, None)
        assert (app.current(), app.linked_previous()) == (a, b)
        assert [entry["digest"] for entry in app.history()] == [a, b, a]

    def test_links_are_relative_so_that_the_root_can_be_moved(self, tree: Tree, app: App) -> None:
        a = release(tree, b"a")
        app.switch(a, None)
        assert str(Path(app.folder, "current").readlink()) == f"releases/{a}"

    def test_the_history_is_bounded(self, tree: Tree, app: App) -> None:
        a, b = release(tree, b"a"), release(tree, b"b")
        for number in range(60):
            app.switch((a, b)[number % 2], None)
        assert len(app.history()) == 50


class TestHeal:
    def test_an_intent_that_was_not_carried_out_is_dropped(self, tree: Tree, app: App) -> None:
        a, b = release(tree, b"a"), release(tree, b"b")
        app.switch(a, None)
        app._write_history([*app.history(), {"digest": b, "activated_at": "x", "by": None}])
        heal(tree)
        assert ([entry["digest"] for entry in app.history()], app.current()) == ([a], a)

    def test_a_first_intent_that_was_not_carried_out_leaves_no_history(self, tree: Tree, app: App) -> None:
        app._write_history([{"digest": release(tree, b"a"), "activated_at": "x", "by": None}])
        heal(tree)
        assert (app.history(), app.current()) == ([], None)

    def test_a_previous_that_was_not_set_any_more_is_set(self, tree: Tree, app: App) -> None:
        a, b = release(tree, b"a"), release(tree, b"b")
        app.switch(a, None)
        app.switch(b, None)
        Path(app.folder, "previous").unlink()
        heal(tree)
        assert app.linked_previous() == a

    def test_a_previous_that_names_nothing_whole_goes(self, tree: Tree, app: App) -> None:
        a, b = release(tree, b"a"), release(tree, b"b")
        app.switch(a, None)
        app.switch(b, None)
        Path(app.release(a), "model.onnx").unlink()
        heal(tree)
        assert (app.previous(), app.linked_previous()) == (None, None)
        assert not Path(app.release(a)).exists()

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 2}', '{"schema": 1, "history": [1, {"digest": "x"}]}'])
    def test_a_damaged_history_is_begun_again_with_what_is_current(self, tree: Tree, app: App, text: str) -> None:
        a = release(tree, b"a")
        app.switch(a, None)
        Path(app.folder, "state.json").write_text(text)
        heal(tree)
        assert [entry["digest"] for entry in app.history()] == [a]

    def test_the_current_release_is_kept_even_when_it_is_broken(self, tree: Tree, app: App) -> None:
        a = release(tree, b"a")
        app.switch(a, None)
        Path(app.release(a), "model.onnx").unlink()
        heal(tree)
        assert app.current() == a
        assert Path(app.release(a)).is_dir()

    def test_leftovers_go(self, tree: Tree, app: App) -> None:
        a = release(tree, b"a")
        dead = subprocess.Popen(["true"])
        dead.wait()
        for folder in (app.folder, app.releases, f"{app.release(a)}/probe"):
            Path(folder, ".tmp-1-x").mkdir()
        for folder in (tree.root, tree.staged, tree.agent):
            Path(folder, f".tmp-{dead.pid}-x").mkdir(parents=True)
        Path(tree.scratch, f"{dead.pid}-x").mkdir(parents=True)
        Path(tree.runtimes, "0" * 16).mkdir(parents=True)
        heal(tree)
        assert not list(Path(tree.root).rglob("*-x"))
        assert not list(Path(tree.runtimes).iterdir())

    def test_what_another_session_is_writing_without_the_lock_stays_for_a_day(self, tree: Tree) -> None:
        folders = [Path(tree.staged, ".tmp-1-x"), Path(tree.agent, ".tmp-0123456789abcdef"), Path(tree.scratch, "1-x")]
        for folder in folders:
            folder.mkdir(parents=True)
        heal(tree)
        assert all(folder.exists() for folder in folders)
        for folder in folders:
            os.utime(folder, (0, 0))
        heal(tree)
        assert not any(folder.exists() for folder in folders)

    def test_uploads_in_progress_are_kept(self, tree: Tree) -> None:
        Path(tree.incoming).mkdir(parents=True)
        Path(tree.part("a" * 64)).write_bytes(b"par")
        heal(tree)
        assert Path(tree.part("a" * 64)).exists()

    def test_an_agent_heals_when_it_starts(self, tree: Tree, app: App, start: Callable[..., Client]) -> None:
        app._write_history([{"digest": release(tree, b"a"), "activated_at": "x", "by": None}])
        start()
        assert app.history() == []

    def test_an_agent_does_not_heal_what_another_one_is_working_on(
        self, tree: Tree, app: App, start: Callable[..., Client]
    ) -> None:
        start().lock()
        app._write_history([{"digest": release(tree, b"a"), "activated_at": "x", "by": None}])
        second = start()
        assert second.call("have", digests=[])
        assert len(app.history()) == 1

    def test_who_takes_the_lock_heals(self, tree: Tree, app: App, start: Callable[..., Client]) -> None:
        first, second = start(), start()
        first.lock()
        app._write_history([{"digest": release(tree, b"a"), "activated_at": "x", "by": None}])
        first.close()
        second.lock()
        assert app.history() == []


digests = st.sampled_from("abcd")


@given(st.lists(digests), digests | st.none())
def test_a_healed_history_ends_with_what_is_current_and_invents_nothing(names: list[str], current: str | None) -> None:
    entries = [{"digest": name} for name in names]
    healed = [entry["digest"] for entry in true_history(entries, current)]
    assert healed[-1:] == ([current] if current else [])
    assert healed[:-1] == names[: len(healed[:-1])]


@given(st.lists(digests), digests | st.none())
def test_healing_twice_is_healing_once(names: list[str], current: str | None) -> None:
    once = true_history([{"digest": name} for name in names], current)
    assert true_history(once, current) == once


class TestCollect:
    def test_only_current_and_previous_stay(self, tree: Tree, app: App, start: Callable[..., Client]) -> None:
        a, b, c = (release(tree, content) for content in (b"a", b"b", b"c"))
        for digest in (a, b, c):
            app.switch(digest, None)
        client = start()
        client.lock()
        assert client.call("collect", keep=[])["freed_bytes"] > 0
        assert {path.name for path in Path(app.releases).iterdir()} == {b, c}
        assert (app.current(), app.previous()) == (c, b)
        assert Path(app.release(c), "model.onnx").read_bytes() == b"c"

    def test_engines_of_what_is_installed_stay(self, tree: Tree, app: App, start: Callable[..., Client]) -> None:
        for digest in [release(tree, content) for content in (b"a", b"b", b"c")]:
            app.switch(digest, None)
        Path(tree.engines).mkdir()
        for content in (b"a", b"b", b"c"):
            Path(tree.engines, f"{hashlib.sha256(content).hexdigest()}.0.fp32.engine").write_bytes(content)
        client = start()
        client.lock()
        client.call("collect", keep=[])
        assert sorted(path.read_bytes() for path in Path(tree.engines).iterdir()) == [b"b", b"c"]


def test_status_tells_what_is_installed_and_whether_it_is_whole(
    tree: Tree, app: App, start: Callable[..., Client]
) -> None:
    a, b = release(tree, b"a"), release(tree, b"b")
    app.switch(a, {"host": "h"})
    app.switch(b, None)
    client = start()
    (found,) = client.call("status")["apps"]
    assert (found["app"], found["current"], found["previous"], found["healthy_files"]) == ("app", b, a, True)
    assert found["setting"]["threads"] == 1
    assert {r["digest"] for r in found["releases"]} == {a, b}
    assert all(r["activated_at"] and r["variant"] == "int8" and r["bytes"] == 6 for r in found["releases"])
    Path(app.release(b), "model.onnx").write_bytes(b"B")
    assert client.call("status")["apps"][0]["healthy_files"] is False


def test_the_state_file_is_what_the_document_says(tree: Tree, app: App) -> None:
    a = release(tree, b"a")
    app.switch(a, {"host": "h"})
    state = json.loads(Path(app.folder, "state.json").read_text())
    assert state["schema"] == 1
    assert [(entry["digest"], entry["by"]) for entry in state["history"]] == [(a, {"host": "h"})]
    assert state["history"][0]["activated_at"].endswith("Z")
