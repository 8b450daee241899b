"""The Celery app: `celery -A worker worker` and `celery -A worker beat`."""

from importlib.machinery import SourceFileLoader
from types import ModuleType

from celery import Celery
from celery.local import PromiseProxy

from worker.layout import located


def _configuration() -> ModuleType:
    """Load our celeryconfig.py by its path: by its name Celery would take one of the current directory first."""
    module = ModuleType("worker.celeryconfig")
    SourceFileLoader(module.__name__, str(located("celeryconfig.py"))).exec_module(module)
    return module


# Without Celery's fixups: where DJANGO_SETTINGS_MODULE is set, one would load the producers' Django project into every
# worker, which has no use for it and may not have its code.
app = Celery("wecom", fixups=[], amqp="worker.redis_transport:AMQP")
app.config_from_object(PromiseProxy(_configuration))  # loaded when first asked for: it starts the embedded servers
