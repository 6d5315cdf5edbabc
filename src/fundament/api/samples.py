"""The calls that the API reference shows: for each operation the same one in curl, Python and JavaScript.

They work when pasted, with the key in OPENAI_API_KEY; the page in the browser puts its own address where
`SAMPLE_ADDRESS` stands. It knows nothing of the document that they are shown in.
"""

import json
from collections.abc import Mapping
from typing import Any, cast

SAMPLE_ADDRESS = "http://127.0.0.1:8080"
BASE_URL = f"{SAMPLE_ADDRESS}/v2"

PYTHON_LINE = "    {}={},\n"
SCRIPT_LINE = "  {}: {},\n"
Samples = list[dict[str, str]]


def chat_samples(body: Mapping[str, Any]) -> Samples:
    """Samples of a chat completion, whole and streamed; `body` is the request."""
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    return [
        curl(post("/chat/completions", body)),
        python(
            f"completion = client.chat.completions.create(\n{as_python})\nprint(completion.choices[0].message.content)"
        ),
        javascript(
            f"const completion = await client.chat.completions.create({{\n{as_script}}});\n"
            "console.log(completion.choices[0].message.content);"
        ),
        curl(post("/chat/completions", {**body, "stream": True}, "--no-buffer "), "curl, streamed"),
        python(
            f"stream = client.chat.completions.create(\n{as_python}    stream=True,\n)\nfor chunk in stream:\n"
            '    print(chunk.choices[0].delta.content or "", end="", flush=True)',
            "Python, streamed",
        ),
        javascript(
            f"const stream = await client.chat.completions.create({{\n{as_script}  stream: true,\n}});\n"
            "for await (const chunk of stream) {\n"
            '  process.stdout.write(chunk.choices[0].delta.content ?? "");\n}',
            "JavaScript, streamed",
        ),
    ]


def completion_samples(body: Mapping[str, Any]) -> Samples:
    """Samples of a text completion; `body` is the request."""
    as_python, as_script = fields(body, PYTHON_LINE), fields(body, SCRIPT_LINE)
    return [
        curl(post("/completions", body)),
        python(f"completion = client.completions.create(\n{as_python})\nprint(completion.choices[0].text)"),
        javascript(
            f"const completion = await client.completions.create({{\n{as_script}}});\n"
            "console.log(completion.choices[0].text);"
        ),
    ]


def list_models_samples() -> Samples:
    return [
        curl(get(f"{BASE_URL}/models")),
        python("for model in client.models.list():\n    print(model.id)"),
        javascript("for await (const model of client.models.list()) {\n  console.log(model.id);\n}"),
    ]


def retrieve_model_samples(model: str) -> Samples:
    name = json.dumps(model)
    return [
        curl(get(f"{BASE_URL}/models/{model}")),
        python(f"model = client.models.retrieve({name})\nprint(model.meta_data)"),
        javascript(f"const model = await client.models.retrieve({name});\nconsole.log(model.meta_data);"),
    ]


def usage_samples() -> Samples:
    query = "/usage?by=day,model"
    return [
        curl(get(f'"{BASE_URL}{query}"')),
        python(f'report = client.get("{query}", cast_to=object)\nprint(report["data"])'),
        javascript(f'const report = await client.get("{query}");\nconsole.log(report.data);'),
    ]


def health_samples(path: str) -> Samples:
    return [curl(f"curl {SAMPLE_ADDRESS}{path}")]


def curl(source: str, label: str = "curl") -> dict[str, str]:
    return {"lang": "shell", "label": label, "source": source}


def python(source: str, label: str = "Python") -> dict[str, str]:
    client = f'from openai import OpenAI\n\nclient = OpenAI(base_url="{BASE_URL}")  # the key: OPENAI_API_KEY'
    return {"lang": "python", "label": label, "source": f"{client}\n\n{source}"}


def javascript(source: str, label: str = "JavaScript") -> dict[str, str]:
    client = (
        f'import OpenAI from "openai";\n\nconst client = new OpenAI({{ baseURL: "{BASE_URL}" }});'
        " // the key: OPENAI_API_KEY"
    )
    return {"lang": "javascript", "label": label, "source": f"{client}\n\n{source}"}


def get(url: str, options: str = "") -> str:
    return f'curl {options}{url} \\\n  -H "Authorization: Bearer $OPENAI_API_KEY"'


def post(path: str, body: Mapping[str, Any], options: str = "") -> str:
    quoted = json.dumps(body, indent=2).replace("'", "'\\''")
    return (
        f'curl {options}{BASE_URL}{path} \\\n  -H "Authorization: Bearer $OPENAI_API_KEY" \\\n'
        f"  -H \"Content-Type: application/json\" \\\n  -d '{quoted}'"
    )


def fields(body: Mapping[str, Any], line: str) -> str:
    """A line a field, messages on lines of their own. JSON, Python and JavaScript write these values alike."""
    indent = line[: -len(line.lstrip(" "))]
    return "".join(line.format(name, _written(value, indent)) for name, value in body.items())


def _written(value: Any, indent: str) -> str:
    if not isinstance(value, list):
        return json.dumps(value)
    messages = cast("list[object]", value)
    entries = "".join(f"{indent * 2}{json.dumps(message)},\n" for message in messages)
    return f"[\n{entries}{indent}]"
