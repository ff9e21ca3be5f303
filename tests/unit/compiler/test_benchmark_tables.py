"""The tables of docs/compression.md are written case by case: a run of some cases must not lose the others'."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).resolve().parents[3] / "benchmarks" / "compression"


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark's module; its siblings have everyday names, so none stays importable."""
    pytest.importorskip("ai_edge_litert")
    monkeypatch.syspath_prepend(str(HERE))
    names = {path.stem for path in HERE.glob("*.py")}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import table  # type: ignore[import-not-found]

    yield table
    for name in names:
        sys.modules.pop(name, None)


BLOCK = "\n\n### One\n\nold one\n\n| a |\n\n### Two\n\nold two\n\n"


def test_a_section_is_replaced_in_its_place_and_the_others_stay(table):
    assert table.spliced(BLOCK, {"One": "### One\n\nnew"}) == "### One\n\nnew\n\n### Two\n\nold two"
    assert table.spliced(BLOCK, {"Two": "### Two\n\nnew"}) == "### One\n\nold one\n\n| a |\n\n### Two\n\nnew"


def test_new_sections_come_last_and_nothing_written_changes_nothing(table):
    assert table.spliced(BLOCK, {"Three": "### Three"}).endswith("old two\n\n### Three")
    assert table.spliced(BLOCK, {}) == BLOCK.strip()
    assert table.spliced("\n", {"One": "### One"}) == "### One"


def test_titles_that_begin_alike_are_two(table):
    assert table.spliced("### One and a half\n\nold", {"One": "### One"}) == "### One and a half\n\nold\n\n### One"


def test_only_what_stands_between_the_marks_is_written(table, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before ### One\n{table.BEGIN}{BLOCK}{table.END}\n### After\n")
    result = table.CaseResult(name="two", title="Two", calibrated="a", scored="b", target=None, rows=[], latencies={})
    table.write_docs(page, [result])
    text = page.read_text()
    assert text.startswith(
        f"before ### One\n{table.BEGIN}\n\n### One\n\nold one\n\n| a |\n\n### Two\n\nCalibrated on a"
    )
    assert "old two" not in text
    assert text.endswith(f"\n\n{table.END}\n### After\n")


def test_a_page_without_marks_is_refused(table, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(SystemExit, match="no marks"):
        table.write_docs(page, [])
