"""One server behind the catalogue: opens an answer to a call, within the server's capacity.

It joins client, gate and profile; it does not know which model is served to whom, nor who pays.
"""

from collections.abc import Mapping

import msgspec

from fundament.backends.body import request_for
from fundament.backends.call import Answer, Call
from fundament.backends.circuit import Circuit
from fundament.backends.client import Client, Response
from fundament.backends.embedded import engine_request, readers_of
from fundament.backends.gate import Gate
from fundament.backends.profiles import Profile
from fundament.backends.refusal import owned, refusal
from fundament.backends.relay import RelayedAnswer, ResponsesAnswer
from fundament.backends.translate import TranslatedAnswer
from fundament.errors import (
    ContextLengthExceeded,
    InvalidRequest,
    RequestError,
    UpstreamConnectTimeout,
    UpstreamFailure,
)
from fundament.protocol.completions import Prompt, prompts_of

_encode = msgspec.json.Encoder().encode
_ERROR_LIMIT_BYTES = 1024 * 1024
LIKELY_BYTES_A_TOKEN = 2  # text has about four; with less than two, the engine finds out in the slot


class Counted(msgspec.Struct):
    """What llama.cpp's tokenizer says: how many tokens messages have, the tokens of a text, the text of tokens."""

    input_tokens: int = 0
    tokens: list[int] = []
    content: str = ""


class Upstream:
    """A server that speaks OpenAI, as `profile` says.

    Args:
        model: the name that the server knows the model by.
        fingerprint: the `system_fingerprint` of translated answers.
        context_tokens: what a prompt of our own engine may have; None leaves that to the upstream.
        circuit: keeps requests away while the server fails; None for our own engine, which is supervised.
    """

    def __init__(
        self,
        *,
        client: Client,
        profile: Profile,
        gate: Gate,
        model: str,
        fingerprint: str = "",
        context_tokens: int | None = None,
        circuit: Circuit | None = None,
    ) -> None:
        self.client = client
        self.profile = profile
        self.gate = gate
        self._model = model
        self._fingerprint = fingerprint
        self._context_tokens = context_tokens
        self._circuit = circuit

    async def open(self, call: Call) -> Answer:
        """Sends the call; returns when the answer has begun, so that an early failure keeps its real status.

        Raises:
            RequestError: the request asks for what the server cannot do, or the server refused, failed or is full.
        """
        own = self.profile.translated
        sent, grammar = (
            await engine_request(self.profile, call, self._model)
            if own
            else (request_for(self.profile, call, self._model), None)
        )
        try:
            body = _encode(sent)
        except RecursionError:  # the stack was a little higher when it was decoded
            raise InvalidRequest("The JSON body of your request is nested too deeply.") from None
        # Relayed answers take one place whatever is asked; our own engine computes every choice in a slot.
        places = call.choices if self.profile.own else 1
        if places > self.gate.limit:
            raise InvalidRequest(
                f"Invalid 'n': this model answers with at most {self.gate.limit} choices.",
                param="n",
                code="integer_above_max_value",
            )
        if self._context_tokens is not None and len(body) > self._context_tokens * LIKELY_BYTES_A_TOKEN:
            await self._refuse_overflow(call, body, self._context_tokens)
        echo = await self._texts(call.body["prompt"]) if own and call.body.get("echo") else []
        if self._circuit is not None and self._circuit.is_open:
            self._circuit.check()
        await self.gate.enter(places)
        try:
            response = await self._post(self.profile.prefix + call.path, body, call.traceparent)
        except BaseException:
            self.gate.leave(places)
            raise
        if response.status != 200:
            try:
                raise await self._refusal(call, response)
            finally:
                response.close()
                self.gate.leave(places)

        def refused(error: bytes) -> RequestError:
            return self._refused(call, 0, error, {})

        def on_close() -> None:
            self.gate.leave(places)

        if call.kind == "responses":
            return ResponsesAnswer(call, response, refused, on_close)
        if not own:
            return RelayedAnswer(call, response, refused, on_close, thoughts=self.profile.thoughts)
        readers = readers_of(self.profile, call, grammar, echo)
        return TranslatedAnswer(call, response, self._fingerprint, refused, on_close, readers=readers)

    @property
    def speaks_responses(self) -> bool:
        """Whether calls of the kind `responses` may be opened."""
        return self.profile.speaks_responses

    @property
    def reasons(self) -> bool:
        """Whether the model is known to encrypt its reasoning, so that it can be sent back."""
        return self.profile.reasons is not None and self.profile.reasons.search(self._model) is not None

    async def count(self, call: Call) -> int:
        """How many tokens the prompt of a chat has.

        Raises:
            RequestError: only our own engine's tokenizer tells; or it cannot be asked.
        """
        if not self.profile.own:
            raise InvalidRequest(
                "Tokens can be counted for models that this service runs itself only.",
                param="model",
                code="unsupported_model",
            )
        sent, _ = await engine_request(self.profile, call, self._model)
        counted = await self._ask(f"{self.profile.prefix}{call.path}/input_tokens", _encode(sent))
        return counted.input_tokens

    @property
    def rest_s(self) -> float:
        """How long nothing is sent, because the server has failed; not above 0: it may be asked."""
        return 0.0 if self._circuit is None else self._circuit.rest_s

    def close(self) -> None:
        """Cuts every connection."""
        self.client.close()

    async def _post(self, path: str, body: bytes, traceparent: str | None = None) -> Response:
        """Tells the circuit of all but an answer that says that the server fails: its words decide."""
        circuit = self._circuit
        if circuit is not None and circuit.is_open:
            circuit.enter()
        try:
            response = await self.client.post(path, body, traceparent)
        except RequestError as error:
            if circuit is not None:
                circuit.failed()
            failure = owned(self.profile, error)
            # A request that the server is silent about may still be worked on there.
            failure.elsewhere = isinstance(error, UpstreamFailure | UpstreamConnectTimeout)
            raise failure from error
        except BaseException:
            if circuit is not None:
                circuit.abandoned()
            raise
        if circuit is not None and circuit.failures and response.status < 500:
            circuit.succeeded()
        return response

    async def _refuse_overflow(self, call: Call, body: bytes, context_tokens: int) -> None:
        """Refuses a prompt that is clearly too long before it stands in line for a slot; the engine refuses the rest.

        Its tokens are counted by the engine's tokenizer, beside the slots, and only where the size makes it likely.
        """
        prompt = call.body.get("prompt")
        if call.kind == "chat":
            counted = await self._ask(f"{self.profile.prefix}{call.path}/input_tokens", body)
            tokens = counted.input_tokens
        elif isinstance(prompt, str):
            counted = await self._ask("/tokenize", _encode({"content": prompt}))
            tokens = len(counted.tokens)
        else:
            return
        if tokens > context_tokens:
            raise ContextLengthExceeded(context_tokens, tokens, _prompt_field(call))

    async def _texts(self, prompt: Prompt) -> list[str]:
        """Each prompt as text; those that are tokens, the engine's tokenizer tells."""
        return [
            one if isinstance(one, str) else (await self._ask("/detokenize", _encode({"tokens": one}))).content
            for one in prompts_of(prompt)
        ]

    async def _ask(self, path: str, body: bytes) -> Counted:
        response = await self._post(path, body)
        try:
            answer = await response.read()
        finally:
            response.close()
        return msgspec.json.decode(answer, type=Counted) if response.status == 200 else Counted()

    async def _refusal(self, call: Call, response: Response) -> RequestError:
        """What an answer says that is not 200. Faults of the request are the same at any server of the model."""
        try:
            error = await response.read(_ERROR_LIMIT_BYTES)
            failure = self._refused(call, response.status, error, response.headers)
        except RequestError as broken:
            failure = broken
        failure.elsewhere = failure.status >= 500 or failure.status == 429
        if self._circuit is not None and response.status >= 500:
            if failure.status >= 500:
                self._circuit.failed()
            else:
                self._circuit.succeeded()
        return failure

    def _refused(self, call: Call, status: int, error: bytes, headers: Mapping[bytes, bytes]) -> RequestError:
        """In the server's words, which may repeat the prompt; what they repeat of our credential is taken out."""
        failure = refusal(self.profile, status, self.client.without_credential(error), headers, _prompt_field(call))
        failure.quotes = True
        return failure


def _prompt_field(call: Call) -> str:
    return {"chat": "messages", "completions": "prompt", "responses": "input"}[call.kind]
