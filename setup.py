"""Builds one engine source, src/core.pyx, once for each instruction set and dtype."""

import platform
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

# The numerics contract: each operation is rounded as it is written; only `fma` fuses.
CONTRACT = ["-O3", "-g0", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"]

# The tile has 6 rows (unrolled) of at least 8 lanes (vectorised): with GCC's own limit of 16 it
# unrolls both before it looks for vectors, and the tile runs 20 times slower. Clones of the
# products for constant arguments cost a quarter of the build's time and gain nothing.
GCC_ONLY = ["--param=max-completely-peel-times=6", "-fno-ipa-cp-clone"]

# Inlining is what turns the tile's sizes into constants.
MACROS = [
    ("CYTHON_INLINE", "inline __attribute__((always_inline))"),
    ("NPY_NO_DEPRECATED_API", "NPY_1_7_API_VERSION"),
]

# The engines, best first, and what each asks of the CPU: the compiler's flags, _cpu's questions.
INSTRUCTION_SETS = {"baseline": []}
if platform.machine().lower() in ("x86_64", "amd64"):
    fma = ["avx2", "fma"]
    wide = ["avx512f", "avx512vl", "avx512dq", "avx512bw"]
    INSTRUCTION_SETS = {"avx512": fma + wide, "avx2": fma} | INSTRUCTION_SETS


def accepts(compiler: list[str], *flags: str) -> bool:
    """Whether the compiler builds and links a shared object with these flags, without complaint."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text("int f(void) { return 0; }")
        command = [
            *compiler,
            *flags,
            "-Werror",
            "-shared",
            "-fPIC",
            str(source),
            "-o",
            f"{folder}/probe.so",
        ]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


class BuildEngines(build_ext):
    """Adds the flags that the compiler at hand has, and builds the engines side by side."""

    def build_extensions(self):
        compiler = self.compiler.compiler_so[:1]
        optional = [flag for flag in GCC_ONLY if accepts(compiler, flag)]
        for extension in self.extensions:
            extension.extra_compile_args += [*CONTRACT, *optional, "-pthread"]
            extension.extra_link_args += ["-pthread"]
        with ThreadPoolExecutor(len(self.extensions)) as pool:
            list(pool.map(self.build_extension, self.extensions))


def flags(features: list[str]) -> list[str]:
    """The compiler's flags for these features."""
    wide = ["-mprefer-vector-width=512"] if "avx512f" in features else []
    return [f"-m{feature}" for feature in features] + wide


def engines() -> list[Extension]:
    """One extension module for each instruction set of this machine's family, and each dtype."""
    return [
        Extension(
            f"fastnn._core_{name}_{dtype}",
            [f"src/core_{name}_{dtype}.pyx"],
            depends=[*map(str, Path("src").glob("*.p[yx][xdi]")), "src/threads.h"],
            include_dirs=[np.get_include(), "src"],
            define_macros=[*MACROS, ("FASTNN_BUILD", f'"{name}"')],
            extra_compile_args=flags(features),
        )
        for name, features in INSTRUCTION_SETS.items()
        for dtype in ("float32", "float64")
    ]


def cpu() -> Extension:
    """The module that says which engines a CPU runs: it is compiled for every CPU."""
    sets = ""
    for name, features in INSTRUCTION_SETS.items():
        asked = "".join(f'HAS("{feature}")' for feature in features)
        sets += f'SET("{name}", {asked})'
    return Extension("fastnn._cpu", ["src/cpu.pyx"], define_macros=[("FASTNN_SETS", sets)])


DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
}


def build(arguments: list[str] | None = None, folder: Path | None = None) -> None:
    """Run setuptools with these arguments, or the command line's; C files go into the folder."""
    modules = cythonize(
        [cpu(), *engines()],
        include_path=["src"],
        compiler_directives=DIRECTIVES,
        build_dir=folder and str(folder),
    )
    setup(
        ext_modules=modules,
        cmdclass={"build_ext": BuildEngines},
        **({} if arguments is None else {"script_args": arguments}),
    )


if __name__ == "__main__":
    build()
