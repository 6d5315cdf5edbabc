"""What a conversation fills of a model's context: counted, and made shorter.

It knows HTTP; how a summary is asked for and travels is known by `responses/compaction.py`.
"""

import time

import msgspec
from starlette.types import Receive, Scope, Send

from fundament.api.creation import settle
from fundament.api.desk import Desk, ids
from fundament.api.edge import send_json
from fundament.api.requests import ClientLeft
from fundament.api.streaming import ClientWatch
from fundament.errors import RequestError
from fundament.gateway.meter import CLIENT_LEFT
from fundament.protocol import responses
from fundament.responses.compaction import compacted, summary_of, summary_request
from fundament.responses.history import history_of, kept
from fundament.responses.making import Making

_encode = msgspec.json.Encoder().encode


class CountInputTokens:
    """`POST /responses/input_tokens`: how many tokens a request's input has, by the model's own tokenizer."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        key = await desk.key(scope)
        try:
            body = await desk.body(scope, receive)
        except ClientLeft:
            return
        request = responses.validate(body)
        model = desk.admission.admit(key, request.model)
        history = await history_of(desk.store, key.id, request)
        upstream = desk.upstreams[model.id]
        making = Making(request, history, upstream, id="resp_0", created_at=0, new_id=lambda prefix: f"{prefix}_0")
        tokens = await making.count()
        await send_json(send, _encode({"object": "response.input_tokens", "input_tokens": tokens}))


class CompactConversation:
    """`POST /responses/compact`: what was said so far in a shorter form, made by the model itself."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        desk = self._desk
        key = await desk.key(scope)
        try:
            wanted = responses.validate_compact(await desk.body(scope, receive))
        except ClientLeft:
            return
        request = summary_request(wanted)
        model = desk.admission.admit(key, request.model)
        request_id: str = scope["request_id"]
        new_id = ids(request_id)
        history = await history_of(desk.store, key.id, request)
        backend = desk.upstreams[model.id]
        created_at = int(time.time())
        trace = desk.meter.trace(scope["headers"])
        making = Making(
            request,
            history,
            backend,
            id=new_id("resp"),
            created_at=created_at,
            new_id=new_id,
            traceparent=trace and trace.traceparent,
        )
        metering = desk.meter.begin(
            request_id=request_id,
            key=key,
            endpoint="responses",
            model=model,
            asked_model=request.model,
            stream=False,
            trace=trace,
        )
        scope["metered"] = True
        watch = ClientWatch(scope["connection"])
        failure: RequestError | None = None
        try:
            await making.open(stream=False)
            await making.whole()
        except RequestError as failed:
            failure = failed
            raise
        finally:
            watch.stop()
            await making.close()
            if watch.left:
                metering.settle("cancelled", making.usage, status=CLIENT_LEFT)
            settle(metering, making, failure, http_status=200 if failure is None else failure.status)
        response = making.fold.response
        output = compacted([*history, *kept(wanted.items, new_id)], summary_of(response), new_id("cmp"))
        answer = {"id": response["id"], "object": "response.compaction", "created_at": created_at}
        await send_json(send, _encode({**answer, "output": output, "usage": response["usage"]}))
