"""What a conversation fills of a model's context: counted, and made shorter.

It knows HTTP; how a summary is asked for and travels is known by `responses/compaction.py`.
"""

import msgspec
from starlette.types import Receive, Scope, Send

from fundament.api.creation import begin
from fundament.api.desk import Desk
from fundament.api.edge import send_json
from fundament.api.streaming import ClientWatch
from fundament.protocol import responses
from fundament.protocol.usage import Usage
from fundament.responses.compaction import compacted, summary_of, summary_request
from fundament.responses.history import history_of, kept
from fundament.responses.making import Making
from fundament.responses.references import with_items

_encode = msgspec.json.Encoder().encode


class CountInputTokens:
    """`POST /responses/input_tokens`: how many tokens a request's input has, by the model's own tokenizer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        key = await desk.key(scope)
        request = responses.validate(await desk.body(scope, receive))
        model = desk.admission.admit(key, request.model)
        history = await history_of(desk.store, key.contract.id, request)
        request = await with_items(desk.store, key.contract.id, request, history)
        upstream = desk.upstreams[model.id]
        making = Making(request, history, upstream, id="resp_0", created_at=0, new_id=lambda prefix: f"{prefix}_0")
        held = await desk.limiter.reserve(key.contract, model, dict, output_tokens=0)
        if held is not None:
            scope["connection"].tell(held.header_lines())
        try:
            tokens = await making.count()
        finally:
            if held is not None:
                held.settle("completed", Usage(), 0)
        await send_json(send, _encode({"object": "response.input_tokens", "input_tokens": tokens}))


class CompactConversation:
    """`POST /responses/compact`: what was said so far in a shorter form, made by the model itself."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        key = await desk.key(scope)
        wanted = responses.validate_compact(await desk.body(scope, receive))
        most_tokens = desk.admission.catalogue.find(wanted.model).max_output_tokens
        trace = desk.meter.trace(scope["headers"])
        creation = await begin(
            desk, key, summary_request(wanted, most_tokens), scope["request_id"], body=None, trace=trace
        )
        scope["metered"] = True
        scope["connection"].tell(creation.limit_lines)
        response = await creation.whole(ClientWatch(scope["connection"]))
        if response is None:
            return
        said = [*creation.history, *kept(creation.request.items[:-1], creation.new_id)]
        output = compacted(said, summary_of(response), creation.new_id("cmp"))
        answer = {"id": response["id"], "object": "response.compaction", "created_at": response["created_at"]}
        await send_json(send, _encode({**answer, "output": output, "usage": response["usage"]}))
