"""JSON Schemas of everything that edgeopt writes for programs: `python -m edgeopt.cli.schemas DIR`."""

from __future__ import annotations

import json
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from edgeopt.cli import documents
from edgeopt.domain.pick import Pick
from edgeopt.domain.run import Run
from edgeopt.profiles.config import ProjectConfig
from edgeopt.report.documents import BenchDocument, DeployDocument, ErrorDocument, ExplainDocument, VariantsDocument

_TYPES: dict[str, Any] = {
    "bench": BenchDocument,
    "config": ProjectConfig,
    "deploy": DeployDocument,
    "device": documents.DeviceDocument,
    "devices": documents.DevicesDocument,
    "doctor": documents.DoctorDocument,
    "error": ErrorDocument,
    "explain": ExplainDocument,
    "init": documents.InitDocument,
    "inspect": documents.InspectDocument,
    "pick": Pick,
    "plan": documents.PlanDocument,
    "profiles": documents.ProfilesDocument,
    "removed": documents.RemovedDocument,
    "rollback": documents.RollbackDocument,
    "run": Run,
    "runs": documents.RunsDocument,
    "setup": documents.SetupDocument,
    "status": documents.StatusDocument,
    "trust": documents.TrustDocument,
    "variants": VariantsDocument,
}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the schema (draft 2020-12) of every document, by its name."""
    dialect = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {name: dialect | _cleaned(msgspec.json.schema(kind)) for name, kind in _TYPES.items()}


def _cleaned(value: Any) -> Any:
    """Return a schema whose descriptions are the same on every Python: from 3.13 on docstrings lose their indentation when they are compiled."""
    if isinstance(value, dict):
        return {key: cleandoc(item) if _is_text(key, item) else _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, list) else value


def _is_text(key: str, item: Any) -> bool:
    return key == "description" and isinstance(item, str)


def schema_text(schema: dict[str, Any]) -> str:
    """Return the text of a schema file; the same for the same schema."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write `<name>.json` for every document into `folder`, which is made when needed."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, schema in schemas().items():
        (folder / f"{name}.json").write_text(schema_text(schema), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m edgeopt.cli.schemas DIR")
    write_schemas(Path(sys.argv[1]))
