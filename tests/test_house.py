"""The house of src/: what CONTRIBUTING promises of it. Needs the clone, as the linters do."""

import re
from pathlib import Path

import pytest

SOURCES = sorted(Path(__file__).parents[1].glob("src/*.p[yx][xdi]"))
LONGEST = 450  # lines of a file
MOST = 7  # arguments of a function
SIGNATURE = re.compile(r"^ *(?:cdef|cpdef|def) [^=\n]*?(\w+)\(((?:[^()]|\([^()]*\))*)\)", re.M)


def arguments(text):
    """How many arguments each function has, by name."""
    found = {}
    for name, inside in SIGNATURE.findall(text):
        inside = re.sub(r"[\[(][^\])]*[\])]", "", inside)  # commas of types and defaults
        found[name] = inside.count(",") + bool(inside.strip()) - ("self" in inside.split(","))
    return found


def test_the_sources_are_here():
    assert len(SOURCES) > 15


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_a_room_is_a_page(source):
    text = source.read_text()
    assert text.count("\n") <= LONGEST
    long = {name: n for name, n in arguments(text).items() if n > MOST}
    assert not long


def test_the_count_of_arguments_counts():
    text = "cdef inline void f(const real[:, ::1] a, int b=g(1, 2),\n    c) noexcept:\ndef g():\n"
    assert arguments(text) == {"f": 3, "g": 0}


def test_the_number_of_the_thread_stands_in_one_file():
    """Elsewhere nobody knows which thread it is: that decides no bits."""
    number = re.compile(r"\bthreadid\(|\bme\.thread\b|\bthread\b *[=+*]")
    for source in SOURCES:
        code = "\n".join(line.partition("#")[0] for line in source.read_text().split("\n"))
        found = bool(number.search(re.sub(r'""".*?"""', "", code, flags=re.S)))
        assert found == (source.name == "team.pxi"), source.name


def test_every_room_is_included_once():
    core = next(source for source in SOURCES if source.name == "core.pyx").read_text()
    included = re.findall(r'^include "(\S+)"', core, re.M)
    assert sorted(included) == [s.name for s in SOURCES if s.suffix == ".pxi"]
