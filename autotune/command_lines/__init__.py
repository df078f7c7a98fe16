"""Command lines of engines: which model they serve and how, and what the user said about backends.

Nothing of an engine is imported; options and their names are data, with their sources.
"""

from __future__ import annotations

from autotune.command_lines.command import Command, read_command
from autotune.command_lines.config_file import config_words
from autotune.command_lines.programs import find_program

__all__ = ["Command", "config_words", "find_program", "read_command"]
