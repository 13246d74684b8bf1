"""Which transaction it is that runs, for SQLite: PostgreSQL knows by itself.

A row of sqlite_sequence, SQLite's own table of numbers, is odd while a transaction of the service runs, and
another number each time. Outside of those each statement is a transaction, and has no number.
"""

from sqlalchemy import Connection

CURRENT = "SELECT seq FROM sqlite_sequence WHERE name = 'transaction' AND seq % 2 = 1"

_NEXT = "UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'transaction'"


def begin(connection: Connection) -> None:
    """Begin a transaction. By itself it would begin as a reader, and could not write beside another one."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    end(connection)


def end(connection: Connection) -> None:
    """Let what comes have another number: what is run now, or what comes after the commit."""
    cursor = connection.connection.cursor()  # the service's own affair: no statement that anybody waits for
    cursor.execute(_NEXT)
    cursor.close()
