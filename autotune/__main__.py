"""The command `autotune`, also as `python -m autotune`."""

from __future__ import annotations

from autotune.commands import cli


def main() -> None:
    """Run the command line; ends the process."""
    cli(prog_name="autotune")


if __name__ == "__main__":
    main()
