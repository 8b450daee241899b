"""A plain program with SQLAlchemy or psycopg alone; see killed_programs.py."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from killed_programs import Attempt, message_of, recipient_of, run
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from worker import Producer
from worker.ledger import Transaction, open_engine
from worker.settings import settings


class RollBackError(Exception):
    """What makes a transaction roll back."""


def open_program() -> Attempt:
    database_url = settings().database_url
    assert database_url is not None
    engine = open_engine(database_url.get_secret_value())
    plain_url = make_url(database_url.get_secret_value()).set(drivername="postgresql")
    driver = psycopg.connect(plain_url.render_as_string(hide_password=False), autocommit=True)
    producer = Producer()

    @contextmanager
    def begin(number: int) -> Iterator[Transaction]:
        order = f"insert into orders values ({number})"
        if number % 3 == 0:
            with Session(engine) as session, session.begin():
                session.execute(text(order))
                yield session
        elif number % 3 == 1:
            with engine.begin() as connection:
                connection.execute(text(order))
                yield connection
        else:
            with driver.transaction():
                driver.execute(order.encode())
                yield driver

    def attempt(number: int, commits: bool) -> None:  # noqa: FBT001 - as every program is called
        with suppress(RollBackError), begin(number) as transaction:
            producer.send("hr", message_of(number), users=[recipient_of(number)], connection=transaction)
            if not commits:
                raise RollBackError

    return attempt


if __name__ == "__main__":
    run(open_program)
