"""What comes close to a question that nothing answers."""

from __future__ import annotations

from dataclasses import replace

from fakes import CPU, FULL, H100, WINDOW, make_model

from autotune.keys import Question
from autotune.nearest import MOST, Stored, nearest

QUESTION = Question(make_model(FULL), "any", "balanced").text


def test_the_fields_that_differ_are_told_with_both_values() -> None:
    longer = Question(make_model(FULL, max_model_len=8192), "vllm", "balanced").text
    (near,) = nearest(QUESTION, CPU, [Stored("decision 7", "tiny", longer, CPU)])
    assert near.stored.where == "decision 7"
    assert near.differences == (
        "engine: vllm is stored, any is asked",
        "max_model_len: 8192 is stored, 4096 is asked",
    )


def test_the_device_is_compared_field_by_field() -> None:
    smaller = replace(H100, multiprocessors=114)
    (near,) = nearest(QUESTION, H100, [Stored("line 3", "tiny", QUESTION, smaller)])
    assert near.differences == ("device.multiprocessors: 114 is stored, 132 is asked",)


def test_the_nearest_come_first_and_others_models_not_at_all() -> None:
    other = Question(make_model(FULL, WINDOW), "any", "balanced").text
    pinned = Question(make_model(replace(FULL, page_size=64)), "vllm", "chat").text
    stored = [
        Stored("far", "tiny", pinned, H100),
        Stored("other", "mixed", other, CPU),
        Stored("near", "tiny", pinned, CPU),
        *(Stored(f"same {n}", "tiny", QUESTION, H100) for n in range(3)),
    ]
    found = nearest(QUESTION, CPU, stored)
    assert len(found) == MOST
    assert found[0].stored.where == "near"
    assert "page_size: [64] is stored, none is asked" in found[0].differences
    assert not any(each.stored.where == "other" for each in found)


def test_a_damaged_question_is_passed_over() -> None:
    assert nearest(QUESTION, CPU, [Stored("x", "tiny", "{", CPU), Stored("y", "t", "3", CPU)]) == ()
