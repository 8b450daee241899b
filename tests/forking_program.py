"""A server that opens its producer before it forks, as gunicorn with --preload does; see test_forks.py.

Four children send at once, each from two threads, while a thread of the parent sends too; then the parent sends again.
Each sends as a sender of its own, so each rings. It writes what went wrong to standard error.
"""

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier, Event

from worker import Text

CHILDREN = 4
MESSAGES = 5

Send = Callable[[str, str], object]
"""Sends a message of a sender to a member."""


def plain() -> Send:
    from worker import Producer  # noqa: PLC0415 - each kind needs only its own framework

    producer = Producer()
    return lambda sender, user: producer.send(sender, Text(content="hello"), users=[user])


def flask() -> Send:
    from flask import Flask  # noqa: PLC0415

    from worker.integrations.flask import WeCom  # noqa: PLC0415

    app, wecom = Flask("shop"), WeCom()
    wecom.init_app(app)

    def send(sender: str, user: str) -> None:
        with app.app_context():
            wecom.send(sender, Text(content="hello"), users=[user])

    return send


def django() -> Send:
    from django import setup  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django_database import of_django  # noqa: PLC0415

    settings.configure(
        DATABASES={"default": of_django(os.environ["WECOM_DATABASE_URL"])},
        INSTALLED_APPS=["worker.integrations.django"],
    )
    setup()
    from worker.integrations.django import wecom  # noqa: PLC0415

    return lambda sender, user: wecom.send(sender, Text(content="hello"), users=[user])


def send_as(who: str, send: Send) -> None:
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda number: send(who, f"{who}-{number}"), range(MESSAGES)))


def child(name: str, send: Send, together: Barrier) -> None:
    together.wait()
    send_as(name, send)
    together.wait()  # until all have sent, so that no child's end is mistaken for something else


def go_on(send: Send, enough: Event) -> int:
    sent = 0
    while not enough.is_set():
        send("meanwhile", f"meanwhile-{sent}")
        sent += 1
    return sent


def main(kind: str) -> None:
    send = {"plain": plain, "flask": flask, "django": django}[kind]()
    send_as("before", send)
    forking = multiprocessing.get_context("fork")
    together, enough = forking.Barrier(CHILDREN), forking.Event()
    with ThreadPoolExecutor(1) as threads:
        meanwhile = threads.submit(go_on, send, enough)
        children = [
            forking.Process(target=child, args=(f"child{number}", send, together)) for number in range(CHILDREN)
        ]
        for one in children:
            one.start()
        for one in children:
            one.join()
        enough.set()
        sent = meanwhile.result()
    send_as("after", send)
    assert threading.active_count() == 1
    if failed := [one.name for one in children if one.exitcode != 0]:
        sys.exit(f"{failed} failed")
    print(sent)  # noqa: T201 - this is what a script is asked for


if __name__ == "__main__":
    main(sys.argv[1])
