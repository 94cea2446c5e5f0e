"""One peer in its own process: JSON requests on stdin, one JSON answer a line on stdout.

{"versions": true}                        -> {"versions": {...}}
{"prepare": spec, "task": name}           -> {"check": number, "note": text}
{"measure": milliseconds, "task": name}   -> {"seconds": [per unit of work, ...], "facts": {}}
                          "each": true       one timing for each call, however short
{"forget": true}                          -> {}
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from typing import Any

from .cases import Task

SHORTEST = 2e-4  # seconds: one timing is never shorter, so that the clock does not count


def timings(task: Task, milliseconds: float, each: bool) -> list[float]:
    """Seconds per unit of work, each from one timing, for about that long.

    The first timing, with cold caches and sleeping threads, counts only if it fills the time.
    each: a timing is one call, as percentiles of latencies need it.
    """
    clock = time.perf_counter
    start = clock()
    units = task.run()
    first = clock() - start
    repeat = 1 if each else max(1, int(SHORTEST / first))
    end = start + milliseconds / 1000
    seconds = [first / units] if clock() > end else []
    while not seconds or clock() < end:
        begin = clock()
        units = sum(task.run() for _ in range(repeat))
        seconds.append((clock() - begin) / units)
    return seconds


def answer(peer: Any, tasks: dict[str, Task], request: dict[str, Any]) -> dict[str, Any]:
    if "versions" in request:
        return {"versions": peer.versions()}
    if "forget" in request:
        tasks.clear()
        return {}
    if "prepare" in request:
        spec = request["prepare"]
        task = tasks[request["task"]] = getattr(peer, spec["group"])(spec)
        return {"check": task.check, "note": task.note}
    task = tasks[request["task"]]
    seconds = timings(task, request["measure"], request.get("each", False))
    return {"seconds": seconds, "facts": task.facts}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    module, cpus = sys.argv[1:]
    os.sched_setaffinity(0, map(int, cpus.split(",")))  # before libraries count them
    peer = importlib.import_module(f".{module}", __package__)
    tasks: dict[str, Task] = {}
    for line in sys.stdin:
        try:
            reply = answer(peer, tasks, json.loads(line))
        except Exception as error:  # told to the parent, which reports it
            reply = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
