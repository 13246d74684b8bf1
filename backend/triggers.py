"""The triggers that write down each change of a task, in the transaction that makes it.

A change is an event in `task_events`: the task, what became of it, and the row as it was before. All that a
transaction does has one number, the next of its user's counter. Whoever has taken a number keeps the counter
locked until its transaction ends, so numbers are committed in their order, and a reader that has seen one
misses none before it. Nothing here touches the rows of another user. See docs/decisions/change-log.md.
"""

from collections.abc import Mapping

from backend.engine.sqlite_transactions import CURRENT

_EVENTS = ("created", "INSERT"), ("updated", "UPDATE"), ("deleted", "DELETE")

# A transaction that changes a task twice leaves one event: what it was before, and what became of it in all.
# Citus cannot pass on a CASE of a value, `CASE kind WHEN`.
_AGAIN = """ON CONFLICT (user_id, seq, task_id) DO UPDATE SET kind = CASE
        WHEN EXCLUDED.kind = 'updated' THEN task_events.kind
        WHEN EXCLUDED.kind = 'deleted' THEN 'deleted'
        ELSE CASE WHEN task_events.before IS NULL THEN 'created' ELSE 'updated' END
    END;"""

# The first event of a transaction takes the next number for all of them.
_POSTGRESQL = f"""
CREATE OR REPLACE FUNCTION log_task() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    owner change_counters.user_id%TYPE;
    task bigint;
    image jsonb;
    own bigint := pg_current_xact_id()::text::bigint;
    number bigint;
BEGIN
    IF TG_OP = 'INSERT' THEN
        owner := NEW.user_id; task := NEW.id;
    ELSE
        owner := OLD.user_id; task := OLD.id; image := to_jsonb(OLD);
    END IF;
    SELECT seq INTO number FROM change_counters WHERE user_id = owner AND transaction_id = own;
    IF NOT FOUND THEN
        INSERT INTO change_counters AS c (user_id, seq, transaction_id) VALUES (owner, 1, own)
        ON CONFLICT (user_id) DO UPDATE SET seq = c.seq + 1, transaction_id = own
        RETURNING seq INTO number;
    END IF;
    INSERT INTO task_events (user_id, seq, task_id, kind, before)
    VALUES (owner, number, task, TG_ARGV[0], image)
    {_AGAIN}
    RETURN NULL;
END $$
"""  # noqa: S608 - text of our own


def dropped(dialect: str) -> list[str]:
    """The statements that take the triggers away, whether they are there or not."""
    on_table = " ON tasks" if dialect == "postgresql" else ""
    drops = [f"DROP TRIGGER IF EXISTS tasks_{kind}{on_table}" for kind, _ in _EVENTS]
    return [*drops, "DROP FUNCTION IF EXISTS log_task"] if dialect == "postgresql" else drops


def created(dialect: str, columns: Mapping[str, bool], user_table: str) -> list[str]:
    """The statements that make them, for a table `tasks` of these columns, by name whether each is a list.

    `user_table` is Better Auth's, quoted as its database wants it.
    """
    if dialect == "postgresql":
        return [_POSTGRESQL, *(_on_postgresql(kind, event) for kind, event in _EVENTS)]
    return [_on_sqlite(kind, event, dict(sorted(columns.items())), user_table) for kind, event in _EVENTS]


def _on_postgresql(kind: str, event: str) -> str:
    # What goes with its user leaves nothing behind: the cascade is a trigger too.
    only = {"UPDATE": "WHEN (OLD IS DISTINCT FROM NEW) ", "DELETE": "WHEN (pg_trigger_depth() = 0) "}
    return (
        f"CREATE OR REPLACE TRIGGER tasks_{kind} AFTER {event} ON tasks FOR EACH ROW {only.get(event, '')}"
        f"EXECUTE FUNCTION log_task('{kind}')"
    )


def _on_sqlite(kind: str, event: str, columns: Mapping[str, bool], user_table: str) -> str:
    row = "NEW" if event == "INSERT" else "OLD"
    image = "NULL" if event == "INSERT" else _image(columns)
    changed = " OR ".join(f"OLD.{name} IS NOT NEW.{name}" for name in columns)
    only = {
        "UPDATE": f"WHEN {changed} ",
        "DELETE": f"WHEN EXISTS (SELECT 1 FROM {user_table} WHERE id = OLD.user_id) ",  # noqa: S608 - its own name
    }
    return f"""
CREATE TRIGGER tasks_{kind} AFTER {event} ON tasks FOR EACH ROW {only.get(event, "")}BEGIN
    INSERT INTO change_counters (user_id, seq, transaction_id) VALUES ({row}.user_id, 1, ({CURRENT}))
    ON CONFLICT (user_id) DO UPDATE SET seq = seq + 1, transaction_id = excluded.transaction_id
    WHERE excluded.transaction_id IS NULL OR transaction_id IS NOT excluded.transaction_id;
    INSERT INTO task_events (user_id, seq, task_id, kind, before)
    SELECT user_id, seq, {row}.id, '{kind}', {image} FROM change_counters WHERE user_id = {row}.user_id
    {_AGAIN}
END"""  # noqa: S608 - names of our own


def _image(columns: Mapping[str, bool]) -> str:
    # A list is JSON already, and would become a text in quotes.
    members = (
        f"'{name}', " + (f"json(OLD.{name})" if is_list else f"OLD.{name}")
        for name, is_list in columns.items()
    )
    return f"json_object({', '.join(members)})"
