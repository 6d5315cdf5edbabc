"""What tests of responses share: an MCP server."""

from collections.abc import Iterator

import pytest

from responses.mcp_servers import Serving, toolbox


@pytest.fixture(scope="session")
def server() -> Iterator[Serving]:
    """The toolbox, at `/mcp` of a port of 127.0.0.1."""
    with Serving(toolbox().streamable_http_app()) as serving:
        yield serving
