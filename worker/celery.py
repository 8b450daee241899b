"""The Celery app: `celery -A worker worker` and `celery -A worker beat`."""

from celery import Celery

app = Celery("wecom")
app.config_from_object("celeryconfig")
