"""One server behind the catalogue: opens an answer to a call, within the server's capacity.

It joins client, gate and profile; it does not know which model is served to whom, nor who pays.
"""

from collections.abc import Callable

import msgspec

from fundament.backends.call import Answer, Call
from fundament.backends.client import Client, Response
from fundament.backends.gate import Gate
from fundament.backends.profiles import Profile, request_for
from fundament.backends.refusal import owned, refusal
from fundament.backends.relay import RelayedAnswer
from fundament.backends.translate import TranslatedAnswer
from fundament.errors import InvalidRequest, RequestError

_encode = msgspec.json.Encoder().encode
_ERROR_LIMIT_BYTES = 1024 * 1024


class Upstream:
    """A server that speaks OpenAI, as `profile` says.

    Args:
        model: the name that the server knows the model by.
        fingerprint: the `system_fingerprint` of translated answers.
    """

    def __init__(self, *, client: Client, profile: Profile, gate: Gate, model: str, fingerprint: str) -> None:
        self.client = client
        self.profile = profile
        self.gate = gate
        self._model = model
        self._fingerprint = fingerprint

    async def open(self, call: Call) -> Answer:
        """Sends the call; returns when the answer has begun, so that an early failure keeps its real status.

        Raises:
            RequestError: the request asks for what the server cannot do, or the server refused, failed or is full.
        """
        body = _encode(request_for(self.profile, call, self._model))
        # Relayed answers take one place whatever is asked; our own engine computes every choice in a slot.
        places = call.choices if self.profile.own else 1
        if places > self.gate.limit:
            raise InvalidRequest(
                f"Invalid 'n': this model answers with at most {self.gate.limit} choices.",
                param="n",
                code="integer_above_max_value",
            )
        await self.gate.enter(places)
        try:
            response = await self.client.post(call.path, body)
        except BaseException as error:
            self.gate.leave(places)
            if isinstance(error, RequestError):
                raise owned(self.profile, error) from error
            raise
        if response.status != 200:
            try:
                raise await self._refusal(call, response)
            finally:
                response.close()
                self.gate.leave(places)
        return self._answer(call, response, lambda: self.gate.leave(places))

    def _answer(self, call: Call, response: Response, on_close: Callable[[], None]) -> Answer:
        def refused(error: bytes) -> RequestError:
            return refusal(self.profile, 0, error, {}, _prompt_field(call))

        if self.profile.translated:
            return TranslatedAnswer(call, response, self._fingerprint, refused, on_close)
        return RelayedAnswer(call, response, refused, on_close)

    async def _refusal(self, call: Call, response: Response) -> RequestError:
        body = await response.read(_ERROR_LIMIT_BYTES)
        return refusal(self.profile, response.status, body, response.headers, _prompt_field(call))


def _prompt_field(call: Call) -> str:
    return "messages" if call.kind == "chat" else "prompt"
