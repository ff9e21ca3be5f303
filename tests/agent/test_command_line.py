"""The agent's command line, and the interpreters that it finds itself under."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edgeopt_agent
from tests.agent.client import Client, fake_runtime


def run(python: str, agent: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", str(agent), *argv], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


def test_it_says_what_it_is(python: str, agent_zip: Path) -> None:
    assert (
        run(python, agent_zip, "version").stdout
        == f"edgeopt-agent {edgeopt_agent.__version__}, protocol {edgeopt_agent.PROTOCOL}\n"
    )


def test_it_runs_from_its_folder_too(python: str) -> None:
    assert run(python, Path(edgeopt_agent.__file__).parent, "version").returncode == 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "required"),
        (("serve",), "--root"),
        (("serve", "--root", "/x", "--sentinel", "short"), "32 lower-case hex digits"),
        (("serve", "--root", "/x", "--sentinel", "A" * 32), "32 lower-case hex digits"),
        (("serve", "--root", "/x", "--sentinel", "a" * 32, "--runtimes", "y"), "--runtimes: y is not absolute"),
    ],
)
def test_what_is_wrong_is_named(python: str, agent_zip: Path, argv: tuple[str, ...], words: str) -> None:
    done = run(python, agent_zip, *argv)
    assert done.returncode == 2
    assert words in done.stderr


def test_a_runtime_that_the_user_installed_for_himself_is_found_and_loads(
    agent_zip: Path, root: Path, tmp_path: Path
) -> None:
    """`pip install --user`: an application's interpreter sees it, so the agent does, although it runs isolated."""
    import io
    import zipfile

    python = Path(sys.base_prefix, "bin", "python3")
    if not python.exists():
        pytest.skip("no base interpreter")
    minor = subprocess.run(
        [python, "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    )
    site = tmp_path / "home" / ".local" / "lib" / minor.stdout.strip() / "site-packages"
    with zipfile.ZipFile(io.BytesIO(fake_runtime("pass"))) as archive:
        archive.extractall(site)
    with Client(str(python), agent_zip, root, environment={"HOME": str(tmp_path / "home")}) as client:
        found = client.call("probe")["runtimes"]
    assert [(item["version"], item["source"], item["site"]) for item in found] == [("9.9.9", "python", None)]
