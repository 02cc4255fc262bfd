"""Bodies of the sign-in's requests."""

from pydantic import BaseModel, Field


class KeySignIn(BaseModel):
    """Sign in with an API key."""

    key: str = Field(max_length=200)


class ProjectChoice(BaseModel):
    """The project to show."""

    project: str = Field(max_length=64)


class SignedOut(BaseModel):
    """Where the browser goes after the sign-out."""

    location: str
