import pytest

from salver.config.model_options import LoadSettings
from salver.errors import Cancelled
from salver.vocabulary.servable import ServableId
from salver.workers.versions import JointLoad, Source, Version

V1 = ServableId("m", 1)


def test_a_load_goes_on_until_it_is_given_up() -> None:
    load = JointLoad(V1, Version(Source(LoadSettings("tensorflow"), "/m/1")))
    load.check()
    assert not load.end.done()
    load.abandon()
    load.abandon()
    assert load.end.done()
    assert load.is_abandoned
    with pytest.raises(Cancelled, match=r"The load of \{name: m version: 1\} was given up"):
        load.check()
