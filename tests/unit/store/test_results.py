"""Runs are saved, found, listed; the database can always be made again from the files."""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from edgeopt.domain.goal import Goal
from edgeopt.domain.pick import Pick, Summary
from edgeopt.domain.run import Run
from edgeopt.errors import RunUnreadable, StoreError, UnknownName
from edgeopt.store.index import SCHEMA, Index
from edgeopt.store.results import ResultsStore
from tests.builders import make_fidelity, make_run

FIRST, SECOND, THIRD = "20261124-013045-7f3a9c", "20261124-013046-0b11aa", "20261201-000000-ffffff"


def run_of(run_id: str, **changes: Any) -> Run:
    return make_run(rounds=2, id=run_id, **changes)


def summary(candidate: str) -> Summary:
    return Summary(
        candidate=candidate,
        variant="int8",
        threads=0,
        encoding="int8 dynamic",
        size_bytes=1_000_000,
        blocks=8,
        flagged_blocks=0,
        failed_blocks=0,
        p50_ms=5.0,
        p50_low_ms=4.9,
        p50_high_ms=5.1,
        p90_ms=5.5,
        ratio=0.5,
        ratio_low=0.49,
        ratio_high=0.51,
        load_ms=20.0,
        first_ms=9.0,
        peak_memory_bytes=2**33,
        energy_mj=None,
        agreement=0.99,
        agreement_lower=0.97,
        agreement_where="device",
        verdict="trusted",
        reasons={"energy_mj": "no sensor"},
    )


PICK = Pick(
    status="picked",
    goal=Goal(),
    candidate="int8@all",
    variant="int8",
    reason="the fastest",
    summaries=(summary("original@all"), summary("int8@all")),
)
NONE = Pick(status="goal-not-met", goal=Goal(max_size_mb=0.1), candidate=None, variant=None, reason="all too large")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "data" / "runs"


@pytest.fixture
def store(url: str, runs: Path) -> ResultsStore:
    return ResultsStore(url, runs)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/data/runs.sqlite"


def test_a_run_reads_back_equal(store: ResultsStore, runs: Path) -> None:
    """With its pick; both files are for their owner's eyes."""
    run = run_of(FIRST)
    store.save_run(run, PICK)
    assert store.load_run(FIRST) == run
    assert store.load_pick(FIRST) == PICK
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in runs.iterdir()} == {
        f"{FIRST}.json": "0o600",
        f"{FIRST}.pick.json": "0o600",
    }


def test_a_run_is_found_by_its_beginning_or_as_the_last(store: ResultsStore) -> None:
    """When the beginning fits one only."""
    for run_id in (SECOND, THIRD, FIRST):
        store.save_run(run_of(run_id), PICK)
    assert store.load_run("last").id == THIRD
    assert store.load_run("202612").id == THIRD
    assert store.load_run(f"{FIRST}").id == FIRST
    with pytest.raises(UnknownName, match=f'"20261124" begins 2 runs: {FIRST}, {SECOND}') as caught:
        store.load_run("20261124")
    assert caught.value.code == "unknown-run"


@pytest.mark.parametrize("name", ["", "x", "last", "../secret", FIRST])
def test_an_unknown_run_is_a_sentence(store: ResultsStore, name: str) -> None:
    """Before and after there are any."""
    with pytest.raises(UnknownName, match="no runs have been saved yet"):
        store.load_run(name)
    store.save_run(run_of(SECOND), PICK)
    if name != "last":
        with pytest.raises(UnknownName, match=r'no run ".*" among 1'):
            store.load_pick(name)


def test_a_list_has_the_newest_first(store: ResultsStore) -> None:
    """With the chosen candidate's summary; by app, by device, at most so many."""
    store.save_run(run_of(FIRST), PICK)
    store.save_run(run_of(SECOND, app="other"), NONE)
    store.save_run(run_of(THIRD, device=msgspec.structs.replace(run_of(THIRD).device, name="hall")), PICK)
    rows = store.list_runs()
    assert [row.id for row in rows] == [THIRD, SECOND, FIRST]
    assert (rows[2].status, rows[2].candidate, rows[2].summary) == ("picked", "int8@all", summary("int8@all"))
    assert (rows[1].status, rows[1].candidate, rows[1].summary) == ("goal-not-met", None, None)
    assert rows[0].file == f"{THIRD}.json"
    assert [row.id for row in store.list_runs(app="other")] == [SECOND]
    assert [row.id for row in store.list_runs(device="hall", app="tiny")] == [THIRD]
    assert [row.id for row in store.list_runs(limit=2)] == [THIRD, SECOND]


def test_a_later_pick_leaves_the_run_alone(store: ResultsStore, runs: Path) -> None:
    """It takes the place of the earlier pick."""
    store.save_run(run_of(FIRST), PICK)
    before = (runs / f"{FIRST}.json").read_bytes()
    store.save_pick("last", NONE)
    assert (runs / f"{FIRST}.json").read_bytes() == before
    assert store.load_pick(FIRST) == NONE
    assert store.list_runs()[0].status == "goal-not-met"


def test_raw_runs_are_never_overwritten(store: ResultsStore) -> None:
    """Saving the same again is nothing; saving another under its id is an error."""
    store.save_run(run_of(FIRST), PICK)
    store.save_run(run_of(FIRST), NONE)
    assert len(store.list_runs()) == 1
    with pytest.raises(StoreError, match="another run is kept under this id"):
        store.save_run(run_of(FIRST, app="other"), PICK)
    assert store.load_run(FIRST).app == "tiny"


@pytest.mark.parametrize("run_id", ["", "../x", "a/b", "x.pick", "."])
def test_an_id_that_is_no_file_name_is_refused(store: ResultsStore, run_id: str) -> None:
    """Nothing is written outside of the folder."""
    with pytest.raises(StoreError, match="the id is not a file name"):
        store.save_run(run_of(run_id), PICK)


def test_the_index_is_made_again_from_the_files(store: ResultsStore, runs: Path) -> None:
    """Unreadable runs are named, lost ones are dropped, runs without a pick are kept."""
    for run_id in (FIRST, SECOND, THIRD):
        store.save_run(run_of(run_id), PICK)
    (runs / f"{FIRST}.json").unlink()
    (runs / f"{SECOND}.json").write_text("{")
    (runs / f"{THIRD}.pick.json").unlink()
    made = store.reindex()
    assert made.count == 1
    assert list(made.unreadable) == [SECOND]
    assert [(row.id, row.status) for row in store.list_runs()] == [(THIRD, None)]
    assert store.load_pick(THIRD) is None


def test_a_new_database_learns_of_the_runs_that_are_there(
    store: ResultsStore, url: str, runs: Path, tmp_path: Path
) -> None:
    """So losing it loses nothing."""
    store.save_run(run_of(FIRST), PICK)
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        for table in ("edgeopt_run", "edgeopt_schema_version"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
    assert [row.id for row in ResultsStore(url, runs).list_runs()] == [FIRST]
    other = ResultsStore(f"sqlite:///{tmp_path}/elsewhere/x.sqlite", runs)
    assert other.load_run("last").id == FIRST
    assert [row.id for row in other.list_runs()] == [FIRST]


def test_other_computers_runs_stay_in_a_shared_database(store: ResultsStore, url: str) -> None:
    """Making the index again concerns only the own ones."""
    store.save_run(run_of(FIRST), PICK)
    theirs = msgspec.structs.replace(store.list_runs()[0], id=SECOND, host="another-computer")
    Index(url).put([theirs])
    store.reindex()
    assert [row.id for row in store.list_runs()] == [SECOND, FIRST]


def set_version(url: str, version: int) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE edgeopt_schema_version SET version = :version"), {"version": version})


def test_an_older_index_is_made_again(store: ResultsStore, url: str, runs: Path) -> None:
    """It holds nothing that the files do not."""
    store.save_run(run_of(FIRST), PICK)
    set_version(url, SCHEMA - 1)
    assert [row.id for row in ResultsStore(url, runs).list_runs()] == [FIRST]
    assert not Index(url).prepare()


def test_a_newer_index_is_left_alone(store: ResultsStore, url: str, runs: Path) -> None:
    """Listing says what to do; a run can be read all the same."""
    store.save_run(run_of(FIRST), PICK)
    set_version(url, SCHEMA + 1)
    with pytest.raises(StoreError, match=f"has schema {SCHEMA + 1}, this edgeopt knows {SCHEMA}"):
        store.list_runs()
    assert store.load_run(FIRST).id == FIRST


def test_many_may_begin_at_once(url: str, runs: Path) -> None:
    """Threads with stores of their own stand in for processes: nobody fails, nothing is lost."""
    ids = [f"20261124-01304{i}-7f3a9c" for i in range(8)]
    failures: list[Exception] = []

    def save(run_id: str) -> None:
        try:
            ResultsStore(url, runs).save_run(run_of(run_id), PICK)
        except Exception as error:  # noqa: BLE001  # reported below
            failures.append(error)

    threads = [threading.Thread(target=save, args=(run_id,)) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [row.id for row in ResultsStore(url, runs).list_runs()] == sorted(ids, reverse=True)


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_newer_run_says_what_reads_it(store: ResultsStore, runs: Path) -> None:
    """Not that it is damaged."""
    store.save_run(run_of(FIRST), PICK)
    edited(runs / f"{FIRST}.json", schema=2)
    with pytest.raises(RunUnreadable, match="has schema 2, this edgeopt reads 1") as caught:
        store.load_run(FIRST)
    assert "pip install --upgrade edgeopt" in str(caught.value.hint)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": "x"}', b'{"schema": 1}', b"\xff", b"[" * 100_000])
def test_a_damaged_run_is_named(store: ResultsStore, runs: Path, content: bytes) -> None:
    """Cut, emptied, or something else altogether."""
    store.save_run(run_of(FIRST), PICK)
    (runs / f"{FIRST}.json").write_bytes(content)
    with pytest.raises(RunUnreadable, match=f"{FIRST}.json: damaged") as caught:
        store.load_run(FIRST)
    assert caught.value.hint is not None
    with pytest.raises(RunUnreadable):
        store.save_pick(FIRST, PICK)


def test_a_changed_run_is_not_taken_for_the_measured_one(store: ResultsStore, runs: Path) -> None:
    """The index knows the digest."""
    store.save_run(run_of(FIRST), PICK)
    edited(runs / f"{FIRST}.json", app="other")
    with pytest.raises(RunUnreadable, match="was changed since it was saved"):
        store.load_run(FIRST)


def test_unknown_fields_are_passed_over_and_stay_in_the_file(store: ResultsStore, runs: Path) -> None:
    """A newer edgeopt of the same schema may have written them."""
    store.save_run(run_of(FIRST), PICK)
    edited(runs / f"{FIRST}.json", mood="good")
    store.reindex()
    assert store.load_run(FIRST) == run_of(FIRST)
    store.save_pick(FIRST, NONE)
    assert json.loads((runs / f"{FIRST}.json").read_text())["mood"] == "good"


def test_a_damaged_pick_is_named(store: ResultsStore, runs: Path) -> None:
    """The run itself stays readable."""
    store.save_run(run_of(FIRST), PICK)
    (runs / f"{FIRST}.pick.json").write_text("{}")
    with pytest.raises(RunUnreadable, match=r"\.pick\.json: damaged"):
        store.load_pick(FIRST)
    assert store.load_run(FIRST).id == FIRST


def test_a_run_that_could_not_be_read_back_is_not_written(store: ResultsStore, runs: Path) -> None:
    """NaN has no JSON; better to say so now."""
    run = run_of(FIRST, agreements={"original": make_fidelity(cosine=float("nan"))})
    with pytest.raises(StoreError, match="could not be read back"):
        store.save_run(run, PICK)
    assert not runs.exists()


def test_a_file_that_is_a_folder_is_a_sentence(store: ResultsStore, runs: Path) -> None:
    """As is any other that cannot be read."""
    (runs / f"{FIRST}.json").mkdir(parents=True)
    with pytest.raises(RunUnreadable, match="cannot be read: Is a directory"):
        store.load_run(FIRST)
    with pytest.raises(RunUnreadable, match="cannot be read: Is a directory"):
        store.save_run(run_of(FIRST), PICK)


def test_a_file_that_is_no_run_for_its_size_is_not_read(store: ResultsStore, runs: Path) -> None:
    """A sparse one here."""
    runs.mkdir(parents=True)
    with (runs / f"{FIRST}.json").open("wb") as stream:
        stream.truncate((1 << 30) + 1)
    with pytest.raises(RunUnreadable, match="is larger than 1,073,741,824 bytes"):
        store.load_run(FIRST)


def test_a_folder_of_runs_that_is_a_file_is_a_sentence(store: ResultsStore, runs: Path) -> None:
    """For reading and writing."""
    runs.parent.mkdir(parents=True)
    runs.write_text("in the way")
    with pytest.raises(StoreError, match="cannot be read: Not a directory"):
        store.load_run("last")
    with pytest.raises(StoreError, match="cannot be written"):
        store.save_run(run_of(FIRST), PICK)


@pytest.fixture
def no_room() -> Iterator[None]:
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, old)


@pytest.mark.usefixtures("no_room")
def test_a_full_disk_is_a_sentence_and_leaves_nothing(sqlite_url: str, runs: Path) -> None:
    """Here no file may grow."""
    store = ResultsStore(sqlite_url, runs)
    with pytest.raises(StoreError, match="cannot be written: File too large"):
        store.save_run(run_of(FIRST), PICK)
    assert list(runs.iterdir()) == []
    with pytest.raises(StoreError, match=r"runs\.sqlite: "):
        store.list_runs()


def test_a_locked_database_is_a_sentence_and_the_run_is_safe(sqlite_url: str, runs: Path, tmp_path: Path) -> None:
    """The file is there; the index catches up."""
    ResultsStore(sqlite_url, runs).list_runs()
    other = sqlite3.connect(tmp_path / "data" / "runs.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match="database is locked") as caught:
        ResultsStore(f"{sqlite_url}?timeout=0.01", runs).save_run(run_of(FIRST), PICK)
    assert "Another process" in str(caught.value.hint)
    other.close()
    store = ResultsStore(sqlite_url, runs)
    assert store.load_run("last").id == FIRST
    assert store.reindex().count == 1


def test_a_database_that_is_none_is_a_sentence_and_runs_stay_readable(
    sqlite_url: str, runs: Path, tmp_path: Path
) -> None:
    """With the way out."""
    ResultsStore(sqlite_url, runs).save_run(run_of(FIRST), PICK)
    for ending in ("", "-wal", "-shm"):
        (tmp_path / "data" / f"runs.sqlite{ending}").unlink(missing_ok=True)
    (tmp_path / "data" / "runs.sqlite").write_bytes(b"no database at all" * 100)
    store = ResultsStore(sqlite_url, runs)
    with pytest.raises(StoreError, match="file is not a database") as caught:
        store.list_runs()
    assert "Remove it" in str(caught.value.hint)
    assert store.load_run("last").id == FIRST


def test_a_read_only_database_is_a_sentence(sqlite_url: str, runs: Path, tmp_path: Path) -> None:
    """Reading goes on."""
    ResultsStore(sqlite_url, runs).save_run(run_of(FIRST), PICK)
    store = ResultsStore(f"sqlite:///file:{tmp_path}/data/runs.sqlite?mode=ro&uri=true", runs)
    assert [row.id for row in store.list_runs()] == [FIRST]
    with pytest.raises(StoreError, match="readonly") as caught:
        store.save_pick(FIRST, NONE)
    assert "owner" in str(caught.value.hint) or "owns" in str(caught.value.hint)


def test_a_read_only_database_without_tables_is_a_sentence(runs: Path, tmp_path: Path) -> None:
    """Nothing can be made in it."""
    sqlite3.connect(tmp_path / "x.sqlite").execute("PRAGMA journal_mode = WAL").connection.close()
    with pytest.raises(StoreError, match="readonly"):
        ResultsStore(f"sqlite:///file:{tmp_path}/x.sqlite?mode=ro&uri=true", runs).list_runs()


def test_a_row_that_the_database_refuses_changes_nothing(store: ResultsStore, url: str) -> None:
    """Not even those that were to go; it is tried again first, in case another process was in between."""
    store.save_run(run_of(FIRST), PICK)
    row = msgspec.structs.replace(store.list_runs()[0], id=SECOND, app=None)
    with pytest.raises(StoreError, match=r"(?i)null"):
        Index(url).put([row], remove=[FIRST])
    assert [row.id for row in store.list_runs()] == [FIRST]


def test_a_database_in_memory_needs_no_folder(runs: Path) -> None:
    """Each connection is a new one, so nothing is kept in it; runs are."""
    store = ResultsStore("sqlite://", runs)
    with pytest.raises(StoreError, match="no such table"):
        store.save_run(run_of(FIRST), PICK)
    assert store.load_run("last").id == FIRST


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("nonsense", "the results database: Could not parse"),
        ("nosuchdb://x", "nosuchdb://x: Can't load plugin"),
        ("sqlite:////proc/nowhere/x.sqlite", "/proc/nowhere"),
    ],
)
def test_a_wrong_url_is_a_sentence(runs: Path, url: str, sentence: str) -> None:
    """From the first use."""
    with pytest.raises(StoreError) as caught:
        ResultsStore(url, runs).list_runs()
    assert sentence in caught.value.message
    assert caught.value.hint


@pytest.mark.skipif("MySQLdb" in sys.modules, reason="the driver is installed")
def test_a_missing_driver_is_named_and_no_password_shown(runs: Path) -> None:
    """With the package."""
    with pytest.raises(StoreError, match="needs the Python package MySQLdb") as caught:
        ResultsStore("mysql://user:secret@host/db", runs).list_runs()
    assert "secret" not in caught.value.message
