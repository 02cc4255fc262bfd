"""The ASGI application: `uvicorn api.main:app`, or `python -m api`."""

from api.app import create_app

app = create_app()
