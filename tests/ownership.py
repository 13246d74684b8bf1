"""What every statement on an owned table keeps to: it has its owner, one only, and any machine can run it."""

import re
from typing import Any

from backend.models import Base

# The owned tables of a statement, and the ways in which it can name the owner.
_OWNED = [table.name for table in Base.metadata.sorted_tables if "user_id" in table.c]
_TABLE = re.compile(rf"\b(?:FROM|INTO|UPDATE|JOIN) ({'|'.join(_OWNED)})\b(?: AS (\w+))?", re.IGNORECASE)
# Said of each: Citus does not see through an outer join that another table's owner is the same.
_OWNER = r"\b{1}\.user_id = (?:\$\d|\?|')|INSERT INTO {0} \((?:id, )?user_id,"
# Where PostgreSQL is told who that is: in a condition, and as the first of the values of a row, or as the
# second where a row brings its id.
_OWNERS = re.compile(r"user_id = \$(\d+)|(?:VALUES |\), )\(\$(\d+)")
_OWNERS_BESIDE_ID = re.compile(r"user_id = \$(\d+)|(?:VALUES |\), )\(\$\d+(?:::\w+)?, \$(\d+)")

# Citus decides once where an UPDATE runs, and refuses within its CASE and COALESCE what is not the same each
# time that it is asked; as a subquery it is asked once.
_CHANGING = re.compile(
    r"(?<!\(SELECT )\b(?:now|\w*_timestamp|timeofday|random|\w*uuid|nextval)\(|\b(?:CURRENT|LOCAL)_?TIME",
    re.IGNORECASE,
)


# How far the logs of many have come is asked for them all: docs/decisions/event-streams.md.
_OF_MANY = re.compile(
    r"SELECT change_counters\.user_id, change_counters\.seq\s+FROM change_counters\s+"
    r"WHERE change_counters\.user_id (?:= ANY\(\$1::\w+\[\]\)|IN \(SELECT value FROM json_each\(\?\)\))"
)


def objection(statement: str, parameters: Any) -> str | None:
    """Say which rule a statement breaks, as the driver gets it with its parameters; None where none."""
    if _OF_MANY.fullmatch(statement):
        return None
    tables = _TABLE.findall(statement)
    for table, alias in tables:
        if not re.search(_OWNER.format(table, alias or table), statement, re.IGNORECASE):
            return "a statement on an owned table without its owner"
    if not tables:
        return None
    for values in parameters if isinstance(parameters, list) else [parameters]:
        owners = _OWNERS_BESIDE_ID if "(id, user_id," in statement else _OWNERS
        places = [int(place) for found in owners.findall(statement) for place in found if place]
        if len({values[place - 1] for place in places}) > 1:
            return "a statement on the rows of two owners"
    if statement.startswith("UPDATE") and _CHANGING.search(statement):
        return "an UPDATE with a clock that is no subquery: use utc_now()"
    return None
