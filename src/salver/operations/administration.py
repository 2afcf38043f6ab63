"""What administers a server: the routes under `/admin/v1/` and `salver.admin.v1.AdminService`."""

from salver.openapi.description import ApiDescription
from salver.operations.admin.calls import AdminCalls
from salver.operations.admin.rest import AdminRoutes
from salver.operations.admin.service import SERVICE, AdminMethods
from salver.protocols.api import Api, ApiParts

__all__ = ["admin_api", "make_api"]


def make_api(parts: ApiParts) -> Api | None:
    """What administers a server; None where nobody could do what it is asked for."""
    if parts.administer is None:
        return None
    return admin_api(AdminCalls(parts.administer, parts.in_control))


def admin_api(calls: AdminCalls) -> Api:
    """Both tables, over the same calls."""
    return Api(
        routes=AdminRoutes(calls).routes(),
        methods=AdminMethods(calls).methods(),
        administrative=(f"{SERVICE}/",),
        describe=_describe,
    )


def _describe() -> ApiDescription:
    from salver.operations.admin.description import describe  # for those who ask for the document

    return describe()
