"""A Celery app of its own whose `beat_schedule` sends through WeCom: each entry goes once, with any number of beats."""

from contextlib import suppress
from datetime import UTC, datetime

from celery import Celery

from worker import CampaignConflict, Producer, Text
from worker.servers import open_servers

app = Celery("shop", broker=open_servers().broker_url)
app.conf.beat_scheduler = "worker.beat:OnceScheduler"
app.conf.beat_max_loop_interval = 1
app.conf.beat_schedule = {
    # Sent by the workers of wecom-worker; nothing of ours needs to run for it but beat.
    "greeting": {
        "task": "wecom.send",
        "schedule": 5.0,
        "kwargs": {
            "sender": "default",
            "message": {"msgtype": "text", "text": {"content": "Five seconds have passed."}},
            "users": ["zhangsan"],
            "urgent": True,  # the example waits for no quiet window
        },
        "options": {"queue": "wecom"},
    },
    # A campaign, which has the moment in its name each time.
    "news": {
        "task": "wecom.campaign",
        "schedule": 10.0,
        "kwargs": {
            "name": "news",
            "sender": "default",
            "message": {"msgtype": "text", "text": {"content": "{{ name }}, ten seconds have passed."}},
            "recipients": [{"userid": "maliu", "name": "马六"}],
            "urgent": True,
        },
        "options": {"queue": "wecom"},
    },
    # A task of ours, for recipients and texts as they are when it is due.
    "report": {"task": "shop.report", "schedule": 3.0},
}
wecom = Producer()


def recipients() -> list[dict[str, str]]:
    """Ask whoever knows today's recipients; here nobody has to be asked."""
    return [{"userid": "lisi", "name": "李四"}, {"userid": "wangwu", "name": "王五"}]


@app.task(name="shop.report", ignore_result=True)
def report() -> None:
    """Send the report of this minute; a campaign's name is unique, so that every other run of the minute finds it."""
    name = f"report {datetime.now(UTC):%Y-%m-%d %H:%M}"
    message = Text(content=f"{{{{ name }}}}, this is the {name}.")
    with suppress(CampaignConflict):  # another run was first, with other recipients
        wecom.campaign(name, sender="default", message=message, recipients=recipients(), urgent=True)
