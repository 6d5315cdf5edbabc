"""What an answer cost in tokens, as OpenAI's `CompletionUsage` has it, read from any server's body or chunk.

It knows the shape only; what is done with it is known by `gateway/meter.py`.
"""

from msgspec import Struct


class PromptDetails(Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(Struct):
    reasoning_tokens: int | None = None


class Usage(Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    @property
    def cached_tokens(self) -> int:
        return (self.prompt_tokens_details and self.prompt_tokens_details.cached_tokens) or 0

    @property
    def cache_write_tokens(self) -> int:
        return (self.prompt_tokens_details and self.prompt_tokens_details.cache_write_tokens) or 0

    @property
    def reasoning_tokens(self) -> int:
        return (self.completion_tokens_details and self.completion_tokens_details.reasoning_tokens) or 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            prompt_tokens_details=PromptDetails(
                cached_tokens=self.cached_tokens + other.cached_tokens,
                cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            ),
            completion_tokens_details=CompletionDetails(
                reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens
            ),
        )
