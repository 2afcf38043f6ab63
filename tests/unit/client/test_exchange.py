from salver.client.exchange import Exchange, Reply


def test_an_exchange_reads_its_reply() -> None:
    exchange = Exchange("/v1/models", None, lambda reply: reply.body.upper())
    assert exchange.read(Reply(b"yes")) == b"YES"
