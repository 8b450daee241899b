"""How the project's processes log: one line an event, to standard error, without secrets."""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
NOISY = (
    "celery.app.trace",
    "celery.beat",
    "celery.utils.functional",
    "celery.worker.strategy",
    "amqp",
    "kombu",
    "urllib3",
)
"""These say at INFO or DEBUG what is true of every task or call, many times a second."""
TELLING = ("celery.pool", "celery.concurrency", "celery.worker.request", "celery.app.amqp", "celery.worker.consumer")
"""These say at DEBUG what a task holds, and that is texts to members."""


def log_to_standard_error(level: str) -> None:
    """Send the log of this process to standard error."""
    logging.basicConfig(level=level, format=FORMAT, force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
    for name in TELLING:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLevelName(level)))
