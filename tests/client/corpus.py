"""What lists are compared over: tasks and queries of every kind, and all letters as they are folded."""

import json
import sys
import unicodedata
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from backend.words import fold, fold_tag, sort_key
from tests.tasks.test_lists import FILTERS, SPELT
from tests.test_words import IN_ORDER

ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Pacific/Apia", "Asia/Kathmandu"]
DUE = [
    None,
    "2020-01-01",
    "2026-03-29",
    "2031-05-05",
    "2035-12-31",
    "2031-05-05T10:00:00Z",
    "2026-10-25T00:30:00Z",
    "2026-10-25T01:30:00.5Z",
    "2031-05-05T23:30:00Z",
    "2035-12-31T12:00:00-11:00",
]
LISTS = {"tag", "priority"}
FLAGS = {"true": True, "false": False}


def tasks() -> list[dict[str, Any]]:
    """Tasks of every kind."""
    dated = [
        {"title": f"{due} {zone}", "due_date": due, "timezone": zone, "completed": number % 3 == 0}
        for number, (due, zone) in enumerate(product(DUE, ZONES))
    ]
    today = datetime.now(UTC).date()
    dated += [{"title": f"{n} days", "due_date": str(today + timedelta(days=n))} for n in range(-2, 3)]
    dated.append(
        {"title": "x", "due_date": "2026-11-21", "recurring_pattern": "daily", "recur_from": "completion"}
    )
    titled = [{"title": title, "priority": "high", "tags": ["Work"]} for title in [*IN_ORDER, *SPELT]]
    described = [
        {"title": "about the past", "description": "100% of_the\\Straße", "tags": ["home", "CAFÉ noir"]},
        {"title": "other", "description": "the past", "tags": ["Home", "work"], "priority": "low"},
        {"title": "THE past", "tags": ["cafe\u0301  noir"], "priority": "low"},
    ]
    return dated + titled + described


def queries() -> list[dict[str, Any]]:
    """Those of the service's own tests, and each with each sort."""
    found: list[dict[str, Any]] = [{}]
    for text, _ in FILTERS:
        query: dict[str, Any] = {}
        for name, value in parse_qsl(text):
            if name in LISTS:
                query.setdefault(name, []).append(value)
            else:
                query[name] = FLAGS.get(value, value)
        found.append(query)
    for name, due, zone in product(["due_before", "due_after"], DUE[1:], [None, *ZONES[1:3]]):
        found.append({name: due, "timezone": zone})
    found += [{"search": word} for word in SPELT] + [{"tag": [word]} for word in ("café NOIR", "WORK")]
    found += [{"created_after": day, "timezone": zone} for day, zone in product(["2020-01-01"], ZONES)]
    days = ["yesterday", "today", "tomorrow"]
    names = ["due_before", "due_after", "created_after", "updated_after"]
    found += [{name: day, "timezone": zone} for name, day, zone in product(names, days, [None, *ZONES[1:]])]
    found += [{"recur_from": "completion"}, {"recur_from": "due", "sort": "title"}]
    sorts = ["created", "updated", "title", "due_date", "priority"]
    found += [{"sort": sort, "order": order} for sort, order in product(sorts, ["asc", "desc", None])]
    found += [{"sort": "relevance", "search": "the past", "order": order} for order in ("asc", "desc")]
    return found


def folds() -> list[list[str]]:
    """Each character by itself and within a word, with what the service makes of it; but surrogates."""
    kinds = {"Cn", "Co", "Cs", "Cc"}
    letters = [chr(code) for code in range(0x30000) if unicodedata.category(chr(code)) not in kinds]
    # What has no case and no other form is its own: one in a hundred of them will do.
    special = [
        letter
        for number, letter in enumerate(letters)
        if fold(letter) != letter or unicodedata.combining(letter) or number % 100 == 0
    ]
    return [
        [text, fold(text), fold_tag(text), sort_key(text)] for letter in special for text in (f"a{letter}b",)
    ]


def write(path: Path) -> None:
    """Write it all down for the client's tests."""
    ordered = sorted(
        {sort_key(text) for text in [*IN_ORDER, *SPELT, "\U0001f600", "\uffee", "\ue000", "\ud7ff"]}
    )
    words = {"folds": folds(), "ordered": ordered}
    path.write_text(json.dumps({"corpus": {"tasks": tasks(), "queries": queries()}, "words": words}))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
