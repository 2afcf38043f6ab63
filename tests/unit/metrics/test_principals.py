from salver.errors import Code
from salver.metrics.principals import MOST_PRINCIPALS, PrincipalRequests


def counted(*requests: tuple[str, str, Code]) -> dict[tuple[str, ...], object]:
    principals = PrincipalRequests(lambda name: name == "m")
    for request in requests:
        principals(*request)
    return dict(principals.family().cells)


def test_requests_are_counted_by_who_sent_them_to_which_model_and_what_came_of_it() -> None:
    ok, no = ("ada", "m", Code.OK), ("ada", "m", Code.PERMISSION_DENIED)
    assert counted(ok, ok, no, ("bob", "", Code.OK)) == {
        ("ada", "m", "OK"): 2,
        ("ada", "m", "PERMISSION_DENIED"): 1,
        ("bob", "", "OK"): 1,
    }


def test_models_that_nobody_has_configured_count_as_none() -> None:
    strangers = [("ada", f"model {n}", Code.NOT_FOUND) for n in range(10)]
    assert counted(*strangers) == {("ada", "", "NOT_FOUND"): 10}


def test_so_many_principals_are_told_apart_and_no_more() -> None:
    cells = counted(*((f"p{n}", "m", Code.OK) for n in range(MOST_PRINCIPALS + 5)))
    assert len(cells) == MOST_PRINCIPALS + 1
    assert cells["", "m", "OK"] == 5


def test_a_name_that_would_spoil_the_page_counts_as_none() -> None:
    assert counted(("a\nb", "m", Code.OK), ("x" * 300, "m", Code.OK)) == {("", "m", "OK"): 2}


def test_a_tally_counts_the_good_answers_of_a_principal_by_a_model() -> None:
    principals = PrincipalRequests(lambda name: name == "m")
    principals("ada", "m", Code.OK)
    tally = principals.tally("ada", "m")
    assert tally is not None
    assert tally is principals.tally("ada", "m")
    tally.answered += 2
    assert principals.tally("bob", "m") is not None
    principals("ada", "m", Code.NOT_FOUND)
    cells = dict(principals.family().cells)
    assert cells == {("ada", "m", "OK"): 3, ("ada", "m", "NOT_FOUND"): 1}


def test_there_is_no_tally_of_what_is_not_told_apart() -> None:
    principals = PrincipalRequests(lambda name: name == "m")
    assert principals.tally("ada", "n") is None
    assert principals.tally("a\nb", "m") is None
    for number in range(MOST_PRINCIPALS - 1):  # besides ada
        assert principals.tally(f"p{number}", "m") is not None
    assert principals.tally("one more", "m") is None
