"""What is counted while METRICS_ENABLED, and how Prometheus reads it.

Counted by hand where every request passes: a client library's series cost fifty times as much. Labels are
templates of routes, methods, classes of statuses and codes of errors: few, and nothing that a client made up.
"""

import asyncio
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fastapi import FastAPI
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy import event
from sqlalchemy.pool import QueuePool

from backend.config import Settings
from backend.db import Database
from backend.observation import BOUNDS, Histogram, Observation
from backend.telemetry.board import Board, Numbers

if TYPE_CHECKING:
    from backend.assistant.turns import Turns
    from backend.auth.jwks import Jwks
    from backend.tasks.changes.hub import Hub

TICK_SECONDS = 0.1  # between two looks at whether the event loop is late
WRITE_SECONDS = 1.0  # between two notes to the other workers
METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})

# What the database can be, and what it then answers with.
STATES = {
    "up": ("",),
    "waking": ("database_waking",),
    "unavailable": ("database_unavailable", "statement_timeout", "database_conflict"),
    "read_only": ("database_read_only",),
    "schema_outdated": (),
}


class Family(NamedTuple):
    """One metric: what its samples are called, mean and are told apart by."""

    kind: type[CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily]
    help: str
    labels: tuple[str, ...] = ()


_C, _G, _H = CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

FAMILIES = {
    "task_api_http_request_duration_seconds": Family(
        _H, "Requests, by route template and class of status", ("method", "route", "status")
    ),
    "task_api_http_requests_in_flight": Family(_G, "Requests that are being served"),
    "task_api_gate_free": Family(_G, "Free places at the database"),
    "task_api_gate_waiting": Family(_G, "Requests that wait for a place at the database"),
    "task_api_gate_refused_total": Family(_C, "Requests that were turned away or waited too long"),
    "task_api_gate_wait_seconds": Family(_H, "How long requests waited that had to"),
    "task_api_database_connections": Family(_G, "Connections to the database that are open", ("state",)),
    "task_api_database_connections_opened_total": Family(_C, "Connections to the database that were opened"),
    "task_api_database_connections_closed_total": Family(
        _C, "Those that were closed, dead or to be replaced"
    ),
    "task_api_database_connections_failed_total": Family(_C, "Connections that could not be opened"),
    "task_api_database_connect_seconds": Family(_H, "How long opening a connection took, successful or not"),
    "task_api_database_statement_seconds": Family(_H, "How long statements took, from end to end"),
    "task_api_database_errors_total": Family(_C, "What it failed at, by the code answered", ("kind",)),
    "task_api_database_state": Family(_G, "1 for the state that it was last seen in", ("state",)),
    "task_api_keys": Family(_G, "Published keys of the issuer that are known"),
    "task_api_keys_age_seconds": Family(_G, "How old the issuer's keys are"),
    "task_api_keys_fetches_total": Family(_C, "Times that the issuer's keys were asked for"),
    "task_api_keys_failures_total": Family(_C, "Times that they were not to be had"),
    "task_api_token_cache_total": Family(_C, "Tokens that were known, or had to be verified", ("result",)),
    "task_api_idempotency_replays_total": Family(_C, "Answers that were given again for their key"),
    "task_api_streams": Family(_G, "Streams of events that are open"),
    "task_api_turns": Family(_G, "Turns of the assistant that are running"),
    "task_api_turn_duration_seconds": Family(_H, "Turns, by what became of them", ("outcome",)),
    "task_api_turn_tokens_total": Family(_C, "Tokens that turns took, as the provider counts them"),
    "task_api_tool_calls_total": Family(
        _C, "Calls of tools, by the assistant or an agent", ("by", "tool", "outcome")
    ),
    "task_api_event_loop_pause_seconds": Family(_H, "How late the event loop comes to what is due"),
    "task_api_workers": Family(_G, "Processes that serve"),
    "process_resident_memory_bytes": Family(_G, "Memory of these processes"),
    "process_cpu_seconds_total": Family(_C, "CPU time of these processes"),
}


class Metrics(Collector):
    """The numbers of one application, and those of the workers beside it once it shares a board with them."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self.token = settings.metrics_token.get_secret_value()
        self.in_flight = 0
        self.statements = Histogram()
        self._state = app.state
        self._requests: dict[tuple[str, str, int], Histogram] = {}
        self._pauses = Histogram()
        self._replays = self._hits = self._misses = self._closed = 0
        self._board: Board | None = None
        self._watch_tokens()
        database: Database = app.state.database
        event.listen(database.engine.sync_engine.pool, "close", self._count_closed)

    def add(self, method: str, observation: Observation, seconds: float) -> None:
        """Count a request that is over."""
        key = (method, observation.route, observation.status // 100)
        histogram = self._requests.get(key)
        if histogram is None:
            known = method if method in METHODS else "other"
            key = (known, observation.route, observation.status // 100)
            histogram = self._requests.setdefault(key, Histogram())
        histogram.add(seconds)
        if observation.replayed:
            self._replays += 1

    def share(self, board: Board) -> None:
        """Add up with the other workers of a board."""
        self._board = board

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch the event loop, and keep the other workers informed."""
        loop = asyncio.get_running_loop()
        written = loop.time()
        timer: asyncio.Handle | None = None

        def tick(due: float) -> None:
            nonlocal timer, written
            now = loop.time()
            self._pauses.add(max(0.0, now - due))
            if self._board is not None and now - written >= WRITE_SECONDS:
                written = now
                self._board.write(self._counters(), self._gauges())
            timer = loop.call_at(now + TICK_SECONDS, tick, now + TICK_SECONDS)

        tick(loop.time())
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
            if self._board is not None:
                self._board.write(self._counters(), {})
                self._board.close()

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return all numbers in the format that a scraper asks for, and its media type."""
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(self)
        return encode(registry), content_type

    def describe(self) -> list[Metric]:
        """Spare the registry a look at the numbers as it is made."""
        return []

    def collect(self) -> Iterator[Metric]:
        counters, gauges = self._counters(), self._gauges()
        for said in self._board.others() if self._board is not None else ():
            _add_up(counters, said.counters)
            _add_up(gauges, said.gauges)
        for name, family in FAMILIES.items():
            metric = family.kind(name, family.help, labels=family.labels)
            for labels, numbers in sorted((counters.get(name) or gauges.get(name) or {}).items()):
                if isinstance(metric, HistogramMetricFamily):
                    metric.add_metric(labels, _buckets(numbers[1:]), numbers[0])
                else:
                    metric.add_metric(labels, numbers[0])
            yield metric

    def _counters(self) -> Numbers:
        """What only grows."""
        database: Database = self._state.database
        connector, gate, troubles = database.connector, database.gate, database.troubles
        jwks: Jwks | None = self._state.jwks
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found: Numbers = {
            "task_api_http_request_duration_seconds": {
                (method, route or "none", f"{status}xx" if status else "none"): _numbers(histogram)
                for (method, route, status), histogram in self._requests.items()
            },
            "task_api_gate_refused_total": {(): [gate.refused]},
            "task_api_gate_wait_seconds": {(): _numbers(gate.waits)},
            "task_api_database_connections_opened_total": {(): [connector.opened]},
            "task_api_database_connections_closed_total": {(): [self._closed]},
            "task_api_database_connections_failed_total": {(): [connector.failed]},
            "task_api_database_connect_seconds": {(): _numbers(connector.times)},
            "task_api_database_statement_seconds": {(): _numbers(self.statements)},
            "task_api_database_errors_total": {(code,): [count] for code, count in troubles.counts.items()},
            "task_api_token_cache_total": {("hit",): [self._hits], ("miss",): [self._misses]},
            "task_api_idempotency_replays_total": {(): [self._replays]},
            "task_api_event_loop_pause_seconds": {(): _numbers(self._pauses)},
            "process_cpu_seconds_total": {(): [usage.ru_utime + usage.ru_stime]},
        }
        turns: Turns | None = self._state.turns
        if turns is not None:
            found["task_api_turn_duration_seconds"] = {
                (status,): _numbers(histogram) for status, histogram in turns.ended.items()
            }
            found["task_api_turn_tokens_total"] = {(): [turns.tokens]}
        found["task_api_tool_calls_total"] = {
            (by, tool, outcome): [count]
            for by, part in (("assistant", turns), ("mcp", self._state.mcp))
            if part is not None
            for (tool, outcome), count in part.calls.items()
        }
        if jwks is not None:
            found["task_api_keys_fetches_total"] = {(): [jwks.fetches]}
            found["task_api_keys_failures_total"] = {(): [jwks.failures]}
        if self._board is not None:
            _add_up(found, self._board.inherited)
        return found

    def _gauges(self) -> Numbers:
        """What is the case now."""
        database: Database = self._state.database
        jwks: Jwks | None = self._state.jwks
        hub: Hub = self._state.hub
        pool = database.engine.sync_engine.pool
        state = next(
            (state for state, codes in STATES.items() if database.troubles.latest in codes), "unavailable"
        )
        state = "schema_outdated" if database.is_outdated else state
        found: Numbers = {
            "task_api_http_requests_in_flight": {(): [self.in_flight]},
            "task_api_gate_free": {(): [database.gate.free]},
            "task_api_gate_waiting": {(): [database.gate.waiting]},
            "task_api_database_state": {(one,): [int(one == state)] for one in STATES},
            "task_api_streams": {(): [hub.open]},
            "task_api_workers": {(): [1]},
            "process_resident_memory_bytes": {(): [_memory()]},
        }
        if self._state.turns is not None:
            found["task_api_turns"] = {(): [self._state.turns.running]}
        if isinstance(pool, QueuePool):
            counts = {"idle": pool.checkedin(), "in_use": pool.checkedout()}
            found["task_api_database_connections"] = {(state,): [count] for state, count in counts.items()}
        if jwks is not None and jwks.count:
            found["task_api_keys"] = {(): [jwks.count]}
            found["task_api_keys_age_seconds"] = {(): [jwks.age]}
        return found

    def _watch_tokens(self) -> None:
        """Count from outside, where it costs nothing while nobody wants to know."""
        verifier = self._state.verifier
        known, verify = verifier.known, verifier.verify

        def count_known(token: str) -> object:
            user = known(token)
            self._hits += user is not None
            return user

        def count_verified(token: str) -> object:
            self._misses += 1
            return verify(token)

        verifier.known, verifier.verify = count_known, count_verified

    def _count_closed(self, *_: object) -> None:
        self._closed += 1


def _numbers(histogram: Histogram) -> list[float]:
    return [histogram.seconds, *histogram.counts]


def _buckets(counts: list[float]) -> list[tuple[str, float]]:
    """As Prometheus has them: each with those below it."""
    total, buckets = 0.0, []
    for bound, count in zip([*map(str, BOUNDS), "+Inf"], counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets


# Of several workers' these are not the sum: all have the same keys and the same database.
_SHARED = {"task_api_keys", "task_api_keys_age_seconds", "task_api_database_state"}


def _add_up(to: Numbers, more: Numbers) -> None:
    for name, series in more.items():
        own = to.setdefault(name, {})
        for labels, numbers in series.items():
            if labels not in own:
                own[labels] = list(numbers)
            elif name in _SHARED:
                own[labels] = [max(own[labels][0], numbers[0])]
            else:
                own[labels] = [one + other for one, other in zip(own[labels], numbers, strict=True)]


def _memory() -> int:
    """The bytes that this process has; on other systems than Linux the most that it had."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
