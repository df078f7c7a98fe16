"""A small paged engine that attends with whatever was measured for it; on a GPU where one is.

python docs/paged_engine.py             # the stored answer, else the default
python docs/paged_engine.py --warm      # measures first
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

import torch
from torch import Tensor

import autotune

CONFIG = {
    "model_type": "llama",
    "_name_or_path": "paged-engine",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "num_hidden_layers": 2,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}
PROMPTS = (5, 130, 16, 33)  # tokens: less than a page, many, exactly one, one more than two
CHUNK, STEPS, NUM_PAGES, NUM_LAYERS = 64, 20, 64, 2


@dataclass
class Request:
    """Its tokens' inputs, the prompt's and one more a step, and what came out of them."""

    inputs: Tensor
    """[tokens, hidden]"""
    outputs: list[Tensor] = field(default_factory=list)
    pages: list[int] = field(default_factory=list)
    cached: int = 0


class Engine:
    """Layers of attention alone, on random weights; at most CHUNK tokens of a request a step."""

    def __init__(self, kernels: autotune.Kernels, model: autotune.ModelConfig, device: str) -> None:
        self.kernels, self.pages, self.device = kernels, kernels.pages, device
        (self.spec,) = model.specs  # one kind of layer: "full"
        q, kv, dim = self.spec.num_q_heads, self.spec.num_kv_heads, self.spec.head_dim
        self.widths, self.hidden = [q * dim, kv * dim, kv * dim], q * dim
        size = self.pages.size
        page = (size, kv) if self.pages.layout == "NHD" else (kv, size)
        # Not empty: a kernel may read the rest of a page, and NaN times a weight of 0 is NaN.
        shape = (NUM_LAYERS, 2, NUM_PAGES, *page, dim)
        self.cache = torch.zeros(shape, dtype=torch.bfloat16, device=device)
        self.free = torch.randperm(NUM_PAGES).tolist()
        weights = torch.randn(NUM_LAYERS, self.hidden, sum(self.widths), device=device)
        self.weights = weights * self.hidden**-0.5

    def step(self, requests: list[Request]) -> None:
        """Prompts chunk by chunk beside one token of each request whose prompt is through."""
        new = [min(CHUNK, len(r.inputs) - r.cached) for r in requests]
        total = [r.cached + n for r, n in zip(requests, new, strict=True)]
        slots = torch.cat([self.slots(r, t) for r, t in zip(requests, total, strict=True)])
        x = torch.cat([r.inputs[r.cached : t] for r, t in zip(requests, total, strict=True)])
        tables = [r.pages for r in requests]
        step = autotune.make_step(tables, new, total, self.pages, self.device)
        kernel = self.kernels.of("full", step.phase)
        for layer in range(NUM_LAYERS):
            query, key, value = self.project(layer, x)
            self.write(layer, slots, key, value)
            key_cache, value_cache = self.cache[layer]
            output = torch.empty_like(query)
            tensors = autotune.LayerTensors(query, key_cache, value_cache, output)
            # An engine whose tensors stay where they are binds once, and only plans and runs here.
            launch = kernel.bind(step, tensors)
            launch.plan()
            launch.run()
            x = x + output.flatten(1).float()
        for request, count, rows in zip(requests, total, x.split(new), strict=True):
            request.outputs.append(rows)
            request.cached = count
            if count == len(request.inputs):  # the last output, scaled, stands for a next token
                following = torch.nn.functional.rms_norm(rows[-1:], (self.hidden,))
                request.inputs = torch.cat([request.inputs, following])

    def project(self, layer: int, x: Tensor) -> tuple[Tensor, ...]:
        """[T, hidden] to query, key and value: [T, heads, dim] each."""
        parts = (x @ self.weights[layer]).split(self.widths, dim=1)
        return tuple(part.unflatten(1, (-1, self.spec.head_dim)).bfloat16() for part in parts)

    def slots(self, request: Request, total: int) -> Tensor:
        """Where its new tokens go, up to `total`; it gets pages for them, in any order."""
        while len(request.pages) < self.pages.count_for(total):
            request.pages.append(self.free.pop())
        at = torch.arange(request.cached, total)
        pages = torch.tensor(request.pages)[at // self.pages.size]
        return (pages * self.pages.size + at % self.pages.size).to(self.device)

    def write(self, layer: int, slots: Tensor, *values: Tensor) -> None:
        """New keys and values into their pages, whatever the order of a page's axes."""
        for cache, value in zip(self.cache[layer], values, strict=True):
            rows = cache if self.pages.layout == "NHD" else cache.transpose(1, 2)
            rows[slots // self.pages.size, slots % self.pages.size] = value

    def plainly(self, x: Tensor) -> Tensor:
        """All tokens of one request at once, as in a textbook: [tokens, hidden]."""
        for layer in range(NUM_LAYERS):
            query, key, value = (part.float().transpose(0, 1) for part in self.project(layer, x))
            groups = len(query) // len(key)
            key, value = key.repeat_interleave(groups, 0), value.repeat_interleave(groups, 0)
            scores = query @ key.transpose(1, 2) * self.spec.scale
            future = torch.ones_like(scores, dtype=torch.bool).triu(1)
            weights = scores.masked_fill(future, float("-inf")).softmax(-1)
            x = x + (weights @ value).transpose(0, 1).flatten(1)
        return x


def worst_error(engine: Engine, requests: list[Request]) -> float:
    """Of all tokens: how far off attention's part of the output is, over its size. NaN stays."""
    errors = []
    for request in requests:
        given, got = request.inputs[: request.cached], torch.cat(request.outputs)
        right = engine.plainly(given)
        errors.append((got - right).norm(dim=1) / (right - given).norm(dim=1))
    return float(torch.cat(errors).max())


def warm() -> None:
    def tell(progress: autotune.Progress) -> None:
        if progress.is_news or progress.outcomes:
            print(f"[{progress.done}/{progress.total}] {progress.what}")

    warmed = autotune.warm(CONFIG, budget_s=60, on_progress=tell)
    print(
        f"{warmed.report.measured} measured, {len(warmed.wrong)} wrong, {len(warmed.failed)} failed"
    )


def explain(choice: autotune.Choice, kernels: autotune.Kernels) -> None:
    for phase in autotune.Phase:
        print(f"{phase.value:8} {kernels.of('full', phase).label}")
    print(f"{choice.state}: {choice.why}")
    if choice.decision is not None and choice.decision.split is not None:
        print(f"two backends cost {choice.decision.split.gain:.1%} less than the best single one")


def main() -> None:
    torch.manual_seed(0)
    if "--warm" in sys.argv:
        warm()
    model, choice = autotune.model_of(CONFIG), autotune.choose(CONFIG)
    kernels = autotune.load(choice, model)
    explain(choice, kernels)
    engine = Engine(kernels, model, autotune.find_device("auto").selector)
    prompts = [torch.randn(n, engine.hidden, device=engine.device) for n in PROMPTS]
    requests = [Request(prompt) for prompt in prompts]
    for _ in range(STEPS):
        engine.step(requests)
    error = worst_error(engine, requests)
    print(f"{STEPS} steps of {len(requests)} requests, at most {error:.1%} from plain attention")
    if not error < 0.05:
        sys.exit("the backend computes something else")


if __name__ == "__main__":
    try:
        main()
    except (autotune.AutotuneError, autotune.CacheError) as error:
        sys.exit(f"{error}")
