"""GGUF headers: a real model's, small ones written here byte by byte, broken ones and hostile ones."""

import os
import re
import struct
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fundament.engine.gguf import GgufMetadata, read_metadata
from fundament.errors import WeightsError

ARCHITECTURE = ("general.architecture", 8, "llama")


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def array(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)


def gguf(*pairs: tuple[str, int, str | bytes], version: int = 3, tensors: list[bytes] | None = None) -> bytes:
    """A file of keys, each with its type's number and its value: a string, or the bytes that stand in the file."""
    tensors = tensors or []
    keys = b"".join(
        string(key) + struct.pack("<I", kind) + (string(value) if isinstance(value, str) else value)
        for key, kind, value in pairs
    )
    return b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs)) + keys + b"".join(tensors)


def tensor(name: str, offset: int) -> bytes:
    return string(name) + struct.pack("<IQQIQ", 2, 8, 4, 0, offset)


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


COMPLETE = (
    ARCHITECTURE,
    ("general.name", 8, "Tiny"),
    ("general.license", 8, "apache-2.0"),
    ("general.file_type", 4, u32(15)),
    ("llama.context_length", 4, u32(8192)),
    ("llama.embedding_length", 10, struct.pack("<Q", 576)),
    ("llama.block_count", 4, u32(30)),
    ("tokenizer.ggml.model", 8, "gpt2"),
    ("tokenizer.ggml.tokens", 9, array(8, [string("a"), string("é"), string("")])),
    ("tokenizer.ggml.scores", 9, array(6, [struct.pack("<f", 0.5)] * 3)),
    ("tokenizer.chat_template", 8, "{{ messages }}" * 1000),
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "x.gguf"


def refusal(file: Path, content: bytes) -> str:
    file.write_bytes(content)
    with pytest.raises(WeightsError, match=re.escape(str(file))) as caught:
        read_metadata(file)
    return str(caught.value)


def test_the_default_model_describes_itself_in_under_150_ms(model_path: Path) -> None:
    durations_s: list[float] = []
    for _ in range(3):
        begin = time.perf_counter()
        metadata = read_metadata(model_path)
        durations_s.append(time.perf_counter() - begin)

    assert metadata == GgufMetadata(
        architecture="llama",
        name="Smollm2 135M 8k Lc100K Mix1 Ep2",
        license="apache-2.0",
        context_length=8192,
        hidden_size=576,
        block_count=30,
        quantisation="Q4_1",
        tokenizer="gpt2",
        has_chat_template=True,
        template_knows_tools=False,
        template_thinks=False,
        middle_tokens=None,
    )
    assert min(durations_s) < 0.15


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions_of_the_format_are_read(file: Path, version: int) -> None:
    file.write_bytes(gguf(*COMPLETE, version=version, tensors=[tensor("a", 0), tensor("b", 128)]) + bytes(300))

    assert read_metadata(file) == GgufMetadata(
        "llama", "Tiny", "apache-2.0", 8192, 576, 30, "Q4_K_M", "gpt2", True, False, False, None
    )


def test_what_the_file_does_not_say_is_none(file: Path) -> None:
    file.write_bytes(gguf(ARCHITECTURE))

    assert read_metadata(file) == GgufMetadata(
        "llama", None, None, None, None, None, None, None, False, False, False, None
    )


def test_the_lengths_are_those_of_the_files_own_architecture_wherever_it_is_named(file: Path) -> None:
    file.write_bytes(
        gguf(("clip.context_length", 4, u32(77)), ("llama.context_length", 4, u32(4096)), ARCHITECTURE),
    )

    assert read_metadata(file).context_length == 4096


def test_a_quantisation_that_is_not_known_is_none(file: Path) -> None:
    file.write_bytes(gguf(ARCHITECTURE, ("general.file_type", 4, u32(9999))))

    assert read_metadata(file).quantisation is None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (0, b"\x01"),
        (1, b"\xff"),
        (2, b"\x01\x02"),
        (3, b"\xff\xff"),
        (4, bytes(4)),
        (5, bytes(4)),
        (6, bytes(4)),
        (7, b"\x01"),
        (8, string("text")),
        (9, array(0, [b"\x01"] * 5)),
        (9, array(7, [b"\x00"] * 5)),
        (9, array(12, [bytes(8)] * 5)),
        (9, array(8, [string("a"), string("bc")])),
        (9, array(8, [])),
        (10, bytes(8)),
        (11, bytes(8)),
        (12, bytes(8)),
    ],
)
def test_a_value_of_any_type_is_stepped_over(file: Path, kind: int, value: bytes) -> None:
    file.write_bytes(gguf(("vendor.extra", kind, value), ARCHITECTURE, ("general.name", 8, "after")))

    assert read_metadata(file).name == "after"


def test_a_file_of_another_kind_is_refused_with_its_first_bytes(file: Path) -> None:
    assert refusal(file, b"<html><body>404") == f"{file} is not a GGUF file (it starts with b'<htm')"
    assert refusal(file, b"") == f"{file} is not a GGUF file (it starts with b'')"


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    with pytest.raises(WeightsError, match=r"x\.gguf cannot be read: No such file or directory"):
        read_metadata(file)


def test_other_versions_and_byte_orders_are_refused_by_name(file: Path) -> None:
    assert "a GGUF file of version 1;" in refusal(file, gguf(ARCHITECTURE, version=1))
    assert "a GGUF file of version 4;" in refusal(file, gguf(ARCHITECTURE, version=4))
    assert "a big-endian GGUF file;" in refusal(file, b"GGUF" + struct.pack(">IQQ", 3, 0, 1))


def test_a_file_without_architecture_is_refused(file: Path) -> None:
    assert "does not name its architecture" in refusal(file, gguf(("general.name", 8, "Tiny")))


def test_a_header_cut_at_any_byte_is_refused(file: Path) -> None:
    whole = gguf(*COMPLETE[:-1], tensors=[tensor("a", 0)])
    for size in range(4, len(whole)):
        assert "is cut short: it ends at byte" in refusal(file, whole[:size])


def test_a_file_cut_within_its_weights_is_refused(file: Path) -> None:
    header = gguf(ARCHITECTURE, tensors=[tensor("a", 0), tensor("b", 4096)])
    start = -(-len(header) // 32) * 32

    assert "is cut short" in refusal(file, header.ljust(start + 4096, b"\0"))

    file.write_bytes(header.ljust(start + 4097, b"\0"))
    assert read_metadata(file).architecture == "llama"


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 0, 2**63), id="keys"),
        pytest.param(b"GGUF" + struct.pack("<IQQ", 3, 2**63, 0), id="tensors"),
        pytest.param(b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**62), id="length of a key"),
        pytest.param(gguf(("general.name", 8, struct.pack("<Q", 2**62))), id="length of a string that is kept"),
        pytest.param(gguf(("vendor.text", 8, struct.pack("<Q", 2**64 - 1))), id="length of a string that is skipped"),
        pytest.param(gguf(("vendor.list", 9, struct.pack("<IQ", 8, 2**62))), id="items of an array"),
        pytest.param(gguf(("vendor.list", 9, struct.pack("<IQ", 12, 2**24))), id="items beyond the end"),
        pytest.param(gguf(("vendor.list", 9, struct.pack("<IQQ", 8, 1, 2**64 - 1))), id="length of an item"),
        pytest.param(gguf(("vendor.list", 9, struct.pack("<IQ", 9, 1) * 100)), id="arrays in arrays"),
        pytest.param(gguf(("vendor.odd", 99, b"")), id="type of a value"),
        pytest.param(gguf(("vendor.list", 9, struct.pack("<IQ", 99, 1))), id="type of items"),
        pytest.param(gguf(ARCHITECTURE, tensors=[string("a") + u32(2**32 - 1)]), id="dimensions"),
        pytest.param(gguf(ARCHITECTURE, tensors=[tensor("a", 2**64 - 1)]), id="offset of a tensor"),
    ],
)
def test_a_length_that_the_file_cannot_hold_is_refused_at_once(file: Path, hostile: bytes) -> None:
    begin = time.perf_counter()
    refusal(file, hostile + bytes(64))
    assert time.perf_counter() - begin < 1


@pytest.mark.parametrize(
    ("header", "claim"),
    [
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**26), "67108864 keys"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**26, 0), "67108864 tensors"),
        (gguf(("general.name", 8, struct.pack("<Q", 2**30))), "a string of 1073741824 bytes"),
        (gguf(("vendor.list", 9, struct.pack("<IQ", 8, 2**27))), "134217728 items in 'vendor.list'"),
    ],
)
def test_a_length_beyond_all_reason_is_refused_at_once_even_if_the_file_holds_it(
    file: Path, header: bytes, claim: str
) -> None:
    file.write_bytes(header)
    os.truncate(file, 2**31)  # the rest is a hole, which takes no room on the disk

    begin = time.perf_counter()
    with pytest.raises(WeightsError, match=f"it claims {claim}$"):
        read_metadata(file)
    assert time.perf_counter() - begin < 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.binary(min_size=1, max_size=8)), max_size=4))
def test_a_damaged_header_is_either_read_or_refused(tmp_path: Path, changes: list[tuple[int, bytes]]) -> None:
    content = bytearray(gguf(*COMPLETE[:-1], tensors=[tensor("a", 0)]) + bytes(64))
    for position, replacement in changes:
        content[4 + position : 4 + position + len(replacement)] = replacement
    file = tmp_path / "damaged.gguf"
    file.write_bytes(content)

    try:
        assert isinstance(read_metadata(file), GgufMetadata)
    except WeightsError as error:
        assert str(file) in str(error)


def test_a_template_that_speaks_of_tools_knows_them(file: Path) -> None:
    template = ("tokenizer.chat_template", 8, "{% if tools %}{{ tools }}{% endif %}")
    file.write_bytes(gguf(ARCHITECTURE, template))
    assert read_metadata(file).template_knows_tools
    file.write_bytes(gguf(ARCHITECTURE, ("tokenizer.chat_template", 8, "{{ messages }}")))
    assert not read_metadata(file).template_knows_tools


@pytest.mark.parametrize("word", ["enable_thinking", "reasoning_effort"])
def test_a_template_that_can_be_told_to_think_is_seen(file: Path, word: str) -> None:
    file.write_bytes(gguf(ARCHITECTURE, ("tokenizer.chat_template", 8, "{% if " + word + " %}")))
    assert read_metadata(file).template_thinks


def vocabulary(*tokens: str) -> tuple[str, int, bytes]:
    return ("tokenizer.ggml.tokens", 9, array(8, [string(token) for token in tokens]))


@pytest.mark.parametrize(
    "tokens",
    [
        ("a", "<|fim_prefix|>", "b", "<|fim_middle|>", "<|fim_suffix|>"),
        ("<fim_middle>", "<PRE>", "é", "", "<｜fim▁hole｜>"),
    ],
)
def test_the_tokens_of_filling_in_the_middle_are_found_by_their_spelling(file: Path, tokens: tuple[str, ...]) -> None:
    file.write_bytes(gguf(ARCHITECTURE, vocabulary(*tokens)))
    found = read_metadata(file).middle_tokens
    assert found is not None
    spelled = [tokens[token].strip("<|>｜").removeprefix("fim").strip("_▁").upper()[:3] for token in found]
    assert spelled == ["PRE", "HOL" if "hole" in tokens[4] else "SUF", "MID"]


def test_ids_that_the_file_gives_count_more_than_spellings(file: Path) -> None:
    given_ids = [
        (f"tokenizer.ggml.fim_{place}_token_id", 4, u32(id)) for place, id in zip(("pre", "suf"), (7, 8), strict=True)
    ]
    tokens = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
    file.write_bytes(gguf(ARCHITECTURE, vocabulary(*tokens), *given_ids))
    assert read_metadata(file).middle_tokens == (7, 8, 2)


def test_a_model_with_some_of_those_tokens_only_cannot_fill_in(file: Path) -> None:
    file.write_bytes(gguf(ARCHITECTURE, vocabulary("<|fim_prefix|>", "x<|fim_suffix|>", "<|fim_middle|>")))
    assert read_metadata(file).middle_tokens is None
