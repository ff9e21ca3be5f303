"""Host start-up: `edgeopt --help` against the same interpreter doing nothing, interleaved.

Prints medians in ms and the difference: what edgeopt itself adds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

ROUNDS = 15


def once(argv: list[str]) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - begun) * 1e3


def main() -> None:
    help_argv = [
        sys.executable,
        "-c",
        "import sys; sys.argv=['edgeopt','--help']; from edgeopt.cli.main import main; main()",
    ]
    bare_argv = [sys.executable, "-c", "pass"]
    helps, bares = [], []
    for number in range(ROUNDS):
        for argv, series in ((help_argv, helps), (bare_argv, bares))[:: 1 if number % 2 else -1]:
            series.append(once(argv))
    result = {
        "help_ms": round(statistics.median(helps), 1),
        "bare_python_ms": round(statistics.median(bares), 1),
        "added_ms": round(statistics.median([h - b for h, b in zip(helps, bares, strict=True)]), 1),
        "rounds": ROUNDS,
    }
    print(f"edgeopt --help: {result['help_ms']} ms, of which {result['added_ms']} ms over bare Python")
    print(json.dumps({"startup": result}))


if __name__ == "__main__":
    main()
