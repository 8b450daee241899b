"""A Flask app with Flask-SQLAlchemy; see killed_programs.py."""

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from killed_programs import Attempt, message_of, recipient_of, run
from sqlalchemy.orm import Mapped, mapped_column

from worker.integrations.flask import WeCom
from worker.settings import settings

db = SQLAlchemy()
wecom = WeCom()


class Order(db.Model):  # type: ignore[name-defined, misc]
    """What the app has of its own."""

    __tablename__ = "orders"

    number: Mapped[int] = mapped_column(primary_key=True)


def open_program() -> Attempt:
    database_url = settings().database_url
    assert database_url is not None
    app = Flask("shop")
    app.config["SQLALCHEMY_DATABASE_URI"] = app.config["WECOM_DATABASE_URL"] = database_url.get_secret_value()
    db.init_app(app)
    wecom.init_app(app)

    @app.post("/orders/<int:number>/<ending>")
    def order(number: int, ending: str) -> str:
        db.session.add(Order(number=number))
        wecom.send("hr", message_of(number), users=[recipient_of(number)], connection=db.session)
        if ending == "commit":
            db.session.commit()
        return ""  # what was not committed is rolled back at the end of the request

    def attempt(number: int, commits: bool) -> None:  # noqa: FBT001 - as every program is called
        answer = app.test_client().post(f"/orders/{number}/{'commit' if commits else 'forget'}")
        assert answer.status_code == 200

    return attempt


if __name__ == "__main__":
    run(open_program)
