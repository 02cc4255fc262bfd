"""A hatch build hook that copies packages of the repository root into a wheel.

Hatch's own `force-include` also applies to editable installs, where the copies would hide the checkout.
"""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class IncludePackages(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the `packages` of the hook's configuration, source to destination, to a wheel that is not editable."""
        if version != "editable":
            build_data["force_include"].update(self.config["packages"])
