"""A process that starts a whole vLLM, puts it to loads, and says how it fared.

python -m autotune.in_vllm.running FD, the job on stdin, then a line to begin.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from autotune.engine_loads import Load
from autotune.engine_messages import (
    Broke,
    EngineEvent,
    EngineJob,
    Finished,
    Ready,
    Sample,
    Scores,
    Started,
    line_of,
    read_job,
)
from kernels_bench.errors import one_line
from kernels_bench.processes import end_with_parent

Say = Callable[[EngineEvent], None]
Finish = Callable[[Any, EngineJob], None]

SEED = 20_261_123
_PROMPTS, _PROMPT_TOKENS, _ANSWER_TOKENS = 8, 256, 32
_LEAST_REPEATS = 2
_WARM_UP = 8
"""The part of a load that is run before it is timed: kernels are compiled, graphs touched."""


def main(finish: Finish = lambda *_: None) -> None:
    """One job; what went wrong is told as an event. `finish` is done last with the engine."""
    _end_with_all_processes()
    out = os.fdopen(int(sys.argv[1]), "w")

    def say(event: EngineEvent) -> None:
        out.write(line_of(event))
        out.flush()

    job = read_job(sys.stdin.readline())
    try:
        _run(job, say, finish)
    except Exception as error:  # whatever an engine raises is its answer
        say(Broke(one_line(error)))
        sys.exit(1)


def _end_with_all_processes() -> None:
    """As the parent ends, also by -9, or on SIGTERM: an engine that outlives whoever asked would
    keep the device's memory.
    """
    own = os.getpid()

    def end(*_: object) -> None:
        if os.getpid() != own:  # a fork of ours that vLLM sends home
            os._exit(0)
        os.killpg(0, signal.SIGKILL)  # we lead a session

    signal.signal(signal.SIGTERM, end)
    end_with_parent(signal.SIGTERM)


def _run(job: EngineJob, say: Say, finish: Finish) -> None:
    """Raises what the engine raises."""
    began = time.monotonic()
    from vllm import LLM, __version__

    say(Ready(time.monotonic() - began))
    if not sys.stdin.readline():
        raise SystemExit(0)  # nobody wants it any more
    began = time.monotonic()
    llm = LLM(
        model=job.model,
        load_format="auto" if job.has_weights else "dummy",
        skip_tokenizer_init=True,
        disable_log_stats=False,  # else requests have no times
        worker_extension_cls=job.extension,
        **dict(job.arguments),
    )
    say(_started(llm, time.monotonic() - began, __version__))
    if not job.has_weights:
        llm.collective_rpc("draw_weights", args=(SEED,))
    if job.is_scored:
        say(_scores(llm))
    for sample in _samples(llm, job):
        say(sample)
    finish(llm, job)
    say(Finished(max(llm.collective_rpc("peak_bytes"))))


def _started(llm: Any, start_s: float, version: str) -> Started:
    cache = llm.llm_engine.vllm_config.cache_config
    ranks = llm.collective_rpc("attention_backends")
    return Started(
        start_s=start_s,
        backends=tuple(sorted({name for rank in ranks for name in rank})),
        config_hash="+".join(sorted(set(llm.collective_rpc("config_hash")))),
        kv_tokens=(cache.num_gpu_blocks or 0) * cache.block_size,
        engine_version=version,
    )


def _samples(llm: Any, job: EngineJob) -> Iterator[Sample]:
    """Load after load, again and again: a slow minute of the machine is nobody's alone."""
    draw = random.Random(SEED)
    for load in job.loads:
        once(llm, load.scaled(_WARM_UP), draw)
    began = time.monotonic()
    for repeat in range(job.repeats):
        if repeat >= _LEAST_REPEATS and time.monotonic() - began > job.most_s:
            return
        for load in job.loads:
            yield once(llm, load, draw)


def once(llm: Any, load: Load, draw: random.Random) -> Sample:
    """All requests at once, with prompts that no other had: nothing is found in a prefix cache."""
    from vllm import SamplingParams

    words = llm.llm_engine.model_config.get_vocab_size()
    prompts = _prompts(draw, words, load.requests, load.input_tokens)
    wanted = SamplingParams(
        max_tokens=load.output_tokens, temperature=0.0, ignore_eos=True, detokenize=False
    )
    began = time.monotonic()
    outputs = llm.generate(prompts, wanted, use_tqdm=False)
    wall_s = time.monotonic() - began
    times = [output.metrics for output in outputs]
    return Sample(
        load=load.text,
        wall_s=wall_s,
        output_tokens=sum(len(output.outputs[0].token_ids) for output in outputs),
        ttft_ms=1e3 * statistics.median(t.first_token_ts - t.queued_ts for t in times),
        tbt_ms=1e3
        * statistics.median(
            (t.last_token_ts - t.first_token_ts) / (load.output_tokens - 1) for t in times
        ),
    )


def _prompts(draw: random.Random, words: int, count: int, tokens: int) -> list[dict[str, Any]]:
    return [{"prompt_token_ids": draw.choices(range(words), k=tokens)} for _ in range(count)]


def _scores(llm: Any) -> Scores:
    """Of fixed prompts, and of greedy answers to them."""
    from vllm import SamplingParams

    config = llm.llm_engine.model_config
    answer_tokens = min(_ANSWER_TOKENS, config.max_model_len // 4)
    prompt_tokens = min(_PROMPT_TOKENS, config.max_model_len - answer_tokens)
    draw = random.Random(SEED)
    prompts = _prompts(draw, config.get_vocab_size(), _PROMPTS, prompt_tokens)
    wanted = SamplingParams(
        max_tokens=answer_tokens,
        temperature=0.0,
        ignore_eos=True,
        detokenize=False,
        logprobs=1,
        prompt_logprobs=1,
    )
    outputs = llm.generate(prompts, wanted, use_tqdm=False)
    answers = [output.outputs[0] for output in outputs]
    return Scores(
        prompt=tuple(
            tuple(
                places[token].logprob
                for token, places in zip(output.prompt_token_ids[1:], _places(output), strict=True)
            )
            for output in outputs
        ),
        tops=tuple(tuple(_likeliest(place) for place in _places(output)) for output in outputs),
        answers=tuple(tuple(answer.token_ids) for answer in answers),
        answer_scores=tuple(
            tuple(
                place[token].logprob
                for token, place in zip(answer.token_ids, answer.logprobs, strict=True)
            )
            for answer in answers
        ),
    )


def _places(output: Any) -> list[Any]:
    """Token -> log-probability, for each token but the first, which nothing precedes."""
    return list(output.prompt_logprobs)[1:]


def _likeliest(place: Any) -> int:
    return int(min(place, key=lambda token: place[token].rank))


if __name__ == "__main__":  # vLLM's processes import this file again
    main()
