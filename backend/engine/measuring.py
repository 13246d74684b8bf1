"""Tells of each statement that SQLAlchemy executes, in sessions and transactions, how long it took."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine

_BEGAN = "task_api.began"  # in a connection's info: when its statement did


def measure_executions(engine: AsyncEngine, measured: Callable[[str, float, bool], None]) -> None:
    """Call `measured` with a statement, its seconds and whether it failed, from now on."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute")
    def _(connection: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        connection.info[_BEGAN] = time.perf_counter()

    @event.listens_for(engine.sync_engine, "after_cursor_execute")
    def _(connection: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        measured(sql, time.perf_counter() - connection.info.pop(_BEGAN), False)

    @event.listens_for(engine.sync_engine, "handle_error")
    def _(failed: ExceptionContext) -> None:
        info = {} if failed.connection is None or failed.connection.invalidated else failed.connection.info
        if failed.statement is not None and (began := info.pop(_BEGAN, None)) is not None:
            measured(failed.statement, time.perf_counter() - began, True)
