"""What a tuning run will do, before it does it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fakes import (
    CPU,
    CPU_FOUND,
    FLEX,
    FULL,
    SDPA,
    SWIFT,
    WINDOW,
    FakeBackend,
    make_model,
    refusing,
)

from autotune.models import ModelConfig
from autotune.plan import Plan, Situation, make_plan
from autotune.plan import restrict as restrict_survey
from autotune.wishes import Wishes
from kernels_bench.backends import FoundBackends
from kernels_bench.backends.base import Backend
from kernels_bench.candidates import Entrant, Survey, survey
from kernels_bench.grid import CPU_FULL, CPU_QUICK, GPU_FULL, GPU_QUICK, Limits, make_grid
from kernels_bench.rules import CPU_RULES
from kernels_bench.spec import Pages, Phase, Reason

STACK = {"torch": "2.13.0"}
ANY = Wishes("any")


def ask(model: ModelConfig, *backends: Backend) -> Survey:
    return survey(FoundBackends(backends), CPU, STACK, model.specs, tuple(Phase))


def plan_of(model: ModelConfig, *backends: Backend, wishes: Wishes = ANY) -> Plan:
    asked = restrict_survey(ask(model, *backends), model, wishes)
    grid = make_grid(CPU, model.specs, Limits(model.max_model_len), "quick")
    return make_plan(Situation(model, CPU_FOUND, STACK, asked), grid)


def reasons(model: ModelConfig, wishes: Wishes, *backends: Backend) -> set[str]:
    asked = restrict_survey(ask(model, *backends), model, wishes)
    return {reason.text for answer in asked.answers for reason in answer.support.reasons}


def test_the_incumbent_comes_first_and_variants_keep_their_order() -> None:
    sdpa = FakeBackend("torch_sdpa", ("padded", "alone"))
    plan = plan_of(make_model(FULL), SWIFT, FLEX, FakeBackend("alpha"), sdpa)
    labels = (
        "torch_sdpa:padded", "torch_sdpa:alone", "torch_flex:plain", "alpha:plain", "swift:plain",
    )  # fmt: skip
    assert {step.labels for step in plan.steps} == {labels}


def test_every_workload_with_every_kind_of_layer() -> None:
    plan = plan_of(make_model(FULL, WINDOW), SDPA)
    assert [step.name for step in plan.steps] == [
        f"{kind} {text}" for text in CPU_QUICK for kind in ("full", "window")
    ]
    assert {step.spec for step in plan.steps if step.kind == "window"} == {WINDOW}


def test_who_refuses_a_phase_is_left_out_of_it_alone() -> None:
    picky = FakeBackend("picky", refusals={Phase.VERIFY: (Reason("phase", "no verify"),)})
    plan = plan_of(make_model(FULL), SDPA, picky)
    without = {step.workload.phase for step in plan.steps if "picky:plain" not in step.labels}
    assert without == {Phase.VERIFY}


def test_a_step_that_nobody_can_run_is_none() -> None:
    picky = FakeBackend("picky", refusals={Phase.DECODE: (Reason("phase", "no decode"),)})
    assert Phase.DECODE not in {
        step.workload.phase for step in plan_of(make_model(FULL), picky).steps
    }
    nobody = plan_of(make_model(FULL), refusing("picky", "no"))
    assert nobody.steps == ()
    assert not nobody.situation.can_run


def test_a_model_without_a_layer_to_ask_about() -> None:
    reason = Reason("model_type", "model_type 'mamba': no softmax attention")
    plan = plan_of(make_model(unsupported=(reason,)), SDPA, FLEX)
    assert plan.steps == ()
    assert plan.situation.survey.asked == ("torch_sdpa", "torch_flex")


def test_the_model_s_reasons_are_everybody_s() -> None:
    model = make_model(FULL, unsupported=(Reason("alibi", "alibi true: not understood"),))
    backends = (SDPA, refusing("picky", "arch x: needs y"))
    assert reasons(model, ANY, *backends) == {"alibi true: not understood", "arch x: needs y"}
    assert plan_of(model, *backends).steps == ()


def test_an_engine_takes_only_what_it_has_an_option_for() -> None:
    option = {"vllm": {"attention_backend": "FLEX_ATTENTION"}}
    flex = replace(FLEX, engine_options=option)
    wishes = Wishes("vllm")
    assert reasons(make_model(FULL), wishes, SDPA, flex) == {
        "engine vllm: has no option that loads torch_sdpa:plain"
    }
    plan = plan_of(make_model(FULL), SDPA, flex, wishes=wishes)
    assert {step.labels for step in plan.steps} == {("torch_flex:plain",)}


def test_a_disabled_backend_is_out_with_that_reason_beside_its_own() -> None:
    wishes = Wishes("any", frozenset({"torch_flex", "picky"}))
    assert reasons(make_model(FULL), wishes, SDPA, FLEX, refusing("picky", "no")) == {
        "torch_flex: named in AUTOTUNE_DISABLE_BACKENDS",
        "picky: named in AUTOTUNE_DISABLE_BACKENDS",
        "no",
    }


def test_one_missing_measurement_makes_the_whole_step_missing() -> None:
    plan = plan_of(make_model(FULL), SDPA, FLEX)
    first, second, *_ = plan.steps
    everything = {key for step in plan.steps for key in plan.keys(step)}
    assert len(everything) == 2 * len(plan.steps)
    assert plan.missing(everything) == ()
    assert plan.missing(everything - {plan.keys(first)[1]}) == (first,)
    assert plan.missing(set(plan.keys(second))) == (first, *plan.steps[2:])
    assert plan.missing(()) == plan.steps


def test_a_step_as_the_measuring_process_takes_it() -> None:
    plan = plan_of(make_model(replace(FULL, page_size=32)), SDPA, FLEX)
    step = plan.steps[0]
    entrants = tuple(answer.entrant for answer in step.answers)
    task = plan.task(step, entrants)
    assert (task.device, task.torch_device, task.rules) == (CPU, "cpu", CPU_RULES)
    assert task.max_model_len == plan.situation.model.max_model_len
    assert (task.spec, task.workload) == (step.spec, step.workload)
    assert [entrant.label for entrant in task.entrants] == list(step.labels)
    assert {entrant.pages for entrant in task.entrants} == {Pages(32)}
    assert isinstance(task.entrants[0], Entrant)


def test_a_backend_races_its_first_four_variants_that_can_run() -> None:
    names = ("a", "b", "c", "d", "e", "f")
    many = FakeBackend("torch_flex", names, refusals={Phase.DECODE: ()})
    plan = plan_of(make_model(FULL, WINDOW), SDPA, many)
    first_four = tuple(f"torch_flex:{name}" for name in names[:4])
    assert {step.labels for step in plan.steps} == {("torch_sdpa:plain", *first_four)}
    texts = reasons(make_model(FULL), ANY, SDPA, many)
    assert texts == {"variants: 4 others of torch_flex come before it"}


def test_without_somebody_the_others_keep_their_steps() -> None:
    plan = plan_of(make_model(FULL, WINDOW), SDPA, FLEX)
    flex = {(FULL, "torch_flex:plain", Pages(16))}
    rest = plan.without(flex)
    assert {step.labels for step in rest.steps if step.spec == FULL} == {("torch_sdpa:plain",)}
    assert {len(step.labels) for step in rest.steps if step.spec == WINDOW} == {2}
    everybody = {
        (spec, label, Pages(16))
        for spec in (FULL, WINDOW)
        for label in ("torch_sdpa:plain", "torch_flex:plain")
    }
    assert plan.without(everybody).steps == ()


def test_a_pinned_page_size_that_is_not_offered_is_a_refusal() -> None:
    model = make_model(replace(FULL, page_size=48))
    assert reasons(model, ANY, SDPA) == {"page_size 48: takes 16, 32"}


def test_the_packages_of_all_variants_count() -> None:
    plan = plan_of(make_model(FULL), SDPA, replace(FLEX, packages=("torch", "c++")))
    assert set(plan.situation.packages()) == {"torch", "c++"}


@pytest.mark.parametrize(("quick", "full"), [(CPU_QUICK, CPU_FULL), (GPU_QUICK, GPU_FULL)])
def test_a_quick_run_measures_nothing_that_a_full_one_does_not(
    quick: tuple[str, ...], full: tuple[str, ...]
) -> None:
    assert set(quick) < set(full)
