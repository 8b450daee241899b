"""What people write today: a Celery task a message, wechatpy, and one commit a row.

This module runs in a throw-away virtual environment of its own (`benchmarks/peer_environment.py`) and knows nothing of
wecom-worker. It is given what a careful author would give it: no result backend, a token fetched once a process, and
pools of connections that suit its concurrency. `python peer.py MARK N` queues N messages.
"""

import os
import sys
from datetime import datetime
from functools import cache

from celery import Celery
from requests import Session as HttpSession
from requests.adapters import HTTPAdapter
from sqlalchemy import DateTime, Engine, create_engine, func
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from wechatpy.enterprise import WeChatClient

POOL = int(os.environ.get("PEER_POOL", "1"))
MOST_TO_POSTGRES = 20

app = Celery("peer", broker=os.environ["PEER_BROKER_URL"])
app.conf.update(task_ignore_result=True, task_default_queue="peer", worker_hijack_root_logger=False)


class Base(DeclarativeBase):
    """The tables of this program."""


class SentMessage(Base):
    """What was sent."""

    __tablename__ = "peer_messages"

    id: Mapped[int] = mapped_column(primary_key=True)
    userid: Mapped[str]
    content: Mapped[str]
    msgid: Mapped[str | None]
    sent_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.clock_timestamp())


class Client(WeChatClient):
    """wechatpy's client, which has WeCom's host in two places."""

    API_BASE_URL = os.environ["PEER_API_BASE_URL"] + "/cgi-bin/"

    def fetch_access_token(self) -> object:
        """Fetch the access token."""
        return self._fetch_access_token(
            url=self.API_BASE_URL + "gettoken", params={"corpid": self.corp_id, "corpsecret": self.secret}
        )


@cache
def engine() -> Engine:
    """Return this process's connections to Postgres."""
    return create_engine(os.environ["PEER_DATABASE_URL"], pool_size=min(POOL, MOST_TO_POSTGRES))


@cache
def client() -> Client:
    """Return this process's client."""
    made = Client(os.environ["PEER_CORPID"], os.environ["PEER_CORPSECRET"])
    http = HttpSession()
    http.mount("http://", HTTPAdapter(pool_maxsize=POOL))
    made._http = http  # noqa: SLF001 - it cannot be given one
    made.fetch_access_token()
    return made


@app.task(name="peer.send")
def send(userid: str, content: str) -> None:
    """Send a text and note it."""
    answer = client().message.send_text(int(os.environ["PEER_AGENTID"]), userid, content)
    with Session(engine()) as session:
        session.add(SentMessage(userid=userid, content=content, msgid=answer.get("msgid")))
        session.commit()


if __name__ == "__main__":
    Base.metadata.create_all(engine())
    mark, sends = sys.argv[1], int(sys.argv[2])
    with app.producer_pool.acquire(block=True) as producer:
        for number in range(sends):
            send.apply_async([f"{mark}-{number}", f"Payslip {number}: 工资条已发放，请查收"], producer=producer)
