import edifice_tt_openai.server
import pytest
from loopback import serve


@pytest.fixture
def server(monkeypatch):
    """A server that answers; its clients do not wait between tries."""
    monkeypatch.setattr(edifice_tt_openai.server, "FIRST_WAIT", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serve() as loopback:
        yield loopback
