"""Loading a version where nothing can be lost: in a process that serves nobody."""

import logging

from salver.lifecycle.loader import Deadly
from salver.servable import ServableId
from salver.workers.channel import ChannelEnded
from salver.workers.member import Member
from salver.workers.messages import Drain
from salver.workers.versions import Source

__all__ = ["try_alone"]

_log = logging.getLogger(__name__)


def try_alone(member: Member, platform: str, id: ServableId, path: str) -> None:
    """Have a process load a version, and end.

    Args:
        member: a process of which nobody else knows, not started yet.
        platform: of the version.
        id: its name and number.
        path: its directory.

    Raises:
        Deadly: the process died of it.
        ServingError: the load failed.
    """
    member.start()
    member.said_hello.wait()
    try:
        member.load(id, Source(platform, path)).result()
    except ChannelEnded:
        raise Deadly(
            f"The process that loads {id} dies: {member.cause}",
            hint="It was tried in a process of its own, so that nothing else is harmed.",
        ) from None
    finally:
        if not member.ended.is_set():
            member.tell(Drain(0.0))
            member.ended.wait()
