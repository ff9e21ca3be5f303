"""`make bench`: every figure of docs/benchmarks.md, one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PARTS = ("startup.py", "agent.py", "upload.py")


def main() -> None:
    here = Path(__file__).resolve().parent
    failed = []
    for part in PARTS:
        print(f"\n== {part}", flush=True)
        if subprocess.run([sys.executable, str(here / part)], check=False).returncode:
            failed.append(part)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
