"""Cache files of any size for benchmarks: measured rows of an H100, copied under other keys."""

from __future__ import annotations

import lzma
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from cache import Store
from cache.absorb import Absorber
from cache.database import connect, transaction
from cache.records import COLUMNS, columns_of
from cache.rows import DecisionRow, MeasurementRow
from cache.sources import Read, Taken, read_source

EVIDENCE = Path(__file__).parent / "results" / "h100-method3-run3.db.xz"


def write_cache(path: Path, measurements: int, decisions: int, name: str) -> None:
    """So many rows, all of one part but of many models; `name` sets a file's rows apart."""
    with tempfile.TemporaryDirectory() as folder:
        measured = Path(folder) / "measured.db"
        measured.write_bytes(lzma.decompress(EVIDENCE.read_bytes()))
        rows = [each for each in read_source(measured) if isinstance(each, Taken)]
    Store.open(path).close()
    with closing(connect(path, "rw", 5.0)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        with transaction(connection):
            Absorber(connection, "newest", is_new=False).absorb(
                _copies(rows, measurements, decisions, name)
            )


def _copies(rows: list[Taken], measurements: int, decisions: int, name: str) -> Iterator[Read]:
    yield from (each for each in rows if each.kind not in (MeasurementRow, DecisionRow))
    yield from _renamed(rows, MeasurementRow, measurements, ("key", "spec_key"), name)
    yield from _renamed(rows, DecisionRow, decisions, ("question",), name)


def _renamed(
    rows: list[Taken], kind: type, count: int, keys: tuple[str, ...], name: str
) -> Iterator[Read]:
    columns = columns_of(kind)
    places = [columns.index(each) for each in keys]
    mine = [each for each in rows if each.kind is kind]
    for number in range(count):
        each = mine[number % len(mine)]
        values = list(each.values)
        for place in places:
            text = str(values[place])
            # Still JSON, as long as before and a little more.
            values[place] = f'{text[:-1]},"copy":"{name}{number // len(mine)}"}}'
        yield Taken(kind, tuple(values), COLUMNS[kind].checksum(values))
