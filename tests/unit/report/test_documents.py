"""Documents for programs: what they hold, and that the committed schemas describe it."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from edgeopt.cli.schemas import schema_text, schemas, write_schemas
from edgeopt.domain.bundle import Release
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.report.documents import ErrorDocument, ErrorEntry
from edgeopt.report.json_report import bench_document, deploy_document, variants_document
from tests.builders import digest, make_built, make_model, make_pick, make_run, make_skipped
from tests.unit.report.strategies import stories

REPOSITORY = Path(__file__).resolve().parents[3]
COMMITTED = REPOSITORY / "docs" / "schemas"
RELEASE = Release(app="tiny", digest=digest("release"), previous=None)


def as_json(document: Any) -> Any:
    """Through the very bytes that the command line prints."""
    return json.loads(msgspec.json.encode(document))


def check(document: Any, name: str) -> None:
    validator(name).validate(as_json(document))


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(schemas()[name])


@given(story=stories())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=40, deadline=None)
def test_documents_of_any_run_keep_to_their_schemas(story: tuple[Run, Pick]) -> None:
    run, pick = story
    check(bench_document(run, pick), "bench")
    check(deploy_document(run, pick, RELEASE), "deploy")
    check(deploy_document(run, pick, None), "deploy")
    check(variants_document(run.model, run.variants), "variants")
    check(run, "run")
    check(pick, "pick")


def test_error_document_keeps_to_its_schema() -> None:
    entry = ErrorEntry(code="disk-full", message="full", hint=None, exit_code=4)
    check(ErrorDocument(error=entry), "error")


@pytest.mark.parametrize("name", sorted(schemas()))
def test_committed_schema_is_the_generated_one(name: str) -> None:
    """Regenerate with `python -m edgeopt.cli.schemas docs/schemas`."""
    assert (COMMITTED / f"{name}.json").read_text(encoding="utf-8") == schema_text(schemas()[name])


def test_nothing_but_schemas_is_committed_beside_them() -> None:
    assert {path.stem for path in COMMITTED.iterdir()} == set(schemas())


@pytest.mark.parametrize("schema", schemas().values(), ids=schemas())
def test_schemas_are_schemas(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


def test_schemas_are_written_into_a_new_folder(tmp_path: Path) -> None:
    write_schemas(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b" / "run.json").read_text(encoding="utf-8") == schema_text(schemas()["run"])


def test_schemas_module_writes_the_folder_that_it_is_given(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edgeopt.cli.schemas"]
    subprocess.run([*command, str(tmp_path)], check=True, cwd=REPOSITORY)
    assert {path.stem for path in tmp_path.iterdir()} == set(schemas())
    wrong = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True)
    assert (wrong.returncode, wrong.stderr.split()[0]) == (1, "usage:")


def test_bench_document_holds_the_pick_the_losers_and_the_conditions() -> None:
    run, pick = make_run(skipped=[make_skipped()]), make_pick()
    document = as_json(bench_document(run, pick))
    assert document["kind"] == "bench"
    assert (document["run"], document["device"], document["profile"]) == (run.id, "kitchen", "pi4")
    assert document["pick"] == {"candidate": "int8@all", "variant": "int8", "reason": pick.reason}
    assert document["losers"] == [{"name": "original@all", "reason": "slower than the picked one"}]
    assert [(v["name"], v["status"]) for v in document["variants"]] == [
        ("original", "built"),
        ("int8", "built"),
        ("fp16", "skipped"),
    ]
    assert document["conditions"]["runtime_version"] == "1.21.0"
    assert document["conditions"]["board"] == "Raspberry Pi 4 Model B Rev 1.4"
    assert "release" not in document


def test_goal_of_the_document_is_the_one_that_was_picked_by() -> None:
    """A later pick has other limits than the run."""
    pick = make_pick()
    goal = msgspec.structs.replace(pick.goal, max_size_mb=2.0)
    document = as_json(bench_document(make_run(), msgspec.structs.replace(pick, goal=goal)))
    assert document["goal"]["max_size_mb"] == 2.0


def test_deploy_document_tells_what_was_installed() -> None:
    document = as_json(deploy_document(make_run(), make_pick(), RELEASE))
    assert (document["kind"], document["release"]["digest"]) == ("deploy", RELEASE.digest)


def test_variants_document_names_files_below_its_folder() -> None:
    document = variants_document(make_model(), [make_built("int8"), make_skipped()])
    built, skipped = document["variants"]
    assert built["file"] == "int8/model.onnx"
    assert built["sha256"] == digest("int8")
    assert built["digest"] == digest("set int8")
    assert skipped["reason"] == "this CPU has no fp16 instructions"
    assert document["model"] == {"name": "tiny", "digest": digest("model"), "bytes": 4_000_000}
