"""Folders of arrays that are larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from ._arrays import Array
from ._errors import file_name, printable, reason


class Shards:
    """The rows in a folder of pairs of files: x_0.npy and y_0.npy, x_1.npy and y_1.npy, ...

    What stands behind x and y may be anything that sorts. Files are mapped into memory, and read
    where rows are needed. Each epoch draws an order of the shards and of the rows in each; the last
    batch of a shard may be short. So each shard should be a mixture of all. Raises ValueError for
    a folder without pairs, or half a pair; OSError if it cannot be read.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = file_name(folder)
        names = [name for name in sorted(os.listdir(self.folder)) if name.endswith(".npy")]
        ends = {start: {name[1:] for name in names if name[0] == start} for start in "xy"}
        alone = sorted(ends["x"] ^ ends["y"])
        where = printable(self.folder)
        if alone:
            raise ValueError(f"{where}: expected x{alone[0]} and y{alone[0]}, got one of them")
        if not ends["x"]:
            raise ValueError(f"{where}: expected files such as x_0.npy and y_0.npy, got none")
        self.ends = sorted(ends["x"])

    def __iter__(self) -> Iterator[tuple[str, tuple[Array, Array]]]:
        """The name of each shard, and its x and y."""
        for end in self.ends:
            yield f"x{end}", (self._mapped(f"x{end}"), self._mapped(f"y{end}"))

    def _mapped(self, name: str) -> Array:
        try:
            found: Array = np.load(os.path.join(self.folder, name), mmap_mode="r")
        except ValueError as error:
            found_in = f"{printable(self.folder)}: {printable(name)}"
            raise ValueError(f"{found_in}: expected an array, got {reason(error)}") from None
        return found
