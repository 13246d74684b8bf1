"""The results as a table for the terminal and as a chart for docs/performance.md."""

from html import escape
from typing import Any

from benchmarks.subjects import DOCUMENTS, RAW, SERVICE

SUBJECTS = (DOCUMENTS, SERVICE, RAW)
COLOURS = {"documents": "#9aa5b1", "service": "#2563eb", "raw": "#9aa5b1"}
SHOWN = {"mix": "mixed requests", "list": "lists of 50", "get": "single reads"}
WIDTH, NAMES, BARS = 940, 275, 225  # pixels: in all, for the names, for the longest bar of each half
BAR, GAP = 20, 7


def table(results: dict[str, Any]) -> str:
    """Everything that was measured, as lines of text."""
    lines: list[str] = []
    compared = results.get("compare", {})
    if compared:
        lines.append("ratios are the service's to that peer's, medians of the rounds'")
        head = f"{'':8}{'':10}{'requests/s':>12}{'CPU µs':>9}{'database':>10}{'p50 ms':>9}{'p99 ms':>9}"
        lines.append(head + f"{'rate':>9}{'CPU':>7}{'database':>10}{'p99':>7}")
    for workload, found in compared.items():
        for subject in SUBJECTS:
            figures = found["figures"][subject.name]
            line = f"{workload:8}{subject.name:10}{figures['rate']:12.0f}{figures['cpu']:9.0f}"
            line += f"{figures['database']:10.0f}{figures['p50']:9.1f}{figures['p99']:9.1f}"
            if ratios := found["ratios"].get(subject.name):
                line += f"{ratios['rate']:8.2f}x{ratios['cpu']:6.2f}x"
                line += f"{ratios['database']:9.2f}x{ratios['p99']:6.2f}x"
            lines.append(line)
    for name in results.keys() - {"compare", "machine"}:
        lines += [f"{name}: {key}: {_said(value)}" for key, value in results[name].items()]
    return "\n".join(lines)


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_said(part)}" for key, part in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _bar(parts: list[str], x: int, y: int, share: float, colour: str, opacity: float = 1) -> int:
    """Draw a bar and return where it ends."""
    length = max(1, round(BARS * share))
    place = f'x="{x}" y="{y}" width="{length}" height="{BAR}"'
    parts.append(f'<rect {place} fill="{colour}" fill-opacity="{opacity}"/>')
    return x + length


def svg(results: dict[str, Any]) -> str:
    """Bars: requests a second to the left, CPU per request to the right, PostgreSQL's share paler."""
    compared = results["compare"]
    parts: list[str] = []
    y = 58
    shown = [compared[workload]["figures"][s.name] for workload in SHOWN for s in SUBJECTS]
    most_rate = max(figures["rate"] for figures in shown)
    most_cpu = max(figures["cpu"] + figures["database"] for figures in shown)
    for workload, title in SHOWN.items():
        parts.append(f'<text x="10" y="{y + 13}" class="b">{title}</text>')
        y += 24
        for subject in SUBJECTS:
            figures = compared[workload]["figures"][subject.name]
            parts.append(f'<text x="10" y="{y + 15}">{escape(subject.label)}</text>')
            colour, right = COLOURS[subject.name], NAMES + BARS + 75
            rate = _bar(parts, NAMES, y, figures["rate"] / most_rate, colour)
            parts.append(f'<text x="{rate + 6}" y="{y + 15}">{figures["rate"]:,.0f}</text>')
            own = _bar(parts, right, y, figures["cpu"] / most_cpu, colour)
            end = _bar(parts, own, y, figures["database"] / most_cpu, colour, opacity=0.45)
            said_cpu = f"{figures['cpu']:,.0f} + {figures['database']:,.0f} µs"
            parts.append(f'<text x="{end + 6}" y="{y + 15}">{said_cpu}</text>')
            y += BAR + GAP
        y += 12
    machine = results["machine"]
    where = f"{machine['cpu']}, {machine['system']}, Python {machine['python']}, load by {machine['client']}"
    said = f"One worker, PostgreSQL and load on the same machine: {where}"
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1f2937}.b{font-weight:600}.s{font-size:11px;fill:#6b7280}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + 24}" role="img" '
        f'aria-label="Requests a second and CPU time per request">'
        f'<style>{style}</style><rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="{NAMES}" y="34" class="b">requests a second (more is better)</text>'
        f'<text x="{NAMES + BARS + 75}" y="34" class="b">'
        f"CPU per request, the server + PostgreSQL (less is better)</text>"
        f'{"".join(parts)}<text x="10" y="{y + 10}" class="s">{escape(said)}</text></svg>\n'
    )
