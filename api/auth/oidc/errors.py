"""Errors of single sign-on."""

from ttm_jobs.errors import Forbidden, ServiceError


class ProviderUnavailable(ServiceError):
    """The identity provider did not answer, or its answer is unusable. Try again, or sign in with an API key."""

    status = 503
    code = "provider_unavailable"


class SignInRefused(ServiceError):
    """The sign-in is not valid. Start again."""

    status = 400
    code = "sign_in_refused"


class NoAccess(Forbidden):
    """None of your groups gives access to this service. Ask its operator to add one of them to TTM_GROUP_ACCESS."""

    code = "no_access"
