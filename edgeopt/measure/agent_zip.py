"""Make the agent's zipapp from the package's own files: the same bytes every time, so that its hash says whether a device has it.

Docstrings stay at home: they are a quarter of it, and nobody reads them on a board. Lines keep their numbers, so that a traceback in the agent's log points into the sources.
"""

from __future__ import annotations

import ast
import hashlib
import io
import sys
import threading
import zipfile
from functools import lru_cache
from pathlib import Path

import edgeopt_agent

_SHEBANG = b"#!/usr/bin/env python3\n"
_MAIN = b'"""Entry of the zipapp."""\n\nimport sys\n\nfrom edgeopt_agent.__main__ import main\n\nsys.exit(main())\n'
_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_PLAIN_FILE = 0o100644 << 16
_UNIX = 3
_FOR_PEOPLE = ("edgeopt_agent/__main__.py", "edgeopt_agent/load.py")
"""What people start, or call from applications, keeps its docstrings, for `--help` and `help`."""


_ONE_AT_A_TIME = threading.Lock()
"""Many boards are opened at once, each in a thread, and CPython 3.11 counts the depth of the syntax trees of all threads together: two that parse may raise SystemError."""


def build_agent() -> tuple[bytes, str]:
    """Return the zipapp and its sha256 in hex. It is made once; threads wait for the first."""
    with _ONE_AT_A_TIME:
        return make_agent()


@lru_cache(maxsize=1)
def make_agent() -> tuple[bytes, str]:
    """Make what `build_agent` returns. Not for threads."""
    buffer = io.BytesIO()
    buffer.write(_SHEBANG)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted({"__main__.py": _MAIN, **_sources(Path(edgeopt_agent.__file__).parent)}.items()):
            archive.writestr(_entry(name), data)
    content = buffer.getvalue()
    return content, hashlib.sha256(content).hexdigest()


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _TIMESTAMP)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = _PLAIN_FILE
    entry.create_system = _UNIX
    return entry


def _sources(package: Path) -> dict[str, bytes]:
    files = {path.relative_to(package.parent).as_posix(): path.read_bytes() for path in package.rglob("*.py")}
    return {name: data if name in _FOR_PEOPLE else without_docstrings(data) for name, data in files.items()}


def without_docstrings(source: bytes) -> bytes:
    """Return a module in which every statement that is nothing but a string has become empty lines, or `pass` where a body would be empty."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        body = node.body if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) else []
        texts = [part for part in body if _is_text(part)]
        for text in texts:
            for number in range(text.lineno - 1, text.end_lineno or text.lineno):
                lines[number] = b"\n"
        if texts and len(texts) == len(body) and not isinstance(node, ast.Module):
            lines[texts[0].lineno - 1] = b" " * texts[0].col_offset + b"pass\n"
    return b"".join(lines)


def _is_text(part: ast.stmt) -> bool:
    return isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)


def main(argv: list[str]) -> int:
    """Write the zipapp to the path in `argv`; `python -m edgeopt.measure.agent_zip OUT`."""
    if len(argv) != 1:
        sys.stderr.write("usage: python -m edgeopt.measure.agent_zip OUT\n")
        return 2
    content, digest = build_agent()
    path = Path(argv[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755)
    sys.stdout.write(f"{path}: {len(content)} bytes, sha256 {digest}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
