"""The dashboard and the alerts ask for what the service says, and for all of it."""

import json
import re
from pathlib import Path

from backend.telemetry.metrics import FAMILIES

DOCS = Path(__file__).parents[2] / "docs"


def metrics(text: str) -> set[str]:
    """The metrics that queries name, as they are called in FAMILIES."""
    named = re.findall(r"\b((?:task_api|process)_[a-z_]+)\b", text)
    return {re.sub("_(bucket|count|sum)$", "", name) for name in named}


def test_the_dashboard_shows_every_metric() -> None:
    """Each is in a panel, and no panel asks for one that is not there."""
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert metrics(" ".join(queries)) == FAMILIES.keys()
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_each_alert_says_what_to_do() -> None:
    """There are five, of metrics that exist, each with a summary and an action."""
    text = (DOCS / "alerts.yaml").read_text()
    alerts = text.split("- alert: ")[1:]
    assert len(alerts) == 5
    assert metrics(text) <= FAMILIES.keys()
    for alert in alerts:
        assert re.search(r"summary: .{20}", alert)
        assert re.search(r"action: >-\n +\S.{20}", alert)
