"""How many examples hypothesis makes up, and which."""

from hypothesis import HealthCheck, settings

from tests.conftest import THOROUGH


def examples(number: int) -> settings:
    """So many in the thorough run, a fifth of them in others; the same in each run.

    A red one means that the code has changed, not that luck has. For a real hunt take derandomize out and
    raise the numbers.
    """
    return settings(
        max_examples=number if THOROUGH else number // 5,
        derandomize=True,
        database=None,
        deadline=None,  # a busy machine is no bug
        # The app of a test serves all its examples: that is the point, and saves a database each.
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
