"""The tables as a database has them: under the names and types of the users' ids that the settings say."""

from functools import partial
from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    Connection,
    DefaultClause,
    ForeignKeyConstraint,
    Identity,
    MetaData,
    Table,
    event,
    text,
)
from sqlalchemy.sql.schema import SchemaConst

from backend import triggers
from backend.columns import TextList, UserId
from backend.models import Base, users


def schema(user_table: str, user_id_type: str) -> MetaData:
    """Return the tables where Better Auth's is called `user_table` (`users`, `neon_auth.user`, …).

    Where the database makes the ids (`uuid`, `integer`), the user table has Better Auth's default for them.
    """
    user_schema, _, name = user_table.rpartition(".")
    metadata = MetaData(naming_convention=Base.metadata.naming_convention)
    copy = users.to_metadata(metadata, schema=user_schema or SchemaConst.RETAIN_SCHEMA, name=name)
    made_by_database = {"uuid": DefaultClause(text("gen_random_uuid()")), "integer": Identity()}
    if user_id_type in made_by_database:
        new_id: Column[str] = Column("id", UserId(), made_by_database[user_id_type], primary_key=True)
        copy.append_column(new_id, replace_existing=True)
    for table in Base.metadata.sorted_tables:
        if table is not users:
            _refer(table.to_metadata(metadata), user_table)
    event.listen(metadata, "after_create", partial(_log_changes, users=copy))
    return metadata


def _log_changes(metadata: MetaData, connection: Connection, users: Table, **_: Any) -> None:
    dialect = connection.dialect
    user_table = dialect.identifier_preparer.format_table(users)
    columns = {column.name: isinstance(column.type, TextList) for column in metadata.tables["tasks"].c}
    for statement in triggers.created(dialect.name, columns, user_table):
        connection.execute(DDL(statement.replace("%", "%%")))  # type: ignore[no-untyped-call] # SQLAlchemy's


def _refer(table: Table, user_table: str) -> None:
    """Let the owner's foreign key lead to `user_table`, where it leads to a user."""
    owner = table.c.user_id
    keys = [key for key in owner.foreign_keys if key.target_fullname == f"{users.name}.id"]
    if not keys:
        return
    for key in keys:
        table.constraints.discard(key.constraint)
        table.foreign_keys.discard(key)
        owner.foreign_keys.discard(key)
    table.append_constraint(ForeignKeyConstraint([owner], [f"{user_table}.id"], ondelete="CASCADE"))
