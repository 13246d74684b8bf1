"""What a database has failed at, counted."""

from collections import Counter

from backend.errors import Unavailable


class Troubles:
    """The errors of one database."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()  # so far, by their codes
        self.latest = ""  # code; whoever sees a statement succeed may empty it

    def add(self, error: BaseException) -> None:
        """Count an error, if it is one of the database's."""
        if isinstance(error, Unavailable):
            self.counts[error.code] += 1
            self.latest = error.code
