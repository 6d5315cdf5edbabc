"""The calls of the Responses and Conversations APIs that the reference shows, in curl, Python and JavaScript.

It knows the clients' names for each operation; how a call is written is `samples.py`'s.
"""

from collections.abc import Mapping
from typing import Any

from fundament.api.responses_examples import CONVERSATION_ID, ITEM_ID, RESPONSE_ID
from fundament.api.samples import (
    BASE_URL,
    PYTHON_LINE,
    SCRIPT_LINE,
    Samples,
    curl,
    fields,
    get,
    javascript,
    post,
    python,
)

_RESPONSE = f"{BASE_URL}/responses/{RESPONSE_ID}"
_CONVERSATION = f"{BASE_URL}/conversations/{CONVERSATION_ID}"


def create_response_samples(body: Mapping[str, Any]) -> Samples:
    """Samples of a response, whole and streamed; `body` is the request."""
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    return [
        curl(post("/responses", body)),
        python(f"response = client.responses.create(\n{as_python})\nprint(response.output_text)"),
        javascript(
            f"const response = await client.responses.create({{\n{as_script}}});\nconsole.log(response.output_text);"
        ),
        curl(post("/responses", {**body, "stream": True}, "--no-buffer "), "curl, streamed"),
        python(
            f"stream = client.responses.create(\n{as_python}    stream=True,\n)\nfor event in stream:\n"
            '    if event.type == "response.output_text.delta":\n        print(event.delta, end="", flush=True)',
            "Python, streamed",
        ),
        javascript(
            f"const stream = await client.responses.create({{\n{as_script}  stream: true,\n}});\n"
            "for await (const event of stream) {\n"
            '  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);\n}',
            "JavaScript, streamed",
        ),
    ]


def input_tokens_samples(body: Mapping[str, Any]) -> Samples:
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    return [
        curl(post("/responses/input_tokens", body)),
        python(f"count = client.responses.input_tokens.count(\n{as_python})\nprint(count.input_tokens)"),
        javascript(
            f"const count = await client.responses.inputTokens.count({{\n{as_script}}});\n"
            "console.log(count.input_tokens);"
        ),
    ]


def compact_samples(body: Mapping[str, Any]) -> Samples:
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    return [
        curl(post("/responses/compact", body)),
        python(f"compacted = client.responses.compact(\n{as_python})\nprint(compacted.output[-1].type)"),
        javascript(
            f"const compacted = await client.responses.compact({{\n{as_script}}});\n"
            "console.log(compacted.output.at(-1).type);"
        ),
    ]


def retrieve_response_samples() -> Samples:
    return [
        curl(get(_RESPONSE)),
        *_calls("response", f'responses.retrieve("{RESPONSE_ID}")', "response.status"),
        # Of a response that is made in the background.
        curl(get(f'"{_RESPONSE}?stream=true&starting_after=3"', "--no-buffer "), "curl, streamed"),
    ]


def delete_response_samples() -> Samples:
    return [curl(get(_RESPONSE, "-X DELETE ")), *_deleting(f'responses.delete("{RESPONSE_ID}")')]


def cancel_response_samples() -> Samples:
    return [
        curl(get(f"{_RESPONSE}/cancel", "-X POST ")),
        *_calls("response", f'responses.cancel("{RESPONSE_ID}")', "response.status"),
    ]


def input_items_samples() -> Samples:
    return [
        curl(get(f"{_RESPONSE}/input_items")),
        python(f'for item in client.responses.input_items.list("{RESPONSE_ID}"):\n    print(item.id, item.type)'),
        javascript(
            f'for await (const item of client.responses.inputItems.list("{RESPONSE_ID}")) {{\n'
            "  console.log(item.id, item.type);\n}"
        ),
    ]


def create_conversation_samples(body: Mapping[str, Any]) -> Samples:
    return _conversation_samples("/conversations", "create", body)


def retrieve_conversation_samples() -> Samples:
    call = f'conversations.retrieve("{CONVERSATION_ID}")'
    return [curl(get(_CONVERSATION)), *_calls("conversation", call, "conversation.metadata")]


def update_conversation_samples(body: Mapping[str, Any]) -> Samples:
    return _conversation_samples(f"/conversations/{CONVERSATION_ID}", "update", body)


def delete_conversation_samples() -> Samples:
    return [curl(get(_CONVERSATION, "-X DELETE ")), *_deleting(f'conversations.delete("{CONVERSATION_ID}")')]


def create_items_samples(body: Mapping[str, Any]) -> Samples:
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    return [
        curl(post(f"/conversations/{CONVERSATION_ID}/items", body)),
        python(
            f'items = client.conversations.items.create(\n    "{CONVERSATION_ID}",\n{as_python})\nprint(items.first_id)'
        ),
        javascript(
            f'const items = await client.conversations.items.create("{CONVERSATION_ID}", {{\n{as_script}}});\n'
            "console.log(items.first_id);"
        ),
    ]


def list_items_samples() -> Samples:
    return [
        curl(get(f"{_CONVERSATION}/items")),
        python(f'for item in client.conversations.items.list("{CONVERSATION_ID}"):\n    print(item.id, item.type)'),
        javascript(
            f'for await (const item of client.conversations.items.list("{CONVERSATION_ID}")) {{\n'
            "  console.log(item.id, item.type);\n}"
        ),
    ]


def retrieve_item_samples() -> Samples:
    return [
        curl(get(f"{_CONVERSATION}/items/{ITEM_ID}")),
        python(_python_item("item", "retrieve") + "\nprint(item.content)"),
        javascript(_script_item("item", "retrieve") + "\nconsole.log(item.content);"),
    ]


def delete_item_samples() -> Samples:
    return [
        curl(get(f"{_CONVERSATION}/items/{ITEM_ID}", "-X DELETE ")),
        python(_python_item("conversation", "delete") + "\nprint(conversation.id)"),
        javascript(_script_item("conversation", "delete") + "\nconsole.log(conversation.id);"),
    ]


def _python_item(name: str, verb: str) -> str:
    return f'{name} = client.conversations.items.{verb}("{ITEM_ID}", conversation_id="{CONVERSATION_ID}")'


def _script_item(name: str, verb: str) -> str:
    call = f'client.conversations.items.{verb}("{ITEM_ID}", {{ conversation_id: "{CONVERSATION_ID}" }})'
    return f"const {name} = await {call};"


def _conversation_samples(path: str, verb: str, body: Mapping[str, Any]) -> Samples:
    """Samples of a POST that answers with the conversation; an id in the path is the first argument."""
    id = path.removeprefix("/conversations").removeprefix("/")
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    first = f'    "{id}",\n' if id else ""
    before = f'"{id}", ' if id else ""
    return [
        curl(post(path, body)),
        python(f"conversation = client.conversations.{verb}(\n{first}{as_python})\nprint(conversation.id)"),
        javascript(
            f"const conversation = await client.conversations.{verb}({before}{{\n{as_script}}});\n"
            "console.log(conversation.id);"
        ),
    ]


def _calls(name: str, call: str, shown: str) -> Samples:
    return [
        python(f"{name} = client.{call}\nprint({shown})"),
        javascript(f"const {name} = await client.{call};\nconsole.log({shown});"),
    ]


def _deleting(call: str) -> Samples:
    return [
        python(f'client.{call}\nprint("deleted")'),
        javascript(f'await client.{call};\nconsole.log("deleted");'),
    ]
