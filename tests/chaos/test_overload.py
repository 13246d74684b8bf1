"""More clients than the service has room for."""

import asyncio
from statistics import median, quantiles

import pytest

from tests.chaos.conftest import Report, Service, check
from tests.chaos.load import Ledger, Load

pytestmark = pytest.mark.chaos

ROUNDS, RAMP, WINDOW = 3, 300, 3.0  # how often each is measured, after how many answers, for how many seconds


async def goodput(load: Load, service: Service) -> float:
    """How many requests the service serves for a second of its CPU, once the load is under way.

    Not of the clock: the clients work on the same cores, and 500 of them take more of these than 32.
    """
    await load.more(RAMP)
    served, used = load.served, service.cpu()
    await asyncio.sleep(WINDOW)
    return (load.served - served) / (service.cpu() - used)


@pytest.mark.settings(database_pool_size=10)
async def test_overload_does_not_lower_what_is_served(
    serving: Service, database: str, report: Report
) -> None:
    """500 clients get done what 32 do for not much more CPU; who is turned away is told so at once."""
    ledger = Ledger()
    rates: dict[int, list[float]] = {32: [], 500: []}
    served: list[float] = []
    refused: list[float] = []
    for _ in range(ROUNDS):
        for clients in rates:
            async with serving.load(
                clients=clients, pause=0, limit=100_000, backoff=2, ledger=ledger
            ) as load:
                rates[clients].append(await goodput(load, serving))
                await check(
                    load, database, report, f"{clients} clients, {rates[clients][-1]:.0f} a CPU second: "
                )
            assert set(load.codes) <= {"overloaded"}
            if clients == 500:
                served += [seconds for ok, seconds in load.seconds if ok]
                refused += [seconds for ok, seconds in load.seconds if not ok]
    # Side by side: other work on the machine weighs on both.
    ratio = median(many / few for few, many in zip(rates[32], rates[500], strict=True))
    p99 = quantiles(served, n=100)[98]
    told = f"served in {median(served):.2f} s, refused in {median(refused):.2f} s (medians)"
    report(f"with 500 {ratio:.2f} of that with 32; p99 {p99:.2f} s; {told}")
    assert refused
    assert ratio > 0.7  # refusing the others is work as well, and holding their connections
    assert p99 < 5  # DATABASE_POOL_WAIT
    assert median(refused) < median(served)
