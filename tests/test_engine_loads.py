from __future__ import annotations

import pytest

from autotune.engine_loads import CHAT, LONG, Load, loads_of, parse_load
from autotune.errors import UsageError
from autotune.profiles import BALANCED, Profile, find_profile


@pytest.mark.parametrize(
    ("text", "load"),
    [("256x1k+128", CHAT), ("1x100+2", Load(1, 100, 2)), (" 24x8192+64 ", LONG)],
)
def test_reads_what_it_writes(text: str, load: Load) -> None:
    assert parse_load(text) == load
    assert parse_load(load.text) == load


@pytest.mark.parametrize("text", ["", "256", "256x1k", "0x1k+2", "4x0+2", "4x1k+1", "4x1m+2"])
def test_refuses_what_is_no_load(text: str) -> None:
    with pytest.raises(UsageError, match="load"):
        parse_load(text)


@pytest.mark.parametrize("name", ["balanced", "chat", "code", "long-context", "decode-heavy"])
def test_every_built_in_profile_has_loads(name: str) -> None:
    assert loads_of(find_profile(name))


def test_weights_of_ones_own_say_not_which_requests_come() -> None:
    with pytest.raises(UsageError, match="give --load"):
        loads_of(Profile("mine", BALANCED.weights, is_own=True))


def test_prompts_are_cut_to_what_a_model_takes() -> None:
    assert LONG.within(8192) == Load(24, 8128, 64)
    assert LONG.within(16384) == LONG


def test_a_small_load_keeps_its_prompts() -> None:
    assert CHAT.scaled(8) == Load(32, 1024, 16)
    assert Load(1, 64, 4).scaled(8) == Load(1, 64, 2)
