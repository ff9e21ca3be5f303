"""The example's modules are scripts in one folder, as a user would run them; here they are imported from there."""

from __future__ import annotations

import sys
from pathlib import Path

PARTS = Path(__file__).resolve().parents[3] / "examples" / "parts"

sys.path.append(str(PARTS))
