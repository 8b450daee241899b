"""A shop in Flask: an order and the message about it are stored together, or not at all."""

from collections.abc import Mapping
from uuid import UUID

from flask import Flask, redirect, render_template, request, url_for
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column
from werkzeug.wrappers import Response

from worker import InvalidMessage, TextCard
from worker.integrations.flask import WeCom

SENDER = "default"

db = SQLAlchemy()
wecom = WeCom()


class Order(db.Model):  # type: ignore[name-defined, misc]
    """What somebody ordered, and the message that tells them."""

    __tablename__ = "example_flask_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    userid: Mapped[str]
    item: Mapped[str]
    message_id: Mapped[UUID]


def create_app(configuration: Mapping[str, object]) -> Flask:
    """Make the shop; `configuration` names the database: SQLALCHEMY_DATABASE_URI and WECOM_DATABASE_URL, the same."""
    app = Flask(__name__)
    app.config.from_mapping(configuration)
    db.init_app(app)
    wecom.init_app(app)
    with app.app_context():
        db.create_all()

    @app.get("/")
    def form() -> str:
        return render_template("form.html")

    @app.post("/orders")
    def take_order() -> Response:
        userid, item = request.form["userid"], request.form["item"]
        card = TextCard(title="Your order", description=f"{item} is on its way", url=request.url_root)
        message_id = wecom.send(SENDER, card, users=[userid], connection=db.session)
        order = Order(userid=userid, item=item, message_id=message_id)
        db.session.add(order)
        db.session.commit()  # from here on both exist; after a roll-back neither would
        return redirect(url_for("show_order", number=order.id), 303)

    @app.get("/orders/<int:number>")
    def show_order(number: int) -> str:
        order = db.get_or_404(Order, number)
        return render_template("order.html", order=order, message=wecom.status(order.message_id))

    @app.errorhandler(InvalidMessage)
    def refuse(error: InvalidMessage) -> Response:
        return Response(f"{error}\n", 400, mimetype="text/plain")

    return app
