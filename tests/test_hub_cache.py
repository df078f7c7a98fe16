"""A model's config.json in the hub's local cache, and what must not be followed."""

from __future__ import annotations

from pathlib import Path

import pytest

from autotune.models.hub_cache import find_config

COMMIT = "0123456789abcdef0123456789abcdef01234567"
MODEL = "org/some-model"


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A cache as the hub's client writes it: a reference, a snapshot, a link to a blob."""
    root = tmp_path / "hub"
    folder = root / "models--org--some-model"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    (folder / "blobs").mkdir()
    (folder / "blobs" / "abc").write_text("{}")
    snapshot = folder / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    return root


def find(hub: Path, model: str = MODEL, revision: str | None = None) -> Path | None:
    return find_config(model, revision, {"HF_HUB_CACHE": str(hub)})


def test_the_snapshot_of_main(hub: Path) -> None:
    wanted = hub / "models--org--some-model" / "snapshots" / COMMIT / "config.json"
    assert find(hub) == wanted
    assert find(hub, revision="main") == wanted
    assert find(hub, revision=COMMIT) == wanted


def test_a_branch_a_tag_and_a_pull_request(hub: Path) -> None:
    folder = hub / "models--org--some-model"
    (folder / "refs" / "refs" / "pr").mkdir(parents=True)
    (folder / "refs" / "refs" / "pr" / "1").write_text(f"{COMMIT}\n")
    assert find(hub, revision="refs/pr/1") == find(hub)
    assert find(hub, revision="v2") is None


def test_a_model_without_an_organisation(hub: Path) -> None:
    (hub / "models--org--some-model").rename(hub / "models--some-model")
    assert find(hub, "some-model") is not None
    assert find(hub) is None


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HF_HUB_CACHE": "{0}/a"}, "a"),
        ({"HUGGINGFACE_HUB_CACHE": "{0}/a"}, "a"),
        ({"HF_HUB_CACHE": "{0}/a", "HF_HOME": "{0}/b"}, "a"),
        ({"HF_HOME": "{0}/b"}, "b/hub"),
        ({"HF_HOME": "~/b", "HOME": "{0}"}, "b/hub"),
        ({"XDG_CACHE_HOME": "{0}/c", "HOME": "{0}/d"}, "c/huggingface/hub"),
        ({"HOME": "{0}/d"}, "d/.cache/huggingface/hub"),
    ],
)
def test_where_the_cache_is(hub: Path, tmp_path: Path, environ: dict[str, str], place: str) -> None:
    named = {name: value.format(tmp_path) for name, value in environ.items()}
    assert find_config(MODEL, None, named) is None
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    hub.rename(tmp_path / place)
    found = find_config(MODEL, None, named)
    assert found is not None
    assert found.is_relative_to(tmp_path / place)


def test_without_a_home_there_is_no_cache() -> None:
    assert find_config(MODEL, None, {}) is None


@pytest.mark.parametrize(
    "model",
    ["", "..", "../org", "org/..", "a/b/c", "/org/some-model", "org/some model", "org\x00/x"],
)
def test_what_is_no_id_of_a_model(hub: Path, model: str) -> None:
    assert find(hub, model) is None


@pytest.mark.parametrize("revision", ["..", "../../x", "/etc", "a/../b", "a b", "\x00"])
def test_what_is_no_revision(hub: Path, revision: str) -> None:
    assert find(hub, revision=revision) is None


def test_a_link_out_of_the_cache_is_not_followed(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.json").write_text("{}")
    config = hub / "models--org--some-model" / "snapshots" / COMMIT / "config.json"
    config.unlink()
    config.symlink_to(tmp_path / "secret.json")
    assert find(hub) is None


def test_a_reference_out_of_the_cache_is_not_followed(hub: Path, tmp_path: Path) -> None:
    folder = hub / "models--org--some-model"
    for text in ("../../elsewhere", "", "a b", "\udcff"):
        (folder / "refs" / "main").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert find(hub) is None
    (tmp_path / "main").write_text(COMMIT)
    (folder / "refs" / "main").unlink()
    (folder / "refs" / "main").symlink_to(tmp_path / "main")
    assert find(hub) is None


def test_a_cache_that_is_itself_a_link_is_read(hub: Path, tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to(hub)
    assert find(tmp_path / "linked") is not None


def test_damage_is_no_error(hub: Path) -> None:
    config = hub / "models--org--some-model" / "snapshots" / COMMIT / "config.json"
    config.unlink()
    assert find(hub) is None
    config.symlink_to("config.json")
    assert find(hub) is None
    config.unlink()
    config.mkdir()
    assert find(hub) is None
