"""What the agent may be made of, and how large it may become."""

from __future__ import annotations

import ast
import io
import sys
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import edgeopt_agent
from edgeopt import __version__
from edgeopt.measure.agent_zip import build_agent, main, make_agent, without_docstrings

PACKAGE = Path(edgeopt_agent.__file__).parent


def imports_of(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            found.add((node.module or "").split(".")[0])
    return found


def test_it_imports_the_standard_library_only_except_in_runtimes() -> None:
    for path in PACKAGE.rglob("*.py"):
        foreign = imports_of(path) - set(sys.stdlib_module_names) - {"edgeopt_agent"}
        assert not foreign or path.parent.name == "runtimes", (path, foreign)


def test_runtimes_import_others_only_when_they_are_used() -> None:
    for path in (PACKAGE / "runtimes").glob("*.py"):
        top = {
            alias.name
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert top <= set(sys.stdlib_module_names), path


def test_nothing_is_evaluated_unpickled_or_run_by_a_shell() -> None:
    for path in PACKAGE.rglob("*.py"):
        assert not imports_of(path) & {"pickle", "marshal", "shelve", "socket", "ssl", "asyncio", "runpy"}, path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = (
                    node.func.id
                    if isinstance(node.func, ast.Name)
                    else node.func.attr
                    if isinstance(node.func, ast.Attribute)
                    else ""
                )
                assert name not in ("eval", "exec", "system", "popen"), path
                assert not any(keyword.arg == "shell" for keyword in node.keywords), path


def test_the_zipapp_is_small_and_holds_sources_only() -> None:
    content, _ = build_agent()
    assert len(content) < 130_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
    assert names == sorted(names)
    assert "__main__.py" in names
    assert all(name.endswith(".py") for name in names)


def test_without_docstrings_every_line_of_code_is_where_it_was() -> None:
    for path in PACKAGE.rglob("*.py"):
        before, after = path.read_bytes(), without_docstrings(path.read_bytes())
        assert len(after.splitlines()) == len(before.splitlines())
        assert statements(after) == statements(before), path
        assert not any(is_text(node) for node in ast.walk(ast.parse(after))), path


def statements(source: bytes) -> list[tuple[int, str]]:
    """Return the code of a module with the numbers of its lines; texts and `pass` are none."""
    return [
        (node.lineno, ast.unparse(node))
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt)
        and not isinstance(node, ast.Pass | ast.ClassDef | ast.FunctionDef | ast.If | ast.With | ast.Try | ast.For)
        and not is_text(node)
    ]


def is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def test_people_still_have_the_help_of_what_they_start_and_call() -> None:
    with zipfile.ZipFile(io.BytesIO(build_agent()[0])) as archive:
        for name in ("load.py", "__main__.py"):
            assert archive.read(f"edgeopt_agent/{name}") == (PACKAGE / name).read_bytes()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (b'"""Doc."""\nx = 1\n', b"\nx = 1\n"),
        (b'class A:\n    """Doc.\n\n    More.\n    """\n', b"class A:\n    pass\n\n\n\n"),
        (b'def f():\n    """Doc."""\n    return "text"\n', b'def f():\n\n    return "text"\n'),
        (b'x = 1\n"""What x is."""\n', b"x = 1\n\n"),
    ],
)
def test_texts_that_are_statements_go(source: bytes, expected: bytes) -> None:
    assert without_docstrings(source) == expected


def test_the_zipapp_is_the_same_every_time() -> None:
    first = build_agent()
    make_agent.cache_clear()
    assert build_agent() == first


def test_threads_that_want_the_zipapp_at_once_wait_for_one_of_them() -> None:
    make_agent.cache_clear()
    all_there = threading.Barrier(8)
    with ThreadPoolExecutor(8) as threads:
        agents = [threads.submit(lambda: (all_there.wait(20), build_agent())[1]) for _ in range(8)]
    assert len({agent.result() for agent in agents}) == 1
    assert make_agent.cache_info().misses == 1


def test_the_zipapp_is_written_for_make_agent(tmp_path: Path) -> None:
    assert main([str(tmp_path / "dist" / "agent.pyz")]) == 0
    assert (tmp_path / "dist" / "agent.pyz").read_bytes() == build_agent()[0]
    assert main([]) == 2


def test_it_has_the_version_of_the_project() -> None:
    assert edgeopt_agent.__version__ == __version__
