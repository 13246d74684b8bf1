"""The data of the benchmarks: users, and tasks as people have them."""

import asyncpg

USERS = 100
TASKS = 50_000


# Filled without its indexes and keys, and given them afterwards, the table is ready much sooner.
_KEYS = """SELECT conname AS name, pg_get_constraintdef(oid) AS definition FROM pg_constraint
           WHERE conrelid = 'tasks'::regclass AND contype IN ('p', 'f')"""
_INDEXES = """SELECT indexname AS name, indexdef AS definition FROM pg_indexes
              WHERE tablename = 'tasks' AND indexname <> 'tasks_pkey'"""


async def load(url: str, tasks: int = TASKS, users: int = USERS, own: int = 0) -> None:
    """Fill the service's empty tables: one task of each user in turn, and in between `own` of `user-1`."""
    every = tasks // own if own else tasks + 1
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        await connection.execute(
            f"""INSERT INTO "user" (id, name, email, "emailVerified")
            SELECT 'user-' || n, 'User ' || n, 'user-' || n || '@example.com', true
            FROM generate_series(1, {users}) n"""
        )
        indexes = await connection.fetch(_INDEXES)
        keys = await connection.fetch(_KEYS)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['name']}")
        for key in keys:
            await connection.execute(f"ALTER TABLE tasks DROP CONSTRAINT {key['name']}")
        await connection.execute(
            f"""INSERT INTO tasks (user_id, title, description, completed, completed_at, priority, tags,
                due_at, due_day, timezone, created_at, updated_at)
            SELECT 'user-' || CASE WHEN n % {every} = 0 THEN 1 ELSE 1 + (n - 1) % {users} END,
                'Task number ' || n || ' of the list',
                CASE WHEN h % 2 = 0 THEN 'A description of ordinary length, ' || md5(n::text) END,
                h % 3 = 0, CASE WHEN h % 3 = 0 THEN now() - h % 1000 * interval '1 hour' END, 1 + h / 7 % 3,
                CASE WHEN h % 4 = 0 THEN '{{home,urgent}}'::text[] ELSE '{{}}'::text[] END,
                CASE WHEN h % 5 < 2 THEN date_trunc('day', now()) + h % 100 * interval '1 day' END,
                CASE WHEN h % 5 = 0 THEN (now() + h % 100 * interval '1 day')::date END, 'UTC',
                now() - ({tasks} - n) * interval '7.000013 seconds',
                now() - h % 500 * interval '1.03 hours'
            FROM (SELECT n, abs(hashint8(n)::bigint) AS h FROM generate_series(1, {tasks}) n) AS numbered
            ORDER BY n"""
        )
        for index in indexes:
            await connection.execute(index["definition"])
        for key in keys:
            await connection.execute(f"ALTER TABLE tasks ADD CONSTRAINT {key['name']} {key['definition']}")
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


async def tidy(url: str, tasks: int = TASKS) -> None:
    """Take away what a measurement created, so that the next one meets the same table."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("DELETE FROM tasks WHERE id > $1", tasks)
        await connection.execute("VACUUM ANALYZE tasks")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
