"""`python -m cli`: the whole `ttm` command from a checkout or an image, where no entry points are installed."""

from cli.main import register
from ttm_client.cli.main import app

if __name__ == "__main__":
    if not any(group.name == "keys" for group in app.registered_groups):
        register(app)
    app(prog_name="ttm")
