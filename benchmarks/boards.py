"""What profiles claim, asked anew: `python benchmarks/boards.py`.

Without an option: how well boards are recognised, on recordings of real ones below `--captures` (not part of the project; see tests/captures.py); `--docs` writes the table
into docs/profiles/recognition.md. `--wheels` resolves, with pip and for the tags of every system in device_profiles/systems, the newest wheel of each runtime, and prints what
is not as the file says. `--reads` prints the newest opset and IR version that the onnxruntime of this Python reads; run it in an environment for each version.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from edgeopt.domain.board import System
from edgeopt.measure.wheels import DevicePython, pip_arguments, version_floors
from edgeopt.profiles.load import list_profiles
from edgeopt.profiles.recognise import recognise
from tests.captures import Case, outcome, read_cases

REPOSITORY = Path(__file__).resolve().parents[1]
PAGE = REPOSITORY / "docs" / "profiles" / "recognition.md"
BEGIN, END = "<!-- table: benchmarks/boards.py --docs -->\n", "<!-- end of the table -->\n"
OUTCOMES = ("right", "ambiguous", "wrong")
PACKAGES = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai-edge-litert", "tflite-runtime"),
    "openvino": ("openvino",),
    "ncnn": ("ncnn",),
}
"""Runtime -> the packages that bring it, the preferred one first."""


def recognition(captures: Path) -> tuple[str, list[str]]:
    """Return the table in Markdown, and a line for every recording that is not right."""
    profiles = list_profiles()
    counts: Counter[tuple[str, str]] = Counter()
    lines = []
    cases = read_cases(captures)
    for case in cases:
        seen = recognise(case.facts, profiles)
        found = outcome(case, seen)
        counts[case.group, found] += 1
        if found != "right":
            lines.append(
                f"{found:<10} {_title(case)}: {seen.profile}, like {', '.join(seen.alike) or 'none'}; right is {case.right}"
            )
    rows = [("recordings", *OUTCOMES)]
    rows += [(group, *(str(counts[group, o]) for o in OUTCOMES)) for group in dict.fromkeys(c.group for c in cases)]
    rows.append(("all", *(str(sum(counts[g, o] for g in {c.group for c in cases})) for o in OUTCOMES)))
    text = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    first, _, rest = text.partition("\n")
    return f"{first}\n|---|---|---|---|\n{rest}", lines


def _title(case: Case) -> str:
    return f"{case.group}, {case.name}"


def write_page(table: str) -> None:
    """Put the table between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.partition(END)[2], encoding="utf-8")


def newest(system: System, requirement: str) -> str | None:
    """Return the version of a package that pip takes for the system's Python, None when there is no wheel for it."""
    machine = system.arch
    python = DevicePython(
        version=f"{system.python}.0",
        implementation="cpython",
        machine=machine,
        bits=32 if machine == "armv7l" else 64,
        libc="glibc",
        libc_version=system.glibc,
    )
    with tempfile.TemporaryDirectory() as folder:
        argv = pip_arguments([requirement], python, Path(folder))
        argv[argv.index("download")] = "install"
        argv[argv.index("--dest")] = "--target"
        done = subprocess.run(
            [*argv, "--dry-run", "--ignore-installed", "--report", "-"], capture_output=True, text=True, check=False
        )
    if "No matching distribution found" in done.stderr:
        return None
    done.check_returncode()
    (found,) = json.loads(done.stdout)["install"]
    return str(found["metadata"]["version"])


def at_least(runtime: str, package: str) -> str:
    """Return the package as a requirement with the oldest version that edgeopt takes."""
    floor = version_floors().get(runtime, {}).get(package)
    return package if floor is None else f"{package}>={floor}"


def wheels() -> bool:
    """Print what is not as the files say; return whether all is."""
    systems = {s.name: s for profile in list_profiles() for s in profile.systems if s.python}
    same = True
    for system in systems.values():
        told = {wheel.runtime: f"{wheel.package} {wheel.version}" for wheel in system.wheels}
        for runtime, packages in PACKAGES.items():
            found = next(
                (f"{package} {v}" for package in packages if (v := newest(system, at_least(runtime, package)))), None
            )
            if found != told.get(runtime):  # type: ignore[call-overload]
                same = False
                print(f"{system.name}: {runtime}: the file says {told.get(runtime)}, pip {found}", flush=True)  # type: ignore[call-overload]
    print("All is as the files say." if same else "The files are old.")
    return same


def reads() -> str:
    """Return the newest opset and IR version that a session is made from, by models of one Relu."""
    import onnxruntime
    from onnx import TensorProto, helper

    onnxruntime.set_default_logger_severity(4)
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])

    def opens(opset: int, ir_version: int) -> bool:
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - the runtime's own exceptions have no common base
            return False
        return True

    ir_version = max(version for version in range(3, 30) if opens(11, version))
    opset = max(version for version in range(7, 60) if opens(version, ir_version))
    return f"onnxruntime {onnxruntime.__version__} reads opset {opset}, IR version {ir_version}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--captures", type=Path, default=REPOSITORY.parent / "shared" / "testdata" / "captures")
    parser.add_argument("--docs", action="store_true", help="write the table into docs/profiles/recognition.md")
    parser.add_argument(
        "--wheels", action="store_true", help="resolve wheels anew; asks the package index some 80 times"
    )
    parser.add_argument("--reads", action="store_true", help="what the onnxruntime of this Python reads")
    options = parser.parse_args()
    if options.reads:
        print(reads())
        return 0
    if options.wheels:
        return 0 if wheels() else 1
    if not options.captures.is_dir():
        print(f"{options.captures}: no recordings there; name their folder with --captures")
        return 2
    table, lines = recognition(options.captures)
    print("\n".join([*lines, "", table]))
    if options.docs:
        write_page(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
