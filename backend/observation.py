"""What is noted of a request while it is served, where somebody wants to know. Pure."""

from bisect import bisect_left
from contextvars import ContextVar
from typing import Any

# Seconds: from what a statement takes to what a request may.
BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Histogram:
    """How often something took how long: a count for up to each of BOUNDS, one for what took longer."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0  # of all together

    def add(self, seconds: float) -> None:
        """Count one more."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class Observation:
    """One request's: where its time went. Those who spend it say so; nobody is asked when none is kept."""

    __slots__ = ("connecting", "database", "replayed", "route", "status", "waiting")

    def __init__(self) -> None:
        self.route = ""  # its template; empty where no path matched
        self.status = 0  # 0 while there is no answer
        self.waiting = 0.0  # seconds at the gate
        self.connecting = 0.0  # seconds until a connection was open
        self.database = 0.0  # seconds of statements
        self.replayed = False  # the answer is one that was kept

    def waited(self, seconds: float) -> None:
        """It waited at the gate, until now."""
        self.waiting += seconds

    def connected(self, seconds: float) -> None:
        """It opened a connection, or tried to, until now."""
        self.connecting += seconds

    def stated(self, sql: str, seconds: float, *, failed: bool) -> None:
        """It ran a statement, until now."""
        self.database += seconds

    def did(self, name: str, seconds: float) -> None:
        """A part of it, of a name that nobody made up, was done until now."""

    @property
    def context(self) -> Any:
        """Whose part something is, in a tracer's own words; None without one."""
        return None


observing: ContextVar[Observation | None] = ContextVar("observing", default=None)
