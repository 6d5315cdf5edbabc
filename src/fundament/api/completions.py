"""`POST /completions`, raw text. It knows what is particular to it; the way is `generation.py`'s."""

from collections.abc import Mapping
from typing import Any

from fundament.api.generation import Generation
from fundament.gateway.catalogue import CatalogueModel, refuse_raw_text, refuse_too_much_output
from fundament.protocol import completions
from fundament.protocol.completions import CompletionRequest

DEFAULT_MAX_TOKENS = 16  # OpenAI's, which every server behind us follows or is given


class Completions(Generation[CompletionRequest]):
    kind = "completions"
    id_prefix = "cmpl-"

    def validate(self, body: Mapping[str, Any]) -> CompletionRequest:
        return completions.validate(body)

    def check(self, model: CatalogueModel, request: CompletionRequest) -> None:
        refuse_raw_text(model)
        refuse_too_much_output(model, "max_tokens", request.max_tokens)

    def output_tokens(self, request: CompletionRequest) -> int:
        return DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens

    def candidates(self, request: CompletionRequest) -> int:
        return max(request.n or 1, request.best_of or 1)

    def prompts(self, request: CompletionRequest) -> int:
        return len(completions.prompts_of(request.prompt))
