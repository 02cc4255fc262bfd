"""Routes of the sign-in. Without single sign-on, only its page exists."""

from datetime import timedelta
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Query, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from api.auth.credentials.cookies import SESSION, SIGN_IN, Cookies
from api.auth.middleware import SIGN_IN_PAGE
from api.auth.oidc.errors import NoAccess, SignInRefused
from api.auth.oidc.requests import HOME, LIFETIME_SECONDS, local_path
from api.auth.oidc.sign_on import SignOn
from api.auth.origin import RequestOrigin
from api.dashboard.pages import PageRoute, page
from api.dependencies import CallerDep, Services, ServicesDep
from api.sign_in import service
from api.sign_in.schemas import KeySignIn, ProjectChoice, SignedOut
from ttm_jobs.errors import ServiceError, Unauthorized
from ttm_jobs.settings import Settings

router = APIRouter(include_in_schema=False)
# What a browser opens, so that errors are pages, too.
pages = APIRouter(route_class=PageRoute, include_in_schema=False)
# In place of both without single sign-on.
without_sign_on = APIRouter(include_in_schema=False)

Next = Annotated[str, Query(alias="next")]
# The provider's error codes come from the address bar, so they are not shown.
_INCOMPLETE = "The identity provider did not complete the sign-in. Start again."
_REFUSALS = {"access_denied": "The identity provider refused access, or the sign-in was cancelled."}
# What a provider sends back. Longer values are not of this flow.
_Parameter = Annotated[str, Query(max_length=4096)]


def cookies_of(settings: Settings) -> Cookies:
    """How cookies are set."""
    return Cookies(always_secure=(settings.public_url or "").startswith("https:"))


async def _sign_on(services: ServicesDep) -> SignOn:
    assert services.sign_on is not None
    return services.sign_on


SignOnDep = Annotated[SignOn, Depends(_sign_on)]


@pages.get("/sign-in")
def sign_in_page(path: Next = "/") -> HTMLResponse:
    """Asks for single sign-on or an API key."""
    return _page(path)


@without_sign_on.get("/sign-in")
def sign_in_address(path: Next = "/") -> RedirectResponse:
    """Opens the page that follows a sign-in. If the service has API keys, the browser has asked for one by then."""
    following = local_path(path)
    return _redirect(HOME if following.startswith(SIGN_IN_PAGE) else following)


@pages.get("/sign-in/start")
async def start(request: Request, services: ServicesDep, sign_on: SignOnDep, path: Next = "/") -> Response:
    """Redirects to the identity provider."""
    try:
        started = await sign_on.start(path, _address(request, services, "/sign-in/callback"))
    except ServiceError as error:
        return _page(path, error)
    response = _redirect(started.url)
    cookies = cookies_of(services.settings)
    cookies.set(response, request.scope, SIGN_IN, started.cookie, seconds=LIFETIME_SECONDS)
    return response


@pages.get("/sign-in/callback")
async def callback(
    request: Request,
    services: ServicesDep,
    sign_on: SignOnDep,
    state: _Parameter = "",
    code: _Parameter = "",
    error: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Receives the person from the provider and starts the session."""
    cookies = cookies_of(services.settings)
    try:
        if error or not code:
            raise SignInRefused(_REFUSALS.get(error, _INCOMPLETE))
        finished = await sign_on.finish(
            cookie=cookies.read(request.scope, SIGN_IN),
            state=state,
            code=code,
            redirect_uri=_address(request, services, "/sign-in/callback"),
            origin=RequestOrigin.of(request),
        )
    except ServiceError as failure:
        response: Response = _page("/", failure)
        if isinstance(failure, SignInRefused | NoAccess):
            await to_thread.run_sync(services.throttle.failed, RequestOrigin.of(request), "single sign-on")
            cookies.delete(response, request.scope, SIGN_IN)
        return response
    response = _redirect(finished.path)
    _set_session(response, request, services, finished.token)
    cookies.delete(response, request.scope, SIGN_IN)
    return response


@router.post("/sign-in/key", status_code=204)
def sign_in_with_key(body: KeySignIn, request: Request, services: ServicesDep) -> Response:
    """Starts a session with the rights of an API key."""
    lifetime = timedelta(hours=services.settings.session_hours)
    origin = RequestOrigin.of(request)
    try:
        token = service.start_with_key(services.engine, body.key.strip(), origin, lifetime)
    except Unauthorized:
        services.throttle.failed(origin, "API key")
        raise
    response = Response(status_code=204)
    _set_session(response, request, services, token)
    return response


@router.post("/session/project", status_code=204)
def select_project(body: ProjectChoice, request: Request, services: ServicesDep, caller: CallerDep) -> None:
    """Selects one of the person's projects."""
    token = cookies_of(services.settings).read(request.scope, SESSION) or ""
    service.select_project(services.engine, caller, token, body.project)
    services.callers.clear_cache()


@router.post("/sign-out")
async def sign_out(request: Request, services: ServicesDep, sign_on: SignOnDep, caller: CallerDep) -> Response:
    """Ends the session and returns the URL at which the browser signs out at the provider."""
    cookies = cookies_of(services.settings)
    token = cookies.read(request.scope, SESSION) or ""
    ended = await to_thread.run_sync(service.end, services.engine, caller, token, RequestOrigin.of(request))
    services.callers.clear_cache()
    location = None
    if ended is not None:
        location = await sign_on.end_session_url(ended, _address(request, services, SIGN_IN_PAGE))
    response = JSONResponse(SignedOut(location=location or SIGN_IN_PAGE).model_dump())
    cookies.delete(response, request.scope, SESSION)
    return response


def _page(path: str, error: ServiceError | None = None) -> HTMLResponse:
    status = 200 if error is None else error.status
    return page("sign_in.html", status, path=local_path(path), error=error)


def _redirect(url: str) -> RedirectResponse:
    return RedirectResponse(url, 303, headers={"Cache-Control": "no-store"})


def _set_session(response: Response, request: Request, services: Services, token: str) -> None:
    seconds = int(services.settings.session_hours * 3600)
    cookies_of(services.settings).set(response, request.scope, SESSION, token, seconds=seconds)


def _address(request: Request, services: Services, path: str) -> str:
    """The address of a path for browsers."""
    return (services.settings.public_url or str(request.base_url).rstrip("/")) + path
