"""The Django app."""

from typing import Any

from django.apps import AppConfig
from django.core.signals import setting_changed


class WeComConfig(AppConfig):
    """Messages through WeCom; the label leaves `wecom` to the project's own apps."""

    name = "worker.integrations.django"
    label = "wecom_worker"
    verbose_name = "WeCom"

    def ready(self) -> None:
        """Register the system checks, and follow settings that a test overrides."""
        from worker.integrations.django import checks  # noqa: F401, PLC0415 - registers them, as Django wants it

        setting_changed.connect(_forget, dispatch_uid="worker.integrations.django")


def _forget(*, setting: str, **_: Any) -> None:  # noqa: ANN401 - a signal's arguments
    from worker.integrations.django import wecom  # noqa: PLC0415 - apps are made before this package can be imported

    if setting in {"WECOM", "DATABASES"}:
        wecom.close()
