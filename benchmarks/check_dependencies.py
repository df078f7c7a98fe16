"""Dry-run attn-autotune into the dependency sets that published engines ask for.

For each engine the resolver first names every package of its set. It then resolves attn-autotune
with that set already in place: like an installer, it keeps a package unless a requirement forbids
it. A package that ends at another version is one that our installation would move.
Only metadata is read: nothing is built, installed or downloaded in full.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias

PYTHON_VERSION = "3.12"
PLATFORM = "x86_64-manylinux_2_35"
"""Ubuntu 22.04's glibc: SGLang 0.5.23 has wheels for glibc 2.34 and newer only."""

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"

Versions: TypeAlias = Mapping[str, str]
"""The version of each package, by its normalised name."""


@dataclass(frozen=True)
class Engine:
    """A published release whose dependency set must stay as it is."""

    requirement: str
    replaced: tuple[str, ...] = ()
    """Requirements used in place of published ones that no release meets."""


ENGINES = (
    Engine("vllm==0.24.0"),
    # It asks for certifi>=2026.10.19; on 2026-11-22 the newest on offer was 2026.10.18.
    Engine("vllm==0.33.0", replaced=("certifi>=2026.10.18",)),
    Engine("sglang==0.5.23"),
)


@dataclass(frozen=True)
class Move:
    """A package of an engine's set that our installation would replace."""

    name: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.name} {self.before} -> {self.after}"


@dataclass(frozen=True)
class DryRun:
    """What installing attn-autotune beside one engine would change."""

    engine: Engine
    engine_set: Versions
    moved: tuple[Move, ...]
    added: Versions


class ResolveError(Exception):
    """The resolver gave no answer; the message says for what and why."""


@dataclass(frozen=True)
class Resolver:
    """`uv pip compile` for one platform, seeing only what was published by a given day."""

    uv: str
    as_of: str

    def resolve(
        self,
        source: Path,
        *,
        in_place: Versions,
        replaced: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> dict[str, str]:
        """Resolve a requirements file or a pyproject.toml, keeping what is in place if allowed."""
        with tempfile.TemporaryDirectory() as folder:
            lock = Path(folder, "lock.txt")
            # uv prefers the versions that it finds in the file it is about to write.
            lock.write_text("".join(f"{name}=={version}\n" for name, version in in_place.items()))
            overrides = Path(folder, "overrides.txt")
            overrides.write_text("\n".join(replaced))
            command = [
                *(self.uv, "pip", "compile", "--quiet", "--no-config", "--no-python-downloads"),
                *("--no-header", "--no-annotate", "--no-build", "--exclude-newer", self.as_of),
                *("--python-version", PYTHON_VERSION, "--python-platform", PLATFORM),
                *("--override", str(overrides), "--output-file", str(lock), *options),
                str(source),
            ]
            finished = subprocess.run(command, capture_output=True, text=True, check=False)
            if finished.returncode != 0:
                raise ResolveError(f"{source.stem} does not resolve: {finished.stderr.strip()}")
            return parse_lock(lock.read_text())

    def engine_set(self, engine: Engine) -> dict[str, str]:
        """Resolve a published engine into an empty environment."""
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder, f"{engine.requirement}.txt")
            source.write_text(engine.requirement)
            return self.resolve(source, in_place={}, replaced=engine.replaced)

    def version(self) -> str:
        """Name the resolver, for the record."""
        reply = subprocess.run([self.uv, "--version"], capture_output=True, text=True, check=True)
        return " ".join(reply.stdout.split()[:2])


def parse_lock(text: str) -> dict[str, str]:
    """Read `name==version` lines."""
    pins = (line.partition("==") for line in text.splitlines() if "==" in line)
    return {name: version for name, _, version in pins}


def compare(engine: Engine, engine_set: Versions, ours: Versions) -> DryRun:
    """Split our resolved packages into what moves the engine's set and what adds to it."""
    moved = tuple(
        Move(name, engine_set[name], version)
        for name, version in ours.items()
        if name in engine_set and engine_set[name] != version
    )
    added = {name: version for name, version in ours.items() if name not in engine_set}
    return DryRun(engine, engine_set, moved, added)


def changes_table(runs: Sequence[DryRun]) -> str:
    """Render what each engine's set would lose and gain."""
    rows = ["| engine | packages in its set | moved | added |", "| --- | ---: | --- | --- |"]
    for run in runs:
        moved = ", ".join(map(str, run.moved)) or "none"
        added = ", ".join(f"{name} {version}" for name, version in run.added.items())
        rows.append(f"| {run.engine.requirement} | {len(run.engine_set)} | {moved} | {added} |")
    return "\n".join(rows)


def floors_table(runs: Sequence[DryRun], floors: Versions) -> str:
    """Render the lowest version that we accept beside the one that each engine's set holds."""
    engines = " | ".join(run.engine.requirement for run in runs)
    rows = [f"| our package | lowest accepted | {engines} |", "| --- " * (len(runs) + 2) + "|"]
    for name, floor in floors.items():
        held = " | ".join(run.engine_set.get(name, "absent") for run in runs)
        rows.append(f"| {name} | {floor} | {held} |")
    return "\n".join(rows)


@dataclass(frozen=True)
class Report:
    """Every dry run of one day, and the floors that were tried."""

    resolver: Resolver
    runs: tuple[DryRun, ...]
    floors: Versions

    def __str__(self) -> str:
        heading = (
            f"{self.resolver.version()}, Python {PYTHON_VERSION}, {PLATFORM}, "
            f"releases up to {self.resolver.as_of}"
        )
        notes = (
            f"{run.engine.requirement} was resolved with {', '.join(run.engine.replaced)} "
            "in place of its own requirement, which no release met."
            for run in self.runs
            if run.engine.replaced
        )
        tables = (changes_table(self.runs), floors_table(self.runs, self.floors))
        return "\n\n".join((heading, *tables, *notes))


def dry_run_all(resolver: Resolver, pyproject: Path) -> Report:
    """Try attn-autotune beside every engine."""
    runs = []
    for engine in ENGINES:
        engine_set = resolver.engine_set(engine)
        runs.append(compare(engine, engine_set, resolver.resolve(pyproject, in_place=engine_set)))
    lowest = ("--no-deps", "--resolution", "lowest-direct")
    floors = resolver.resolve(pyproject, in_place={}, options=lowest)
    return Report(resolver, tuple(runs), floors)


def main() -> int:
    """Print the tables; 1 if a package would move, 2 if the resolver gave no answer."""
    today = datetime.now(timezone.utc).date().isoformat()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pyproject", type=Path, default=PYPROJECT, help="whose floors to try")
    parser.add_argument("--as-of", default=today, help="ignore later releases (default: today)")
    arguments = parser.parse_args()
    uv = shutil.which("uv")
    if uv is None:
        print("check_dependencies: uv is not on PATH; `pip install uv`", file=sys.stderr)
        return 2
    try:
        report = dry_run_all(Resolver(uv, arguments.as_of), arguments.pyproject)
    except ResolveError as error:
        print(f"check_dependencies: {error}", file=sys.stderr)
        return 2
    print(report)
    return 1 if any(run.moved for run in report.runs) else 0


if __name__ == "__main__":
    sys.exit(main())
