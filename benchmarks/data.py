"""The data of the benchmarks: users, and tasks as people have them."""

import asyncpg

USERS = 100
TASKS = 50_000


# Filled without its indexes and foreign key, and given them afterwards, the table is ready much sooner.
_INDEXES = (
    "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'tasks' AND indexname <> 'tasks_pkey'"
)
_REFERENCE = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'tasks_user_id_fkey'"


async def load(url: str, tasks: int = TASKS, users: int = USERS, own: int = 0) -> None:
    """Fill the service's empty tables: `own` tasks of `user-1`, and then one of each user in turn."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        await connection.execute(
            f"""INSERT INTO "user" (id, name, email, "emailVerified")
            SELECT 'user-' || n, 'User ' || n, 'user-' || n || '@example.com', true
            FROM generate_series(1, {users}) n"""
        )
        indexes = await connection.fetch(_INDEXES)
        reference = await connection.fetchval(_REFERENCE)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['indexname']}")
        await connection.execute("ALTER TABLE tasks DROP CONSTRAINT tasks_user_id_fkey")
        await connection.execute(
            f"""INSERT INTO tasks (user_id, title, description, completed, completed_at, priority, tags,
                due_at, due_day, timezone, created_at, updated_at)
            SELECT 'user-' || CASE WHEN n <= {own} THEN 1 ELSE 1 + (n - 1) % {users} END,
                'Task number ' || n || ' of the list',
                CASE WHEN n % 2 = 0 THEN 'A description of ordinary length, ' || md5(n::text) END,
                n % 3 = 0, CASE WHEN n % 3 = 0 THEN now() - n % 1000 * interval '1 hour' END, 1 + n / 7 % 3,
                CASE WHEN n % 4 = 0 THEN '{{home,urgent}}'::text[] ELSE '{{}}'::text[] END,
                CASE WHEN n % 5 < 2 THEN date_trunc('day', now()) + n % 100 * interval '1 day' END,
                CASE WHEN n % 5 = 0 THEN (now() + n % 100 * interval '1 day')::date END, 'UTC',
                now() - ({tasks} - n) * interval '7.000013 seconds',
                now() - n % 500 * interval '1.03 hours'
            FROM generate_series(1, {tasks}) n"""
        )
        for index in indexes:
            await connection.execute(index["indexdef"])
        await connection.execute(f"ALTER TABLE tasks ADD CONSTRAINT tasks_user_id_fkey {reference}")
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
