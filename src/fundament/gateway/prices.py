"""What a model's tokens cost. It knows numbers, not currencies: amounts are in nanos, 1e-9 of the bill's currency."""

from msgspec import Struct

from fundament.protocol.usage import Usage


class Price(Struct, frozen=True, kw_only=True):
    """Nanos for each token; a price of 0.15 for a million tokens is 150 nanos a token.

    `cached_input` is for those tokens of the input that the server had read before.
    """

    input: int
    cached_input: int
    output: int

    def cost_nanos(self, usage: Usage) -> int:
        """What these tokens cost. Reasoning tokens are among the output's."""
        cached_tokens = min(usage.cached_tokens, usage.prompt_tokens)
        return (
            (usage.prompt_tokens - cached_tokens) * self.input
            + cached_tokens * self.cached_input
            + usage.completion_tokens * self.output
        )
