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


def test_ctrl_c_in_a_callback_of_the_interpreter_is_not_lost() -> None:
    """There it cannot be raised: Python prints a traceback and goes on, unless it comes again."""
    script = (
        "import os, signal, time, weakref\n"
        "from edgeopt.cli import main as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Module: pass\n"
        "def callback(gone):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    for _ in range(100): pass\n"  # Python looks for signals when it jumps back
        "def work(standalone_mode):\n"
        "    module = Module()\n"
        "    watched = weakref.ref(module, callback)\n"
        "    del module\n"
        "    time.sleep(30)\n"
        "cli.edgeopt.main = work\n"
        "cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=50)

    assert done.returncode == 130
    assert done.stderr.startswith("error[interrupted]: stopped")
    assert "Traceback" not in done.stderr
