"""Weights from a Hugging Face repository, played by a server here."""

from pathlib import Path

import pytest

from fundament.engine.weights import locate
from model_sources import MODEL, MODEL_SHA256, Answer, Server, files_in, located

# The hub


COMMIT = "0123456789abcdef0123456789abcdef01234567"
HUB_HEADERS = {"X-Repo-Commit": COMMIT, "ETag": f'"{MODEL_SHA256}"'}


@pytest.fixture
def hub(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A server that the hub's library takes for the hub, once it is imported by another process."""
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub-home"))
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    return server


def test_a_file_is_fetched_from_the_hub_once_with_the_token(cache: Path, hub: Server) -> None:
    hub.answers["/owner/repo/resolve/v2/deep/tiny.gguf"] = Answer(MODEL, headers=HUB_HEADERS)
    source, path = "hf:owner/repo@v2/deep/tiny.gguf", "weights/hf/owner/repo/v2/deep/tiny.gguf"

    done = located(source, cache)
    assert (done.returncode, done.stdout) == (0, f"{cache / path}\n"), done.stderr
    assert (cache / path).read_bytes() == MODEL
    assert files_in(cache) == {path}
    downloads = [asked for asked in hub.asked if "/resolve/" in asked[1]]
    assert [method for method, _, _ in downloads] == ["HEAD", "GET"]
    assert {token for _, _, token in downloads} == {"Bearer hf_of_the_test"}

    hub.asked.clear()
    assert locate(source, cache, sha256=MODEL_SHA256) == cache / path
    assert hub.asked == []


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(status=404, headers={"X-Error-Code": "EntryNotFound"}), "the repository has no such file"),
        (Answer(status=404, headers={"X-Error-Code": "RevisionNotFound"}), "the repository has no revision 'main'"),
        (Answer(status=401, headers={"X-Error-Code": "RepoNotFound"}), "there is no such repository, or it is private"),
        (Answer(status=403, headers={"X-Error-Code": "GatedRepo"}), "its terms must be accepted on the hub first"),
        (Answer(status=400, headers=HUB_HEADERS), "the hub answered with HTTP status 400"),
        (Answer(MODEL), "the hub cannot be reached; check the network, HF_ENDPOINT"),
        (Answer(b"<html>", headers=HUB_HEADERS), "tiny.gguf is not a GGUF file (it starts with b'<htm')"),
    ],
)
def test_what_the_hub_refuses_is_told_in_one_line(cache: Path, hub: Server, answer: Answer, reason: str) -> None:
    hub.answers["/owner/repo/resolve/main/tiny.gguf"] = answer

    done = located("hf:owner/repo/tiny.gguf", cache)

    last = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("refused: hf:owner/repo@main/tiny.gguf ")
    assert reason in last
    assert "Traceback" not in done.stderr
    assert files_in(cache) == set()


def test_a_hub_that_cannot_be_reached_is_told_so(cache: Path, hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    assert "the hub cannot be reached" in located("hf:owner/repo/tiny.gguf", cache).stderr
    assert hub.asked == []


def test_a_download_that_the_hub_breaks_off_is_refused_and_nothing_stays(cache: Path, hub: Server) -> None:
    hub.answers["/owner/repo/resolve/main/tiny.gguf"] = Answer(MODEL, headers=HUB_HEADERS, cut=True)

    done = located("hf:owner/repo/tiny.gguf", cache)

    assert done.returncode == 1
    assert "refused: hf:owner/repo" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(cache) == set()
