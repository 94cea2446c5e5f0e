"""python -m bench.peers: fastnn beside its peers, with tables, JSON and plots."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from .groups import GROUPS
from .run import PEERS, Run, missing
from .turns import Workers, cores


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.peers",
        description="Run fastnn and every installed peer, turn by turn, on two threads each.",
        epilog="example: python -m bench.peers --only training --json out.json --plots plots",
    )
    parser.add_argument("--quick", action="store_true", help="a rough look in under two minutes")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(GROUPS),
        metavar="GROUP",
        help=f"one group, may be repeated: {', '.join(GROUPS)}",
    )
    parser.add_argument("--mnist", metavar="DIR", help="the four MNIST files, for the digits group")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--plots", metavar="DIR", help="draw the figures there (needs matplotlib)")
    return parser.parse_args()


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    parts = (
        f"family {fields.get('cpu family')} model {fields.get('model')}",
        fields.get("flags", ""),
    )
    wide = [flag for flag in ("avx2", "fma", "avx512f") if flag in parts[1].split()]
    return f"{fields.get('model name', platform.processor())} ({parts[0]}; {' '.join(wide)})"


def header(run: Run) -> dict[str, Any]:
    """Print and return what was measured on what."""
    lines: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": f"{processor()}, {os.cpu_count()} visible",
        "threads": f"two for each, on CPUs {cores(2)}",
        **run.ours().versions,
    }
    for name in PEERS:
        worker = run.peer(name)
        lines |= worker.versions if worker else {}
    for key, value in lines.items():
        print(f"{key}: {value}")
    if absent := missing():
        packages = " ".join(peer.install for peer in absent.values())
        print(f"missing: {', '.join(absent)}; to have them: python -m pip install {packages}")
    return lines


def busy() -> float:
    """Seconds that the CPUs have worked so far for others than this process and its children."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return 0.0
    user, nice, system, _, _, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
    mine = sum(os.times()[:4])  # of children: those that have ended
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - mine


def main() -> None:
    options = arguments()
    if options.plots:
        from . import plots  # before the work, should matplotlib be missing
    begin, before = time.monotonic(), busy()
    took: dict[str, float] = {}
    with Workers() as workers:
        run = Run(workers, options.quick, options.mnist)
        result = {"header": header(run), "quick": options.quick, "rows": run.rows}
        for name in options.only or GROUPS:
            start = time.monotonic()
            GROUPS[name](run)
            took[name] = round(time.monotonic() - start, 1)
    seconds = time.monotonic() - begin
    others = (busy() - before) / seconds
    each = ", ".join(f"{name} {time:.0f}" for name, time in took.items())
    print(f"\n{seconds:.0f} s in all ({each}); other processes kept {others:.2f} cores busy")
    if others > 0.1:
        print("The machine was not quiet: do not trust these figures.")
    result |= {"seconds": took, "cores kept busy by others": others}
    if options.json:
        Path(options.json).write_text(json.dumps(result, indent=1) + "\n")
    if options.plots:
        plots.draw(run.rows, Path(options.plots))


if __name__ == "__main__":
    main()
