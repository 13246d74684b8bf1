"""The log of changes, read backwards: it leads from the tasks that are there to none at all."""

import json
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

LISTS = ("tags", "tags_folded")
ERASED = {"erased": True}


async def replay(engine: AsyncEngine) -> None:
    """Fail unless each task is what the log says became of it, and nothing has changed beside the log."""
    image = "to_jsonb(tasks) AS image" if engine.dialect.name == "postgresql" else "*"
    async with engine.execution_options(unobserved=True).connect() as connection:

        async def read(sql: str) -> list[Any]:
            return list((await connection.execute(text(sql))).mappings())

        rows = await read(f"SELECT {image} FROM tasks")
        events = await read("SELECT * FROM task_events ORDER BY user_id, seq DESC, task_id")
        counters = {row["user_id"]: row for row in await read("SELECT * FROM change_counters")}
    rows = [row.get("image", row) for row in rows]
    tasks: dict[tuple[str, int], Any] = {(row["user_id"], row["id"]): _plain(dict(row)) for row in rows}
    seqs: dict[str, set[int]] = {owner: set() for owner in counters}
    for event in events:
        owner, seq, kind, before = (event[name] for name in ("user_id", "seq", "kind", "before"))
        key = owner, event["task_id"]
        was = _plain(json.loads(before) if isinstance(before, str) else before)
        seqs[owner].add(seq)
        after = tasks.pop(key, None)
        assert (after is None) == (kind == "deleted"), f"change {seq}: {key} was {kind}, and is {after}"
        assert after is None or after != was, f"change {seq}: {key} was {kind}, and is as before"
        if was is not None or kind != "created":
            tasks[key] = was or ERASED
    # What is erased, or forgotten, cannot be told.
    unmade = [key for key, image in tasks.items() if image is not ERASED and not counters[key[0]]["floor"]]
    assert not unmade, f"nothing in the log made {unmade}"
    for owner, counter in counters.items():
        numbers = set(range(counter["floor"] + 1, counter["seq"] + 1))
        assert seqs[owner] == numbers, f"the changes of {owner} are numbered {numbers}"


def _plain(image: dict[str, Any] | None) -> dict[str, Any] | None:
    """An image as both databases have it: SQLite's rows have their lists as text."""
    if image is None:
        return None
    lists = {name: json.loads(image[name]) for name in LISTS if isinstance(image[name], str)}
    return image | lists
