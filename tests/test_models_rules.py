"""One rule of reading a config.json a test, on small configs."""

from __future__ import annotations

import pytest

from autotune.errors import ConfigError, ModelRequestError
from autotune.models import ModelConfig, ModelRequest, parse_config

PLAIN: dict[str, object] = {
    "model_type": "llama",
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "max_position_embeddings": 8192,
    "torch_dtype": "bfloat16",
}


def parse(config: dict[str, object], request: ModelRequest | None = None) -> ModelConfig:
    return parse_config(config, request or ModelRequest("test"), name="test")


def plain(**changes: object) -> dict[str, object]:
    return {**PLAIN, **changes}


def windows(model: ModelConfig) -> list[tuple[int | None, int]]:
    return [(spec.sliding_window, spec.num_layers) for spec in model.specs]


def reason_fields(model: ModelConfig) -> list[str]:
    return [reason.field for reason in model.unsupported]


class TestWindows:
    def test_qwen_ignores_its_window_unless_switched_on(self) -> None:
        off = plain(model_type="qwen2", sliding_window=4096, max_window_layers=2)
        assert windows(parse(off)) == [(None, 8)]
        assert windows(parse({**off, "use_sliding_window": True})) == [(None, 2), (4096, 6)]

    def test_qwen_may_window_every_layer(self) -> None:
        config = plain(
            model_type="qwen2", sliding_window=4096, max_window_layers=0, use_sliding_window=True
        )
        assert windows(parse(config)) == [(4096, 8)]

    def test_qwen3_moe_windows_every_layer_once_switched_on(self) -> None:
        config = plain(
            model_type="qwen3_moe",
            sliding_window=1024,
            max_window_layers=4,
            use_sliding_window=True,
        )
        assert windows(parse(config)) == [(1024, 8)]

    def test_a_window_not_smaller_than_the_context_is_none(self) -> None:
        at = plain(model_type="mistral", sliding_window=8192)
        assert windows(parse(at)) == [(None, 8)]
        assert windows(parse({**at, "sliding_window": 8191})) == [(8191, 8)]

    def test_a_shorter_served_length_keeps_the_window(self) -> None:
        # Else the fingerprint of a model would depend on how it is served.
        config = plain(model_type="mistral", sliding_window=4096)
        model = parse(config, ModelRequest("test", max_model_len=1024))
        assert windows(model) == [(4096, 8)]

    def test_an_absent_window_takes_the_recorded_default(self) -> None:
        assert windows(parse(plain(model_type="mistral"))) == [(4096, 8)]
        assert windows(parse(plain(model_type="mistral", sliding_window=None))) == [(None, 8)]

    def test_gemma3_pattern(self) -> None:
        config = plain(model_type="gemma3_text", sliding_window=512, sliding_window_pattern=4)
        assert windows(parse(config)) == [(512, 6), (None, 2)]

    def test_layer_types_win_over_a_pattern(self) -> None:
        types = ["full_attention"] * 3 + ["sliding_attention"] * 5
        config = plain(model_type="gemma2", sliding_window=512, layer_types=types)
        assert windows(parse(config)) == [(None, 3), (512, 5)]

    def test_an_unrecorded_model_type_may_use_layer_types(self) -> None:
        types = ["sliding_attention", "full_attention"] * 4
        model = parse(plain(model_type="new", sliding_window=512, layer_types=types))
        assert windows(model) == [(512, 4), (None, 4)]
        assert model.unsupported == ()

    @pytest.mark.parametrize("model_type", ["new", "llama"])
    def test_a_window_of_unrecorded_layers_is_refused(self, model_type: str) -> None:
        config = plain(model_type=model_type, sliding_window=512)
        model = parse(config)
        assert reason_fields(model) == ["sliding_window"]
        assert "512" in model.unsupported[0].text
        assert parse({**config, "use_sliding_window": False}).unsupported == ()


class TestLlama4:
    CHUNKED = plain(model_type="llama4_text", attention_chunk_size=2048)

    def chunks(self, config: dict[str, object]) -> list[tuple[int | None, int]]:
        return [(spec.attention_chunk, spec.num_layers) for spec in parse(config).specs]

    def test_every_fourth_layer_is_full_by_default(self) -> None:
        assert self.chunks(self.CHUNKED) == [(2048, 6), (None, 2)]
        assert self.chunks({**self.CHUNKED, "no_rope_layers": []}) == [(2048, 6), (None, 2)]

    def test_no_rope_layers_marks_rope_with_one(self) -> None:
        listed = {**self.CHUNKED, "no_rope_layers": [0, 1, 1, 1, 1, 1, 1, 1]}
        assert self.chunks(listed) == [(None, 1), (2048, 7)]

    def test_no_chunk_or_one_as_long_as_the_context(self) -> None:
        assert self.chunks({**self.CHUNKED, "attention_chunk_size": None}) == [(None, 8)]
        assert self.chunks({**self.CHUNKED, "attention_chunk_size": 8192}) == [(None, 8)]

    def test_a_text_config_without_type_takes_that_of_the_file(self) -> None:
        nested = {key: value for key, value in self.CHUNKED.items() if key != "model_type"}
        model = parse({"model_type": "llama4", "text_config": nested, "vision_config": {"a": 1}})
        assert model.model_type == "llama4_text"
        assert [spec.attention_chunk for spec in model.specs] == [2048, None]


class TestHeads:
    def test_falcon(self) -> None:
        falcon = plain(model_type="falcon", num_kv_heads=2)
        assert parse(falcon).specs[0].num_kv_heads == 1
        assert parse({**falcon, "multi_query": False}).specs[0].num_kv_heads == 8
        new = parse({**falcon, "new_decoder_architecture": True, "alibi": True})
        assert new.specs[0].num_kv_heads == 2
        assert new.specs[0].has_alibi

    def test_the_first_falcon_files(self) -> None:
        names = {"n_head": 8, "n_layer": 3, "hidden_size": 512}
        config: dict[str, object] = {"model_type": "RefinedWebModel", **names}
        spec = parse(config).specs[0]
        assert (spec.num_q_heads, spec.num_kv_heads, spec.num_layers) == (8, 1, 3)

    def test_no_kv_heads_means_as_many_as_query_heads(self) -> None:
        config = plain(num_key_value_heads=None)
        assert parse(config).specs[0].num_kv_heads == 8
        del config["num_key_value_heads"]
        assert parse(config).specs[0].num_kv_heads == 8

    def test_the_scale_of_gemma_and_granite(self) -> None:
        gemma = plain(model_type="gemma2", head_dim=64, query_pre_attn_scalar=144)
        assert parse(gemma).specs[0].softmax_scale == 144**-0.5
        granite = plain(model_type="granite", attention_multiplier=0.015625)
        assert parse(granite).specs[0].softmax_scale == 0.015625

    def test_the_usual_scale_is_left_out(self) -> None:
        gemma = plain(model_type="gemma2", head_dim=64, query_pre_attn_scalar=64)
        assert parse(gemma).specs[0].softmax_scale is None

    def test_a_value_head_of_its_own_width(self) -> None:
        assert parse(plain(v_head_dim=32)).specs[0].value_dim == 32
        assert parse(plain(v_head_dim=64)).specs[0].head_dim_v is None

    def test_kv_heads_must_divide_query_heads(self) -> None:
        with pytest.raises(ConfigError, match="8 query and 3 kv heads"):
            parse(plain(num_key_value_heads=3))

    def test_hidden_size_must_share_evenly(self) -> None:
        with pytest.raises(ConfigError, match="hidden_size 513 is no multiple"):
            parse(plain(hidden_size=513))


class TestTensorParallel:
    def heads(self, config: dict[str, object], ranks: int) -> tuple[int, int]:
        spec = parse(config, ModelRequest("test", tensor_parallel=ranks)).specs[0]
        return spec.num_q_heads, spec.num_kv_heads

    @pytest.mark.parametrize(
        ("ranks", "heads"), [(1, (8, 4)), (2, (4, 2)), (4, (2, 1)), (8, (1, 1))]
    )
    def test_heads_are_per_rank_and_kv_replicated(self, ranks: int, heads: tuple[int, int]) -> None:
        assert self.heads(plain(), ranks) == heads

    def test_query_heads_must_divide(self) -> None:
        with pytest.raises(ModelRequestError, match="--tp 3 does not divide 8 query heads"):
            self.heads(plain(), 3)

    def test_kv_heads_must_divide_or_be_multiplied(self) -> None:
        config = plain(num_attention_heads=12, num_key_value_heads=4, hidden_size=768)
        with pytest.raises(ModelRequestError, match="--tp 6 neither divides 4 kv heads"):
            self.heads(config, 6)

    def test_the_latent_of_mla_stays_whole(self) -> None:
        assert self.heads(plain(model_type="deepseek_v3"), 4) == (2, 1)

    @pytest.mark.parametrize("ranks", [0, -1])
    def test_at_least_one(self, ranks: int) -> None:
        with pytest.raises(ModelRequestError, match=f"--tp {ranks}"):
            self.heads(plain(), ranks)


class TestDtype:
    @pytest.mark.parametrize(
        ("written", "served"),
        [
            ({"torch_dtype": "float16"}, "float16"),
            ({"torch_dtype": "float32"}, "bfloat16"),
            ({"torch_dtype": None}, "bfloat16"),
            ({"torch_dtype": None, "dtype": "float16"}, "float16"),
            ({"torch_dtype": "torch.float16"}, "float16"),
        ],
    )
    def test_from_the_file(self, written: dict[str, object], served: str) -> None:
        assert parse({**PLAIN, **written}).specs[0].dtype == served

    def test_a_nested_config_may_leave_it_to_the_file(self) -> None:
        nested = {key: value for key, value in PLAIN.items() if key != "torch_dtype"}
        config: dict[str, object] = {
            "model_type": "x",
            "torch_dtype": "float16",
            "text_config": nested,
        }
        assert parse(config).specs[0].dtype == "float16"

    @pytest.mark.parametrize(
        ("asked", "served"),
        [("auto", "bfloat16"), ("fp16", "float16"), ("half", "float16"), ("bf16", "bfloat16")],
    )
    def test_from_the_request(self, asked: str, served: str) -> None:
        assert parse(plain(), ModelRequest("test", dtype=asked)).specs[0].dtype == served

    @pytest.mark.parametrize(
        ("asked", "served"),
        [("auto", None), ("fp8", "fp8_e4m3"), ("fp8_e4m3", "fp8_e4m3"), ("fp8_e5m2", "fp8_e5m2")],
    )
    def test_of_the_cache(self, asked: str, served: str | None) -> None:
        assert parse(plain(), ModelRequest("test", kv_dtype=asked)).specs[0].kv_dtype == served

    def test_unknown_names_are_answered_with_the_choices(self) -> None:
        with pytest.raises(ModelRequestError, match=r"dtype 'int8'.*auto, bfloat16, bf16"):
            parse(plain(), ModelRequest("test", dtype="int8"))
        with pytest.raises(ModelRequestError, match=r"kv dtype 'int8'.*auto, fp8, fp8_e4m3"):
            parse(plain(), ModelRequest("test", kv_dtype="int8"))
        with pytest.raises(ConfigError, match=r"field 'torch_dtype'.*found 'int4'.*--dtype"):
            parse(plain(torch_dtype="int4"))
        assert parse(plain(torch_dtype="int4"), ModelRequest("test", dtype="fp16")).specs


class TestLength:
    def test_yarn_stretches_the_original_length(self) -> None:
        rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8192}
        assert parse(plain(rope_scaling=rope)).max_model_len == 32768
        assert parse(plain(rope_parameters=rope)).max_model_len == 32768
        assert parse(plain(rope_scaling={"type": "linear", "factor": 4.0})).max_model_len == 8192

    def test_the_request_may_only_shorten(self) -> None:
        assert parse(plain(), ModelRequest("test", max_model_len=100)).max_model_len == 100
        with pytest.raises(ModelRequestError, match=r"--max-model-len 8193.*8192 tokens at most"):
            parse(plain(), ModelRequest("test", max_model_len=8193))

    def test_a_pinned_page_size_reaches_every_spec(self) -> None:
        config = plain(model_type="gemma2", sliding_window=512)
        specs = parse(config, ModelRequest("test", page_size=32)).specs
        assert [spec.page_size for spec in specs] == [32, 32]
        with pytest.raises(ModelRequestError, match="--page-size 0"):
            parse(config, ModelRequest("test", page_size=0))


class TestRefusals:
    @pytest.mark.parametrize(
        ("model_type", "text"),
        [("bert", "encoder"), ("t5", "encoder-decoder"), ("mamba2", "no softmax attention")],
    )
    def test_other_architectures_need_no_further_field(self, model_type: str, text: str) -> None:
        model = parse({"model_type": model_type})
        assert model.specs == ()
        assert [reason.field for reason in model.unsupported] == ["model_type"]
        assert text in model.unsupported[0].text
        assert model.max_model_len == 2048

    def test_their_length_is_read_where_it_is_said(self) -> None:
        config: dict[str, object] = {"model_type": "bert", "max_position_embeddings": 512}
        assert parse(config).max_model_len == 512
        assert parse(config, ModelRequest("test", max_model_len=64)).max_model_len == 64

    def test_an_encoder_decoder_of_unknown_type(self) -> None:
        assert reason_fields(parse(plain(is_encoder_decoder=True))) == ["is_encoder_decoder"]

    def test_hybrids_by_their_own_keys(self) -> None:
        minimax = parse(plain(attn_type_list=[0, 1] * 4))
        assert reason_fields(minimax) == ["layer_types"]
        assert minimax.specs[0].num_layers == 4
        assert reason_fields(parse(plain(attn_type_list=[1] * 8))) == []
        # Qwen3-Next names no interval: every fourth layer is softmax attention.
        following = parse(plain(model_type="qwen3_next"))
        assert reason_fields(following) == ["layer_types"]
        assert following.specs[0].num_layers == 2

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("blocksparse_block_size", 64),
            ("dense_attention_every_n_layers", 2),
            ("attn_config", {"alibi": True}),
            ("cross_attention_layers", [3, 8]),
            ("hybrid_override_pattern", "M*M*"),
            ("is_causal", False),
            ("scale_attn_weights", False),
            ("alibi", True),
            ("attention_chunk_size", 128),
            ("attn_logit_softcapping", 30.0),
            ("query_pre_attn_scalar", 144),
            ("sliding_window_size", 4096),
            ("full_attn_mod", 2),
        ],
    )
    def test_a_field_that_is_not_understood(self, field: str, value: object) -> None:
        model = parse(plain(**{field: value}))
        assert reason_fields(model) == [field]
        assert model.unsupported[0].text.startswith(f"{field} ")

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("attention_bias", True),
            ("attention_dropout", 0.1),
            ("rope_theta", 1e6),
            ("partial_rotary_factor", 0.5),
            ("cross_attention_hidden_size", None),
            ("add_cross_attention", False),
            ("pruned_heads", {}),
            ("is_causal", True),
            ("full_attn_mod", 1),
            ("vision_config", {"num_heads": 16}),
            ("quantization_config", {"attn": "fp8"}),
            ("num_kv_shared_layers", 0),
        ],
    )
    def test_a_field_that_changes_no_kernel(self, field: str, value: object) -> None:
        assert parse(plain(**{field: value})).unsupported == ()

    def test_the_file_around_a_nested_config_counts_too(self) -> None:
        model = parse({"model_type": "x", "text_config": plain(), "sparse_attention": "topk"})
        assert reason_fields(model) == ["sparse_attention"]

    def test_every_reason_is_told(self) -> None:
        model = parse(plain(index_topk=2048, attn_config={"a": 1}, is_causal=False))
        assert reason_fields(model) == ["index_topk", "attn_config", "is_causal"]

    def test_an_unrecorded_type_with_plain_fields_is_taken(self) -> None:
        model = parse(plain(model_type="brand_new"))
        assert model.unsupported == ()
        assert model.specs[0].num_kv_heads == 4
