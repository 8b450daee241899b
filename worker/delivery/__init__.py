"""How messages are delivered: accept, dispatch, deliver, recall, reap; nothing here knows Celery or Flask."""
