"""A profile for people: on a terminal, and as a page of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeopt.cli.profile_pages import pages, stale, write_pages
from edgeopt.domain.board import Published, System
from edgeopt.domain.device import Profile
from edgeopt.measure.wheels import version_floors
from edgeopt.profiles.load import list_profiles, load_profile
from edgeopt.report.profile import WIDTH, lines, page, sections

REPOSITORY = Path(__file__).resolve().parents[3]
PROFILES = list_profiles()


def text_of(profile: Profile) -> str:
    return "\n".join(
        lines(
            profile,
            {"onnxruntime": {"onnxruntime": "1.19"}, "litert": {"ai-edge-litert": "2.0", "tflite-runtime": "2.13"}},
        )
    )


def test_what_a_pi_is_and_where_that_comes_from() -> None:
    said = text_of(load_profile("pi4"))

    for line in (
        "pi4: Raspberry Pi 4 Model B",
        "  cores: 4 x Cortex-A72 at 1.8 GHz",
        "  memory: 1 GB, 2 GB, 4 GB or 8 GB; 12.8 GB/s in theory",
        "  newest ONNX: opset 28, IR version 14",
    ):
        assert line in said.splitlines()
    assert "a Raspberry Pi 4 has no current sensor" in said
    assert "seen in a public source: BCM2711" in said
    assert "  versions, at least: ai-edge-litert 2.0 or tflite-runtime 2.13; onnxruntime 1.19" in said.splitlines()


def test_a_system_that_lacks_a_runtime_says_so() -> None:
    said = text_of(load_profile("generic-armv7"))

    assert "32-bit, ONNX Runtime: ONNX Runtime publishes no 32-bit ARM wheels" in said
    assert "tflite-runtime 2.14.0" in said


def test_a_bare_profile_says_only_what_it_knows() -> None:
    bare = Profile(name="bare", title="a\x1b[31m board", arch="aarch64", recipes=("clean",), power_reason="none known")
    said = text_of(bare)

    assert said.splitlines()[0] == "bare: a[31m board"
    assert [section.title for section in sections(bare, {})] == ["The board", "What is tried, in this order"]


def test_a_system_of_the_users_own_may_know_little() -> None:
    """A wheel that nobody looked up is `none`, and the day unknown."""
    wheels = (Published(runtime="ncnn", package="ncnn", version="1.0"),)
    known = System(name="known", title="Known", arch="aarch64", python="3.12", wheels=wheels)
    empty = System(name="empty", title="Empty", arch="aarch64", python="3.11", glibc="2.36")
    profile = Profile(
        name="own", title="own", arch="aarch64", recipes=(), power_sensor="ina219", systems=(known, empty)
    )
    said = text_of(profile)

    assert "  Known   3.12    ?      1.0   ?" in said.splitlines()
    assert "  Empty   3.11    2.36   none  ?" in said.splitlines()


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_every_profile_fits_a_terminal_and_makes_a_page(profile: Profile) -> None:
    """Tables may be wider; sentences are folded."""
    said = [line for line in lines(profile, version_floors()) if line.startswith("  ") and "  " not in line.strip()]
    assert all(len(line) <= WIDTH for line in said if len(line.split()) > 3)
    assert page(profile, version_floors()).startswith(f"# {profile.name}: {profile.title}\n\n## The board\n")


def test_the_pages_of_the_documentation_are_as_the_profiles_are() -> None:
    """Write them with: python -m edgeopt.cli.profile_pages docs/profiles."""
    assert stale(REPOSITORY / "docs" / "profiles") == ()


def test_no_page_is_left_of_a_profile_that_is_gone() -> None:
    by_hand = {"recognition.md", "own.md"}
    assert {path.name for path in (REPOSITORY / "docs" / "profiles").iterdir()} == set(pages()) | by_hand


def test_a_stale_page_is_named(tmp_path: Path) -> None:
    write_pages(tmp_path / "new")
    assert stale(tmp_path / "new") == ()
    (tmp_path / "new" / "pi4.md").write_text("old")
    (tmp_path / "new" / "pi5.md").unlink()
    assert stale(tmp_path / "new") == ("pi4.md", "pi5.md")
