"""What llama.cpp's server is told, without a model: loading one is for the tests of the whole service."""

from fundament.engine.worker import EngineInstructions, parameters


def test_an_engine_listens_on_loopback_alone_and_asks_for_its_key() -> None:
    told = parameters(
        EngineInstructions(
            model_path="/none.gguf",
            port=4321,
            api_key="the-engines-key",
            context_tokens=512,
            slots=4,
            batch_tokens=64,
            threads=2,
            chat_template=None,
            gateway_workers=3,
            log_level="info",
        )
    )
    assert (told.hostnames, told.port) == (["127.0.0.1"], 4321)
    assert told.api_keys == ["the-engines-key"]
    assert (told.n_parallel, told.n_ctx, told.n_threads_http) == (4, 4 * 512, 4 * 3 + 8)
