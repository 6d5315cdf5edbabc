"""Reads what a GGUF file says about its model: architecture, context length, licence and the like.

Knows the layout of GGUF 2 and 3 up to where the weights begin (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md).
It does not know the weights, keeps no vocabulary, and trusts no length that it reads: each is held against the file's
size.
"""

import mmap
from dataclasses import dataclass
from pathlib import Path
from struct import Struct
from types import MappingProxyType
from typing import cast

from fundament.errors import WeightsError

MAGIC = b"GGUF"
VERSIONS = (2, 3)

# Far above what real files hold (some 50 keys, 1,000 tensors, 300,000 tokens). They bound the time and the memory that
# a hostile file can take.
MAX_KEYS = 16_384
MAX_KEY_BYTES = 1_024
MAX_TENSORS = 1_000_000
MAX_ARRAY_ITEMS = 16_777_216
MAX_KEPT_STRING_BYTES = 65_536

_U32 = Struct("<I")
_U64 = Struct("<Q")
_STRING, _ARRAY = 8, 9
_SCALARS = MappingProxyType(
    {
        number: Struct("<" + code)
        for number, code in zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True)
    }
)

_KEPT_STRINGS = frozenset({"general.architecture", "general.name", "general.license", "tokenizer.ggml.model"})
_CHAT_TEMPLATE = "tokenizer.chat_template"
_TEMPLATE_WORDS = ("tools", "enable_thinking", "reasoning_effort")

_TOKENS = "tokenizer.ggml.tokens"
# How files that give no ids spell the tokens of filling in the middle, as llama.cpp looks for them.
_MIDDLE_SPELLINGS = MappingProxyType(
    {
        "pre": ("<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<PRE>", "▁<PRE>", "<｜fim▁begin｜>"),
        "suf": ("<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<SUF>", "▁<SUF>", "<｜fim▁hole｜>"),
        "mid": ("<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<MID>", "▁<MID>", "<｜fim▁end｜>"),
    }
)

# llama.cpp's `llama_ftype`, under the names that model files carry.
_QUANTISATIONS = MappingProxyType(
    {
        0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1",
        10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M",
        18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
        26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16",
        36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4", 39: "NVFP4",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class GgufMetadata:
    """A model as its file describes it. None stands for what the file does not say.

    Args:
        architecture: llama.cpp's name for the family, such as `llama` or `qwen3`.
        context_length: the tokens of the longest sequence the model was trained for.
        hidden_size: the width of the embedding.
        block_count: the number of layers.
        quantisation: how most weights are stored, such as `Q4_K_M`; None also for a kind not known here.
        tokenizer: llama.cpp's name for the tokenizer's kind, such as `gpt2`.
        template_thinks: the chat template can be told whether the model shall think first.
        middle_tokens: the tokens before a beginning, before an end, and before what the model fills in between.
    """

    architecture: str
    name: str | None
    license: str | None
    context_length: int | None
    hidden_size: int | None
    block_count: int | None
    quantisation: str | None
    tokenizer: str | None
    has_chat_template: bool
    template_knows_tools: bool
    template_thinks: bool
    middle_tokens: tuple[int, int, int] | None


def read_metadata(path: Path) -> GgufMetadata:
    """What the file at `path` says about its model. Reads the header only, a few milliseconds for a usual vocabulary.

    Raises:
        WeightsError: the file cannot be read, is no GGUF file of version 2 or 3, or ends before its weights do.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4)
            if start != MAGIC:
                raise WeightsError(f"{path} is not a GGUF file (it starts with {start!r})")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                return _Header(path, view).read()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}") from error


class _Header:
    """A position in a mapped GGUF file. Every step forward checks that the bytes exist."""

    def __init__(self, path: Path, view: mmap.mmap) -> None:
        self._path = path
        self._view = view
        self._size = len(view)
        self._position = len(MAGIC)

    def read(self) -> GgufMetadata:
        version = self._u32()
        if version not in VERSIONS:
            big_endian = int.from_bytes(version.to_bytes(4, "little"), "big") in VERSIONS
            kind = "a big-endian GGUF file" if big_endian else f"a GGUF file of version {version}"
            raise WeightsError(f"{self._path} is {kind}; supported are little-endian files of version 2 and 3")
        tensor_count = self._count("tensors", MAX_TENSORS)
        key_count = self._count("keys", MAX_KEYS)
        found = self._found(key_count)
        self._check_tensors(tensor_count, found)
        return self._metadata(found)

    def _found(self, key_count: int) -> dict[str, object]:
        """The keys and values that can matter. The other strings and all arrays are stepped over."""
        found: dict[str, object] = {}
        for _ in range(key_count):
            key = self._string(MAX_KEY_BYTES)
            kind = self._u32()
            if kind == _STRING and key in _KEPT_STRINGS:
                found[key] = self._string(MAX_KEPT_STRING_BYTES)
            elif kind == _STRING:
                size = self._u64()
                start = self._skip(size)
                if key == _CHAT_TEMPLATE:
                    found[key] = frozenset(
                        word for word in _TEMPLATE_WORDS if self._view.find(word.encode(), start, start + size) >= 0
                    )
            elif kind == _ARRAY:
                start = self._position
                self._skip_array(key)
                if key == _TOKENS:
                    found[key] = self._middle_ids(start)
            elif scalar := _SCALARS.get(kind):
                (found[key],) = scalar.unpack_from(self._view, self._skip(scalar.size))
            else:
                raise self._corrupt(f"the value of {key!r} has the unknown type {kind}")
        return found

    def _metadata(self, found: dict[str, object]) -> GgufMetadata:
        architecture = found.get("general.architecture")
        if not isinstance(architecture, str):
            raise self._corrupt("it does not name its architecture")
        file_type = _integer(found.get("general.file_type"))
        words = cast("frozenset[str]", found.get(_CHAT_TEMPLATE, frozenset[str]()))
        return GgufMetadata(
            architecture=architecture,
            name=_text(found.get("general.name")),
            license=_text(found.get("general.license")),
            context_length=_integer(found.get(f"{architecture}.context_length")),
            hidden_size=_integer(found.get(f"{architecture}.embedding_length")),
            block_count=_integer(found.get(f"{architecture}.block_count")),
            quantisation=None if file_type is None else _QUANTISATIONS.get(file_type),
            tokenizer=_text(found.get("tokenizer.ggml.model")),
            has_chat_template=_CHAT_TEMPLATE in found,
            template_knows_tools="tools" in words,
            template_thinks=bool(words & {"enable_thinking", "reasoning_effort"}),
            middle_tokens=_middle_tokens(found),
        )

    def _check_tensors(self, tensor_count: int, found: dict[str, object]) -> None:
        """Refuses a file that ends before its last tensor begins, as one whose copying was broken off does."""
        last_offset = -1
        for _ in range(tensor_count):
            self._skip(self._u64())
            dimensions = self._u32()
            self._skip(8 * dimensions + 4)
            last_offset = max(last_offset, self._u64())
        alignment = _integer(found.get("general.alignment")) or 32
        weights_start = -(-self._position // alignment) * alignment
        if tensor_count and weights_start + last_offset >= self._size:
            raise self._truncated()

    def _skip_array(self, key: str) -> None:
        kind, items = self._u32(), self._count(f"items in {key!r}", MAX_ARRAY_ITEMS)
        if scalar := _SCALARS.get(kind):
            self._skip(scalar.size * items)
        elif kind == _STRING:
            self._skip_strings(items)
        else:  # an array of arrays is allowed by the format's text and refused by llama.cpp
            raise self._corrupt(f"the items of {key!r} have the unsupported type {kind}")

    def _skip_strings(self, items: int) -> None:
        # A vocabulary has up to 300,000 strings: the position and the methods are kept in local variables for speed.
        view, size, position, length_at = self._view, self._size, self._position, _U64.unpack_from
        for _ in range(items):
            if position + 8 > size:
                raise self._truncated()
            position += 8 + length_at(view, position)[0]
        self._position = position
        self._skip(0)

    def _middle_ids(self, start: int) -> dict[str, int]:
        """Which items of the vocabulary that begins at `start` are the tokens of filling in the middle."""
        wanted = {
            _U64.pack(len(text.encode())) + text.encode(): place
            for place, spellings in _MIDDLE_SPELLINGS.items()
            for text in spellings
        }
        present = {
            at: place for item, place in wanted.items() if (at := self._view.find(item, start, self._position)) >= 0
        }
        ids: dict[str, int] = {}
        position, items = start + 12, _U64.unpack_from(self._view, start + 4)[0]
        for token in range(items if present else 0):
            if position in present:
                ids[present[position]] = token
            position += 8 + _U64.unpack_from(self._view, position)[0]
        return ids

    def _skip(self, size_bytes: int) -> int:
        """Steps over that many bytes; gives the position where they began."""
        begin = self._position
        if begin + size_bytes > self._size:
            raise self._truncated()
        self._position = begin + size_bytes
        return begin

    def _u32(self) -> int:
        return _U32.unpack_from(self._view, self._skip(4))[0]

    def _u64(self) -> int:
        return _U64.unpack_from(self._view, self._skip(8))[0]

    def _count(self, what: str, limit: int) -> int:
        count = self._u64()
        if count > limit:
            raise self._corrupt(f"it claims {count} {what}")
        return count

    def _string(self, limit_bytes: int) -> str:
        size_bytes = self._u64()
        if size_bytes > limit_bytes:
            raise self._corrupt(f"it claims a string of {size_bytes} bytes")
        begin = self._skip(size_bytes)
        return self._view[begin : begin + size_bytes].decode("utf-8", "replace")

    def _corrupt(self, why: str) -> WeightsError:
        return WeightsError(f"{self._path} is not a valid GGUF file: {why}")

    def _truncated(self) -> WeightsError:
        return WeightsError(f"{self._path} is cut short: it ends at byte {self._size}, before the weights do")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _middle_tokens(found: dict[str, object]) -> tuple[int, int, int] | None:
    spelled = cast("dict[str, int]", found.get(_TOKENS, {}))
    prefix, suffix, middle = (
        _integer(found.get(f"tokenizer.ggml.fim_{place}_token_id", spelled.get(place))) for place in _MIDDLE_SPELLINGS
    )
    return None if prefix is None or suffix is None or middle is None else (prefix, suffix, middle)
