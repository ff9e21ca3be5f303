"""What the first second of a user's day looks like."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    "torch",
    "onnx",
    "onnxruntime",
    "onnxslim",
    "openvino",
    "numpy",
    "sqlalchemy",
    "paramiko",
    "PIL",
    "rich",
    "msgspec",
    "distributed",
)


def test_help_imports_nothing_heavy() -> None:
    """`edgeopt --help` is quick because it imports next to nothing."""
    script = (
        "import sys; sys.argv = ['edgeopt', '--help']\n"
        "from edgeopt.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.rsplit("HEAVY ", 1)[1].strip() == "[]"
    assert "deploy" in done.stdout


def test_the_public_names_are_the_commands() -> None:
    """`import edgeopt` offers the commands and the version, and nothing else."""
    import edgeopt

    assert sorted(edgeopt.__all__) == ["__version__", "bench", "compile", "deploy"]
    for name in edgeopt.__all__:
        assert getattr(edgeopt, name)
