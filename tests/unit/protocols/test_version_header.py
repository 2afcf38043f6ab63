from salver.protocols.version_header import version_headers


def test_the_header_names_the_version_and_is_made_once() -> None:
    assert version_headers(12) == (("salver-model-version", "12"),)
    assert version_headers(12) is version_headers(12)
