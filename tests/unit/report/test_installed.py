"""What `status` says of a board."""

from __future__ import annotations

from typing import Any

from edgeopt.domain.installed import Holder, Installed, InstalledApp, InstalledRelease, InstalledRuntime
from edgeopt.report.installed import installed_lines
from tests.builders import digest

OLD, NEW = digest("old"), digest("new")


def make_release(name: str, **changes: Any) -> InstalledRelease:
    usual = {"variant": "int8-static", "bytes": 1_010_000, "activated_at": "2026-11-25T01:00:00Z"}
    return InstalledRelease(digest=name, **(usual | changes))


def make_app(*releases: InstalledRelease, **changes: Any) -> InstalledApp:
    return InstalledApp(**({"app": "parts", "current": NEW, "previous": OLD, "healthy_files": True, "releases": releases} | changes))  # fmt: skip


def said(*apps: InstalledApp, **changes: Any) -> list[str]:
    usual = {"apps": apps, "runtimes": (), "blobs_bytes": 13_700_000, "disk_free_bytes": 80_900_000_000}
    return list(installed_lines("kitchen", Installed(**(usual | changes))))


def test_an_empty_board_says_how_to_install_something() -> None:
    assert said()[0] == "kitchen: nothing is installed. Install something: edgeopt deploy --device kitchen"


def test_the_release_that_was_activated_last_stands_on_top() -> None:
    lines = said(
        make_app(make_release(OLD, variant="original"), make_release(NEW, activated_at="2026-11-25T02:00:00Z"))
    )

    assert lines[0] == "parts: files verified"
    assert lines[1].split() == [NEW[:12], "int8-static", "1.01", "MB", "2026-11-25T02:00:00Z", "current"]
    assert lines[2].split() == [OLD[:12], "original", "1.01", "MB", "2026-11-25T01:00:00Z", "previous"]


def test_damage_is_said_and_hides_nothing() -> None:
    """A manifest that cannot be read has neither name nor size."""
    damaged = make_release(NEW, variant=None, bytes=None, activated_at=None)
    lines = said(make_app(damaged, healthy_files=False, previous=None))

    assert lines[0] == "parts: FILES DAMAGED; deploy again, or roll back"
    assert lines[1].split() == [NEW[:12], "damaged", "manifest", "-", "MB", "-", "current"]


def test_an_app_of_which_nothing_is_current_is_not_called_damaged() -> None:
    assert said(make_app(current=None, healthy_files=False))[0] == "parts: nothing is current"


def test_space_and_runtimes_are_in_megabytes_and_unknown_is_not_0() -> None:
    runtime = InstalledRuntime(name="onnxruntime", version="1.20.1", key="a" * 16, bytes=43_000_000)

    assert said(runtimes=(runtime,))[1:] == [
        "runtime onnxruntime 1.20.1: 43.0 MB",
        "content kept: 13.7 MB, free on the disk: 80.9 GB",
    ]
    assert said(disk_free_bytes=None)[-1] == "content kept: 13.7 MB"


def test_who_uses_the_board_is_a_sentence() -> None:
    owner = {"host": "desk", "pid": 4711, "user": "ann", "run": "20261125-010000-abcdef"}
    holder = Holder(owner=owner, purpose="deploy", since="2026-11-25T01:00:00Z")

    assert said(lock=holder)[-1] == "in use by ann on desk (process 4711): deploy since 2026-11-25T01:00:00Z"
    assert "somebody on another computer" in said(lock=Holder())[-1]


def test_a_board_cannot_steer_the_terminal() -> None:
    lines = said(make_app(make_release(NEW, variant="\x1b[31mred", activated_at="\x1b]0;title\x07")))

    assert "\x1b" not in "".join(lines)
    assert "\x07" not in "".join(lines)
