"""The document that clients are generated from: `make openapi` writes it, tests/client compares it."""

import json
from pathlib import Path
from typing import Any

from backend.main import create_app
from backend.web.openapi import reachable
from tests.conftest import settings_for

FILE = Path(__file__).parent.parent / "client" / "openapi.json"
SERVER = {"url": "http://127.0.0.1:8000", "description": "`make run`"}


def for_generators() -> dict[str, Any]:
    """The service's document with one address for each thing, as a file: it says where the service is."""
    served = create_app(settings_for("sqlite://")).openapi()
    paths = {
        path: {method: spec for method, spec in item.items() if "x-internal" not in spec}
        for path, item in served["paths"].items()
    }
    paths = {path: item for path, item in paths.items() if item}
    schemas = served["components"]["schemas"]
    needed = reachable(served, paths)
    kept = {name: schemas[name] for name in schemas if name in needed}
    return {
        **served,
        "servers": [SERVER],
        "paths": paths,
        "components": served["components"] | {"schemas": kept},
    }


def written() -> str:
    """The file's text."""
    return json.dumps(for_generators(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(written())
