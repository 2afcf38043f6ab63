from salver.remote.settling import Seen, Settling


def plain(files: str) -> Seen:
    return Seen.of(files, {"saved_model.pb"})


def test_a_version_with_a_manifest_is_complete_at_once() -> None:
    settling = Settling(10.0)
    assert settling.complete({1: Seen.of("a", {"x", "SHA256SUMS"})}, 0.0) == {1}
    assert settling.again_s is None


def test_another_is_complete_when_its_listing_has_stayed_the_same_for_long_enough() -> None:
    settling = Settling(10.0)
    assert settling.complete({1: plain("a")}, 100.0) == set()
    assert settling.again_s == 110.0
    assert settling.complete({1: plain("a b")}, 108.0) == set()
    assert settling.again_s == 118.0
    assert settling.complete({1: plain("a b")}, 118.0) == {1}
    assert settling.again_s is None


def test_a_version_that_is_uploaded_is_not_complete_whatever_else_is_there() -> None:
    settling = Settling(0.0)
    uploading = Seen.of("a", {"SHA256SUMS", "SHA256SUMS.part"})
    assert settling.complete({1: uploading}, 0.0) == set()
    assert settling.complete({1: uploading}, 100.0) == set()


def test_what_was_complete_stays_so_until_its_files_change() -> None:
    settling = Settling(10.0)
    settling.complete({1: plain("a")}, 0.0)
    assert settling.complete({1: plain("a")}, 10.0) == {1}
    assert settling.complete({1: plain("a")}, 11.0) == {1}
    assert settling.complete({1: plain("b")}, 12.0) == set()
    assert settling.complete({1: plain("b")}, 22.0) == {1}


def test_what_is_kept_here_was_complete_once() -> None:
    assert Settling(10.0).complete({1: plain("a"), 2: plain("b")}, 0.0, kept=[1]) == {1}


def test_nothing_is_remembered_of_versions_that_are_gone() -> None:
    settling = Settling(10.0)
    settling.complete({1: plain("a")}, 0.0)
    settling.complete({1: plain("a")}, 10.0)
    settling.complete({}, 20.0)
    assert settling.complete({1: plain("a")}, 30.0) == set()
