"""A process that believes it is another time."""

WRONG_CLOCK = """
import time
from datetime import timedelta

from celery.app.base import Celery

SECONDS = {seconds}
right, right_now = time.time, Celery.now
time.time = lambda: right() + SECONDS
Celery.now = lambda app: right_now(app) + timedelta(seconds=SECONDS)
"""
"""What Celery asks for the time, in a process that is started with this as its sitecustomize."""
