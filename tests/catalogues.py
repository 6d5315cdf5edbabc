"""The configurations that tests serve, as the text of `fundament.toml`."""

from collections.abc import Mapping

from fundament.settings import DEFAULT_MODEL
from service import free_port

UPSTREAM_ENVIRONMENT: Mapping[str, str] = {"UPSTREAM_KEY": "sk-upstream-0123456789"}


def embedded_config(*, slots: int = 16, context: int = 2048) -> str:
    """The default model as `fundament.toml`."""
    return f"""
[[models]]
id = "{DEFAULT_MODEL.id}"
source = "{DEFAULT_MODEL.source}"
sha256 = "{DEFAULT_MODEL.sha256}"
aliases = ["smollm2", "Llama-3.3-70B-Instruct"]
license = "apache-2.0"
context = {context}
slots = {slots}
"""


FAMILIES = ("vllm", "sglang", "llama-server", "generic")


def scripted_config(base_url: str) -> str:
    """A catalogue of upstream models: bought and open, one for each way of being difficult, one for each family.

    `unreachable-model` may be asked four times by all tests of a service: the fifth failure opens its circuit.
    """
    families = "".join(_family(name, base_url) for name in FAMILIES)
    return f"""
[server]
max_body_bytes = 1_000_000

[[models]]
id = "gpt-4.1"
aliases = ["best"]
open_weights = false
owned_by = "openai"
[[models.upstreams]]
base_url = "{base_url}"
api_key_env = "UPSTREAM_KEY"
model = "gpt-4.1-2025-04-14"
responses = false

[[models]]
id = "gpt-4.1-native"
open_weights = false
[[models.upstreams]]
base_url = "{base_url}"
api_key_env = "UPSTREAM_KEY"
model = "gpt-4.1-2025-04-14"

[[models]]
id = "gpt-5-native"
open_weights = false
[[models.upstreams]]
base_url = "{base_url}"
api_key_env = "UPSTREAM_KEY"
model = "gpt-5-2025-08-07"

[[models]]
id = "open-model"
aliases = ["open-alias"]
owned_by = "somebody"
hosted_by = "A Data Centre"
region = "ch"
license = "mit"
context = 4096
max_output_tokens = 1024
[[models.upstreams]]
base_url = "{base_url}"
api_key_env = "UPSTREAM_KEY"
model = "org/open-model"
profile = "vllm"

[[models]]
id = "impatient-model"
[[models.upstreams]]
base_url = "{base_url}"
responses = false
first_byte_timeout_s = 0.3
idle_timeout_s = 0.3

[[models]]
id = "narrow-model"
[[models.upstreams]]
base_url = "{base_url}"
max_in_flight = 1
queue = 1

[[models]]
id = "unreachable-model"
[[models.upstreams]]
base_url = "http://127.0.0.1:{free_port()}/v1"
{families}"""


def _family(profile: str, base_url: str) -> str:
    return f"""
[[models]]
id = "{profile}-model"
[[models.upstreams]]
base_url = "{base_url}"
model = "org/{profile}-model"
profile = "{profile}"
"""
