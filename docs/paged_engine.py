"""A small paged engine that attends with whatever was measured for it.

python docs/paged_engine.py             # the stored answer, else the default
python docs/paged_engine.py --warm      # measures first
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import torch

import autotune
from autotune import Phase
from kernels_bench.batch import Batch

CONFIG = {
    "model_type": "llama",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}
NUM_LAYERS, NUM_PAGES = 2, 64


@dataclass
class Request:
    """What it has in its pages, and each token's input, so that it can be checked."""

    pages: list[int]
    cached: int = 0
    inputs: list[torch.Tensor] = field(default_factory=list)


class Engine:
    """Layers of attention alone, on random weights."""

    def __init__(self, choice: autotune.Choice, model: autotune.ModelConfig) -> None:
        self.found, self.spec = autotune.find_device("auto"), model.specs[0]
        self.device = "cpu" if self.found.device.kind == "cpu" else "cuda"
        seats = {phase: autotune.seat(choice, "full", phase) for phase in Phase}
        self.kernels = {p: autotune.load(who, self.spec, self.found) for p, who in seats.items()}
        self.layout = self.kernels[Phase.DECODE].pages  # every member of a split shares it
        heads, dim, size = self.spec.num_kv_heads, self.spec.head_dim, self.layout.size
        rows = (heads, size) if self.layout.layout == "HND" else (size, heads)
        shape = (NUM_LAYERS, 2, NUM_PAGES, *rows, dim)
        self.cache = torch.zeros(shape, dtype=torch.bfloat16, device=self.device)
        self.free = torch.randperm(NUM_PAGES).tolist()
        width, hidden = (self.spec.num_q_heads + 2 * heads) * dim, self.spec.num_q_heads * dim
        self.weights = torch.randn(NUM_LAYERS, hidden, width, device=self.device) * hidden**-0.5

    def project(self, layer: int, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[T, hidden] to query, key and value, [T, heads, dim] each."""
        spec = self.spec
        heads = (spec.num_q_heads, spec.num_kv_heads, spec.num_kv_heads)
        split = (x @ self.weights[layer]).split([count * spec.head_dim for count in heads], dim=1)
        return tuple(part.view(len(x), -1, spec.head_dim).bfloat16() for part in split)

    def step(self, requests: list[Request], x: torch.Tensor, new: list[int]) -> torch.Tensor:
        """Run new[i] tokens of each request, x[T, hidden] together; what comes out of them."""
        is_decode = all(count == 1 for count in new)
        phase = Phase.DECODE if is_decode else Phase.PREFILL
        if any(r.cached for r in requests) and not is_decode:
            phase = Phase.EXTEND
        slots = torch.cat([self._slots(r, n) for r, n in zip(requests, new, strict=True)])
        for layer in range(NUM_LAYERS):
            query, key, value = self.project(layer, x)
            self._write(layer, slots, key, value)
            batch = self._batch(requests, new, query, *self.cache[layer])
            launch = self.kernels[phase].bind(batch)
            launch.plan()
            launch.run()
            x = x + batch.output.flatten(1).float()
        for request, count in zip(requests, new, strict=True):
            request.cached += count
        return x

    def _slots(self, request: Request, count: int) -> torch.Tensor:
        """Where the next tokens go: page by page, a new one where the last is full."""
        size = self.layout.size
        while len(request.pages) * size < request.cached + count:
            request.pages.append(self.free.pop())
        at = torch.arange(request.cached, request.cached + count)
        return torch.tensor(request.pages)[at // size] * size + at % size

    def _write(self, layer: int, slots: torch.Tensor, *values: torch.Tensor) -> None:
        pages, rows = (slots // self.layout.size), (slots % self.layout.size)
        for cache, value in zip(self.cache[layer], values, strict=True):
            by_row = cache.transpose(1, 2) if self.layout.layout == "HND" else cache
            by_row[pages, rows] = value

    def _batch(
        self,
        requests: list[Request],
        new: list[int],
        query: torch.Tensor,
        key_cache: torch.Tensor,
        value_cache: torch.Tensor,
    ) -> Batch:
        """As `kernels_bench.backends.base.PagedBatch` describes it."""
        lens = [r.cached + n for r, n in zip(requests, new, strict=True)]
        width = max(len(r.pages) for r in requests)
        table = [r.pages + [0] * (width - len(r.pages)) for r in requests]
        seq_lens = torch.tensor(lens, dtype=torch.int32)
        starts = torch.tensor([0, *new]).cumsum(0).to(torch.int32)
        return Batch(
            query=query,
            key_cache=key_cache,
            value_cache=value_cache,
            block_table=torch.tensor(table, dtype=torch.int32, device=self.device),
            seq_lens=seq_lens.to(self.device),
            query_start_loc=starts.to(self.device),
            seq_lens_cpu=seq_lens,
            query_start_loc_cpu=starts,
            output=torch.empty_like(query),
            max_query_len=max(new),
            max_seq_len=max(lens),
            pages=self.layout,
            softmax_scale=self.spec.head_dim**-0.5,
            q_scale=None,
            k_scale=None,
            v_scale=None,
            sinks=None,
            alibi_slopes=None,
        )

    def plain(self, x: torch.Tensor) -> torch.Tensor:
        """All tokens of one request at once, in the textbook's way."""
        for layer in range(NUM_LAYERS):
            query, key, value = (part.float().transpose(0, 1) for part in self.project(layer, x))
            groups = self.spec.num_q_heads // self.spec.num_kv_heads
            key, value = (part.repeat_interleave(groups, 0) for part in (key, value))
            scores = query @ key.transpose(1, 2) * self.spec.head_dim**-0.5
            future = torch.ones(len(x), len(x), device=x.device).triu(1).bool()
            weights = scores.masked_fill(future, float("-inf")).softmax(-1)
            x = x + (weights @ value).transpose(0, 1).flatten(1)
        return x


def main() -> None:
    torch.manual_seed(0)
    if "--warm" in sys.argv:
        warmed = autotune.warm(CONFIG, budget_s=60, on_progress=lambda step: print(step.what))
        print(f"measured {warmed.report.measured}: {warmed.choice.why}")
    choice = autotune.choose(CONFIG)
    model = autotune.model_of(CONFIG)
    print(f"{choice.state}: {choice.backend}, {choice.why}")
    engine = Engine(choice, model)
    prompts = [5, 130, 16, 33]
    requests = [Request([]) for _ in prompts]
    x = torch.randn(sum(prompts), 256, device=engine.device)
    new, seen = prompts, list[list[torch.Tensor]]([[] for _ in prompts])
    for _ in range(20):
        out = engine.step(requests, x, new)
        parts = zip(requests, x.split(new), out.split(new), seen, strict=True)
        for request, given, got, kept in parts:
            request.inputs.append(given)
            kept.append(got)
        x = torch.stack([got[-1] for got in out.split(new)])  # each request's next input
        new = [1] * len(requests)
    errors = []
    for request, kept in zip(requests, seen, strict=True):
        given, got = torch.cat(request.inputs), torch.cat(kept)
        errors.append(((got - engine.plain(given)).norm() / (got - given).norm()).item())
    worst = max(errors)
    print(f"20 steps of {len(requests)} requests, {worst:.1e} from plain attention")
    if not worst < 2e-2:
        sys.exit("the backend computes something else")


if __name__ == "__main__":
    main()
