"""The engine process: llama.cpp's own server for one model, on loopback, behind a key.

Run as `python -m fundament.engine.worker` by the supervisor. It knows llama.cpp's parameters; it does not know OpenAI's
API, which the gateway makes of what this server answers.
"""

import importlib
import os
import threading
from typing import Any

from msgspec import Struct

from fundament.lifeline import receive_instructions

# One connection holds one of llama.cpp's HTTP threads as long as its answer lasts; health probes need some, too.
SPARE_HTTP_THREADS = 8
# Never 4 or more: there, llama.cpp writes prompts and answers.
_VERBOSITY = {"debug": 3, "info": 2, "warning": 2, "error": 1}


class EngineInstructions(Struct, kw_only=True):
    """`context_tokens` is for each of `slots` requests that are decoded together.

    `batch_tokens` is how much of a prompt is computed in one step, in which neighbours wait and a cancellation is not
    heard. `threads` None takes every core. `chat_template` None takes the one in the model's file.
    """

    model_path: str
    port: int
    api_key: str
    context_tokens: int
    slots: int
    batch_tokens: int
    threads: int | None
    chat_template: str | None
    gateway_workers: int
    log_level: str


def start(instructions: EngineInstructions) -> object:
    """Loads the model and listens; returns when it answers. The server ends with the object that is returned."""
    return _library().Server(parameters(instructions))


def parameters(instructions: EngineInstructions) -> Any:
    """The `CommonParams` of llama.cpp's server: on loopback alone, behind the key."""
    threads = instructions.threads or os.cpu_count() or 1
    params = _library().CommonParams()
    params.model.path = instructions.model_path
    params.hostnames = ["127.0.0.1"]
    params.port = instructions.port
    params.api_keys = [instructions.api_key]
    params.n_parallel = instructions.slots
    params.n_ctx = instructions.context_tokens * instructions.slots
    params.n_batch = instructions.batch_tokens
    params.n_ubatch = instructions.batch_tokens
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # Threads that wait for each other sleep: the gateway needs the cores that they would spin on.
    params.cpuparams.poll = 0
    params.cpuparams_batch.poll = 0
    params.n_threads_http = instructions.slots * instructions.gateway_workers + SPARE_HTTP_THREADS
    if instructions.chat_template is not None:
        params.chat_template = instructions.chat_template
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.ui = False
    params.verbosity = _VERBOSITY[instructions.log_level]
    return params


def _library() -> Any:
    return importlib.import_module("xllamacpp")  # it has no type stubs


def main() -> None:
    instructions = receive_instructions(EngineInstructions)
    server = start(instructions)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
