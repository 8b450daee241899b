"""How the project's processes log: one line an event, to standard error, without secrets."""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
NOISY = ("celery.utils.functional", "amqp", "kombu", "urllib3", "celery.worker.strategy", "celery.app.trace")
"""These say at INFO or DEBUG what is true of every task or call, many times a second."""


def log_to_standard_error(level: str) -> None:
    """Send the log of this process to standard error."""
    logging.basicConfig(level=level, format=FORMAT, force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(level)))
