"""Puts what stands beside the package in the repository into it in the wheel; `worker/layout.py` finds both."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Keeps `migrations` and `celeryconfig`, names other projects use too, from being modules of their own."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the files to a wheel; an editable installation finds them in the repository."""
        if version == "standard":
            build_data["force_include"] |= {name: f"worker/{name}" for name in ("celeryconfig.py", "migrations")}
