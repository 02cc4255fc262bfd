"""Single sign-on of people: OpenID Connect, or headers of trusted proxies."""

import json
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    field_validator,
    model_validator,
)
from pydantic_settings import NoDecode

from ttm_jobs.settings.api import Api
from ttm_jobs.settings.base import PROJECT_NAME, Names, empty_as_null
from ttm_jobs.uris import is_loopback, parse_origin


class GroupAccess(BaseModel):
    """What the members of a group at the identity provider may do."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    project: str = Field(pattern=f"^{PROJECT_NAME}$")
    # No person measures: that scope is for boards.
    scope: Literal["read", "submit", "admin"] = "submit"


class SignOn(Api):
    """How people sign in to the dashboard."""

    oidc_issuer: str | None = Field(
        default=None,
        description=(
            "Issuer of an OpenID Connect provider: https://id.example.com/realms/team. People then sign in to the "
            "dashboard, and every request requires a session or a key. Empty: no single sign-on."
        ),
    )
    oidc_client_id: str | None = Field(default=None, description="The dashboard's client id at the provider.")
    oidc_client_secret: str | None = Field(
        default=None,
        repr=False,
        description="The client's secret. `TTM_OIDC_CLIENT_SECRET_FILE` names a file with it. Empty: a public client.",
    )
    oidc_scopes: str = Field(
        default="openid profile email",
        pattern=r"^(?:\S+ )*openid(?: \S+)*$",
        description="Scopes to request, separated by spaces. Some providers need `groups` for the group claim.",
    )
    oidc_groups_claim: str = Field(
        default="groups", min_length=1, description="Claim of the ID token that lists the person's groups."
    )
    group_access: Annotated[dict[str, GroupAccess], NoDecode] = Field(
        default={},
        description=(
            'Projects and scopes of groups as JSON: {"ml-team": {"project": "vision", "scope": "submit"}}. The scope '
            "is `read`, `submit` (default) or `admin`. People in none of these groups are refused."
        ),
    )
    oidc_hosts: Names = Field(
        default=(),
        description=(
            "Further origins to which the API may connect for single sign-on, separated by commas, if the provider's "
            "token endpoint or keys are not on the issuer's host: https://oauth2.example.com."
        ),
    )
    oidc_timeout_seconds: PositiveFloat = Field(
        default=5.0, le=60, description="Time limit for each answer of the provider."
    )
    proxy_identity: Literal["x-forwarded", "x-auth-request"] | None = Field(
        default=None,
        description=(
            "Take the person from headers of the proxies in `TTM_TRUSTED_PROXIES`, such as oauth2-proxy: `x-forwarded` "
            "reads X-Forwarded-User, -Email, -Preferred-Username and -Groups, `x-auth-request` the same names with "
            "X-Auth-Request-. The proxy must remove these headers from clients' requests. Empty: they are ignored."
        ),
    )
    session_hours: float = Field(
        default=8.0, ge=0.25, le=720, description="Hours after which people have to sign in again."
    )

    _no_sign_on = field_validator("oidc_issuer", "oidc_client_secret", "proxy_identity", mode="before")(empty_as_null)

    @field_validator("oidc_hosts")
    @classmethod
    def _known_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(parse_origin, value))

    @field_validator("group_access", mode="before")
    @classmethod
    def _parse_groups(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("oidc_issuer")
    @classmethod
    def _secure_issuer(cls, value: str | None) -> str | None:
        parsed = urlsplit(value or "")
        secure = parsed.scheme == "https" or (parsed.scheme == "http" and is_loopback(parsed.hostname or ""))
        if value is not None and (not secure or not parsed.hostname or parsed.query or parsed.fragment):
            raise ValueError("the issuer is an https:// URL without query; http:// is accepted on a loopback address")
        return value

    @model_validator(mode="after")
    def _complete_sign_on(self) -> Self:
        if self.oidc_issuer is not None and not (self.oidc_client_id and self.group_access):
            raise ValueError("oidc_issuer requires oidc_client_id and group_access")
        if self.proxy_identity is not None and not (self.trusted_proxies and self.group_access):
            raise ValueError("proxy_identity requires trusted_proxies and group_access")
        return self

    @property
    def signs_people_in(self) -> bool:
        """Whether people authenticate with an identity provider. Then nothing is open without credentials."""
        return self.oidc_issuer is not None or self.proxy_identity is not None
