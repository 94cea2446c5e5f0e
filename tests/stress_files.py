"""Model files under faults, for as long as one likes: python tests/stress_files.py --seconds 60

Groups, each in processes of its own:
  models      files altered, cut, spliced and made to do harm: each loads or raises FormatError
  kills       SIGKILL during a save: the file is whole, nothing is left once another save is done
  overwrites  a file overwritten in place while it is loaded
  threads     saves while another thread fits: each file can be loaded
Prints tries and failures of each group; exits with 1 if there is a failure. A failure of `models`
names its number: the same seed gives the same file again.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import resource
import signal
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy  # here, so that children find it loaded

import fastnn
from fastnn import files

MEMORY = 3 << 30  # bytes of address space in a child that loads
LONGEST = 600  # characters of a message, without the path


@dataclass
class Result:
    """What a group found."""

    tries: int = 0
    failures: list[str] = field(default_factory=list)

    def fail(self, what: str) -> None:
        """Note a failure."""
        self.failures.append(what)


@dataclass
class Chances:
    """The random numbers of one try, a function of the seed and its number."""

    random: random.Random

    def __call__(self, *choices: Any) -> Any:
        return self.random.choice(choices)


# ----------------------------------------------------------------------------------------- children


def start(work: Callable[[], object]) -> int:
    """A child that does this and ends; its error goes to stderr."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException as error:
            print(f"{type(error).__name__}: {error}"[:LONGEST], file=sys.stderr, flush=True)
        finally:
            os._exit(code)
    return pid


def ended(pid: int) -> int:
    """The exit code of a child, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def kill(pid: int) -> None:
    """End a child at once."""
    os.kill(pid, signal.SIGKILL)
    ended(pid)


# ------------------------------------------------------------------------------------------- models


def networks() -> Iterator[fastnn.Network]:
    """Networks whose files differ in format and in what they hold."""
    net = fastnn.Network(
        5, [fastnn.Dense(4, fastnn.LeakyReLU(0.3)), fastnn.Dense(3, "softmax")], input_scale=0.5
    )
    yield net
    x = np.random.default_rng(0).normal(size=(20, 5))
    for optimizer in ("adam", fastnn.SGD(fastnn.Cosine(0.1), momentum=0.5), "sgd"):
        net.fit(x, np.arange(20) % 3, epochs=1, batch_size=5, optimizer=optimizer, verbose=0)
        net.classes, net.target = ("a", 1, 2.5), "kind"
        yield net
    net = fastnn.Network(
        5, [fastnn.Dense(3, "tanh"), fastnn.Dense(2)], standardize=True, dtype="float64"
    )
    net.fit(x, x[:, :2], epochs=1, verbose=0)
    net.features, net.trained_on = tuple("abcde"), "rows.csv"
    yield net


def originals(folder: Path) -> list[bytes]:
    """The files to start from."""
    contents = []
    for net in networks():
        for optimizer in (False, True):
            net.save(folder / "original", optimizer=optimizer)
            contents.append((folder / "original").read_bytes())
    return contents


def hostile(chance: Chances) -> Any:
    """A value that nobody expects."""
    number = chance(-1, 0, 1, 2, 3, 5, 1 << 31, 1 << 53, (1 << 62) - 1, 1 << 62, (1 << 64) - 1)
    text = chance("", "relu", "sgd", "adam", "softmax", "\x1b[2J", "\ud800", "é", "x" * 100_000)
    nested: Any = []
    for _ in range(chance(1, 3, 300)):
        nested = [nested]
    simple = chance(None, True, False, number, float(number), text, 1e-320, 1e308, 10**400)
    return chance(
        simple, simple, simple, [simple], {"name": simple}, {text: simple}, nested, {}, []
    )


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """All (container, key) pairs of a JSON value."""
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            yield value, key
            yield from places(value[key])


def changed(value: Any, chance: Chances) -> None:
    """Change a JSON value in a place or two."""
    for _ in range(chance(1, 1, 1, 2, 4)):
        found = list(places(value))
        if not found:
            return
        container, key = chance(*found)
        other, other_key = chance(*found)
        how = chance("set", "set", "swap", "drop", "add")
        if how == "set":
            container[key] = hostile(chance)
        elif how == "swap":
            container[key] = json.loads(json.dumps(other[other_key]))
        elif how == "drop":
            del container[key]
        elif isinstance(container, dict):
            container[chance("classes", "features", "epochs", "x", "")] = hostile(chance)
        else:
            container.append(hostile(chance))


def packed(header: Any, tensors: bytes, chance: Chances) -> bytes:
    """A file with this header, its length mostly right."""
    written: str = header if isinstance(header, str) else json.dumps(header)
    text = written.encode(errors="replace")
    text += b" " * int(chance(0, 0, 0, 1, 7))
    length: int = chance(
        *[len(text)] * 8, len(text) - 1, len(text) + 1, 0, 1 << 24, 1 << 40, (1 << 64) - 1
    )
    return struct.pack("<Q", max(0, length)) + text + tensors


def parts(content: bytes) -> tuple[Any, bytes]:
    """The header and the tensors of a file."""
    length = int.from_bytes(content[:8], "little")
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def altered(content: bytes, other: bytes, chance: Chances) -> bytes:
    """The bytes of a file as a bad disk or a bad transfer leaves them."""
    pick = chance.random.randrange
    data = bytearray(content)
    how: str = chance("bits", "bytes", "cut", "grow", "splice", "move", "zeros")
    first = pick(len(data))
    last = min(len(data), first + chance(1, 2, 8, 64, 1000))
    if how == "bits":
        for _ in range(chance(1, 1, 2, 10)):
            data[pick(len(data))] ^= 1 << pick(8)
    elif how == "bytes":
        data[first:last] = chance.random.randbytes(last - first)
    elif how == "cut":
        del data[first:]
    elif how == "grow":
        data += chance.random.randbytes(chance(1, 8, 1000))
    elif how == "splice":
        data[first:] = other[pick(len(other)) :]
    elif how == "move":
        data[first:first] = data[first:last]
    else:
        data[first:last] = bytes(last - first)
    return bytes(data)


def redescribed(content: bytes, chance: Chances) -> bytes:
    """A file whose description says something else, with the right checksum."""
    header, tensors = parts(content)
    description = json.loads(header["__metadata__"]["fastnn"])
    changed(description, chance)
    if chance(True, True, False) and isinstance(description, dict):
        arrays = safetensors.numpy.load(content)
        with contextlib.suppress(ValueError, RecursionError):
            description["sha256"] = files._digest(description, arrays)
    header["__metadata__"]["fastnn"] = json.dumps(description)
    return packed(header, tensors, chance)


def reheaded(content: bytes, chance: Chances) -> bytes:
    """A file whose safetensors header says something else."""
    header, tensors = parts(content)
    changed(header, chance)
    return packed(header, tensors, chance)


def retold(content: bytes, chance: Chances) -> bytes:
    """A file whose JSON text holds what JSON should not."""
    header, tensors = parts(content)
    texts = [json.dumps(header), header["__metadata__"]["fastnn"]]
    which = chance(0, 1)
    text = texts[which]
    hostile_text = chance(
        "NaN", "-Infinity", "1e999", "9" * 10_000, "[" * 5000, '{"a":' * 5000, "[[],[],", "\x00",
        '"format":1,', "0.0e", '"\\ud800"', "[" + "[]," * 100_000,
    )  # fmt: skip
    spots = [i for i, letter in enumerate(text) if letter in ":,["]
    spot = chance.random.choice(spots) + 1
    text = text[:spot] + hostile_text + text[spot + chance(0, 1, 5) :]
    if which == 0:
        return packed(text, tensors, chance)
    header["__metadata__"]["fastnn"] = text
    return packed(header, tensors, chance)


def make(contents: list[bytes], chance: Chances) -> bytes:
    """One damaged file."""
    content, other = chance(*contents), chance(*contents)
    how = chance("altered", "redescribed", "redescribed", "reheaded", "retold")
    if how == "altered":
        return altered(content, other, chance)
    if how == "redescribed":
        return redescribed(content, chance)
    return reheaded(content, chance) if how == "reheaded" else retold(content, chance)


def tried(path: Path) -> None:
    """Load a file; what loads must be a whole network. Raises for anything that is not right."""
    try:
        net = fastnn.load(path)
    except fastnn.FormatError as error:
        words = str(error)
        if not words.startswith(f"{path}: "):
            raise AssertionError(f"expected the path first, got {words}") from None
        if not words.isprintable() or len(words) > len(str(path)) + LONGEST:
            raise AssertionError(f"expected a short line, got {words!r}") from None
        return
    if net.program.center is not None or not net.standardize:
        net.predict(np.zeros((2, net.inputs)))
    net.save(path.with_name("again"), optimizer=True)
    fastnn.load(path.with_name("again"))


def models(seconds: float, seed: int, folder: Path) -> Result:
    """Damaged files, one after the other, in a child that a crash may end."""
    contents, result = originals(folder), Result()
    deadline, path, note = time.monotonic() + seconds, folder / "damaged", folder / "number"
    note.write_text("0")

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        number = int(note.read_text())
        while time.monotonic() < deadline:
            content = make(contents, Chances(random.Random(f"{seed} {number}")))
            path.write_bytes(content)
            if number % 50 == 49:  # also as large as a disk allows, and empty inside
                os.truncate(path, 1 << 30)
            number += 1
            note.write_text(str(number))
            tried(path)

    while time.monotonic() < deadline:
        code = ended(start(work))
        if code:
            result.fail(f"models: file {int(note.read_text()) - 1} ended its process with {code}")
    result.tries = int(note.read_text())
    return result


# -------------------------------------------------------------------------------------------- kills


def left(folder: Path) -> list[str]:
    """The temporary files in a folder."""
    return [entry.name for entry in folder.iterdir() if entry.name.startswith(".fastnn-")]


def kills(seconds: float, seed: int, folder: Path) -> Result:
    """One saver, or two at once, killed at any moment."""
    chance, result = Chances(random.Random(seed)), Result()
    sizes = [[20, 30, 3], [500, 300, 3]]
    pairs = [[fastnn.mlp(size, seed=seed) for seed in (0, 1, 2)] for size in sizes]
    pairs_contents = []
    for nets in pairs:
        contents = []
        for net in nets:
            net.save(folder / "net")
            contents.append((folder / "net").read_bytes())
        pairs_contents.append(contents)
    deadline, path = time.monotonic() + seconds, folder / "net"

    def saver(net: fastnn.Network, other: fastnn.Network) -> Callable[[], None]:
        def work() -> None:
            while True:
                net.save(path)
                other.save(path)

        return work

    while time.monotonic() < deadline:
        which = chance(0, 1)
        nets, contents = pairs[which], pairs_contents[which]
        nets[0].save(path)
        savers = [start(saver(nets[1], nets[2])) for _ in range(chance(1, 1, 2))]
        time.sleep(chance.random.random() * chance(0.002, 0.02))
        for pid in savers:
            kill(pid)
        result.tries += len(savers)
        if path.read_bytes() not in contents:
            result.fail("kills: the file is neither the old one nor a new one")
        fastnn.load(path)
        nets[0].save(path)
        if left(folder):
            result.fail(f"kills: {left(folder)} outlived another save")
    return result


# --------------------------------------------------------------------------------------- overwrites


def overwrites(seconds: float, seed: int, folder: Path) -> Result:
    """A writer that knows nothing of one-step writes, and a reader."""
    result, path, note = Result(), folder / "net", folder / "tries"
    contents = []
    for size in ([20, 30, 3], [500, 300, 3]):
        fastnn.mlp(size).save(path)
        contents.append(path.read_bytes())
    deadline = time.monotonic() + seconds
    note.write_text("0")

    def writer() -> None:
        chance = Chances(random.Random(seed))
        while True:
            content = chance(*contents)
            with open(path, "r+b") as file:
                for place in range(0, len(content), 4096):
                    file.write(content[place : place + 4096])
                    if chance.random.random() < 0.01:
                        file.truncate(chance.random.randrange(len(content)))
                file.truncate()

    def reader() -> None:
        tries = int(note.read_text())
        try:
            while time.monotonic() < deadline:
                tries += 1
                tried(path)
        finally:
            note.write_text(str(tries))

    pid = start(writer)
    try:
        while time.monotonic() < deadline:
            code = ended(start(reader))
            if code:
                result.fail(f"overwrites: loading ended its process with {code}")
    finally:
        kill(pid)
    result.tries = int(note.read_text())
    return result


# ------------------------------------------------------------------------------------------ threads


def threads(seconds: float, seed: int, folder: Path) -> Result:
    """Saves while another thread fits; the child goes first, so that no thread was there before."""
    result, note = Result(), folder / "tries"
    note.write_text("0")

    def work() -> None:
        share = seconds / 4
        tries, failures = 0, list[str]()
        for epochs in (1, 100):  # of each optimizer in turn
            for standardize in (False, True):
                found = fitted(share, epochs, standardize, folder / "net")
                tries, failures = tries + found.tries, failures + found.failures
                note.write_text(json.dumps([tries, failures]))

    code = ended(start(work))
    if code:
        result.fail(f"threads: the process ended with {code}")
    else:
        result.tries, result.failures = json.loads(note.read_text())
    return result


def fitted(seconds: float, epochs: int, standardize: bool, path: Path) -> Result:
    """What saving one network while it is fitted gives."""
    result, done = Result(), threading.Event()
    x, y = np.random.default_rng(0).random((500, 50)), np.arange(500) % 3
    net = fastnn.mlp([50, 200, 3], standardize=standardize)

    def fit() -> None:
        stop = [lambda *arguments: done.is_set()]
        optimizers: list[Any] = ["sgd", "adam", fastnn.SGD(momentum=0.5)]
        for optimizer in itertools.cycle(optimizers):
            if done.is_set():
                break
            net.fit(x, y, epochs=epochs, optimizer=optimizer, callbacks=stop, verbose=0)

    thread = threading.Thread(target=fit)
    thread.start()
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            result.tries += 1
            try:
                net.save(path, optimizer=result.tries % 2 == 0)
                fastnn.load(path)
            except (ValueError, OSError) as error:
                result.fail(f"threads: {error}")
    finally:
        done.set()
        thread.join()
    return result


# --------------------------------------------------------------------------------------------- main

GROUPS = {function.__name__: function for function in (models, kills, overwrites, threads)}


def main() -> int:
    """Run the groups; 1 if one has a failure."""
    parser = argparse.ArgumentParser(description="Model files under faults.")
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="default: all")
    parser.add_argument("--seconds", type=float, default=60, help="in all (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    chosen = parser.parse_args()
    groups = chosen.groups or [*GROUPS]
    failed = False
    for name in groups:
        with tempfile.TemporaryDirectory() as folder:
            result = GROUPS[name](chosen.seconds / len(groups), chosen.seed, Path(folder))
        failed |= bool(result.failures) or result.tries == 0
        print(f"{name:<10} {result.tries:>8} tries {len(result.failures):>6} failures", flush=True)
        for failure in result.failures[:10]:
            print(f"  {failure}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
