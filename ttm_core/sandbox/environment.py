"""The environment variables that processes in a sandbox get."""

import os
import re

# Untrusted files are parsed there, so no URL, key or secret of the service is passed on.
_SECRET = re.compile(
    r"(TTM|CELERY|PG|POSTGRES|AWS|AZURE|GOOGLE|REDIS|VALKEY|RABBITMQ|AMQP|BROKER|DATABASE|DB)"
    r"|.*(SECRET|PASSWORD|PASSWD|CREDENTIAL|_TOKEN$|_KEY$|_DSN$)",
    re.IGNORECASE,
)


def without_secrets() -> dict[str, str]:
    """This process's environment without settings of the service, credentials of clouds, and other secrets."""
    return {name: value for name, value in os.environ.items() if _SECRET.match(name) is None}
