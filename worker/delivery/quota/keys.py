"""What is counted for whom, and under which names and times it stands in Redis."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

from worker.messages.recipients import Recipients
from worker.messages.sender import Sender

BEIJING = ZoneInfo("Asia/Shanghai")
"""WeCom's natural day."""
CLOCK_MILLISECONDS = 500
"""The windows are longer by so much: the clocks of two workers are the database's, but for the time of an answer."""
MINUTE = 60_000 + CLOCK_MILLISECONDS
HOUR = 3_600_000 + CLOCK_MILLISECONDS
PER_HOUR = 1000
COUNTED_AT_ONCE = 5000
"""Members a single Lua call looks at; Redis does nothing else meanwhile."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def person_times(recipients: Recipients, sender: Sender) -> int:
    """Return how many person-times a message counts for; a department or tag counts as one, for want of its size."""
    if recipients.everyone:
        return sender.account_cap or 1
    return len(recipients.users) + len(recipients.parties) + len(recipients.tags)


def members(recipients: Recipients) -> list[str]:
    """Return the userids that are counted, in WeCom's one spelling."""
    return [] if recipients.everyone else [userid.lower() for userid in recipients.users]


def milliseconds(moment: datetime) -> int:
    """Return a moment in the 32 bits that are stored."""
    return (moment - _BEGINNING) // _MILLISECOND % 2**32


def midnight(now: datetime) -> datetime:
    """Return when WeCom's day began."""
    return now.astimezone(BEIJING).replace(hour=0, minute=0, second=0, microsecond=0)


def day_of(moment: datetime) -> str:
    """Name WeCom's day."""
    return f"{moment.astimezone(BEIJING):%Y-%m-%d}"


def epoch_key(app: str) -> str:
    """Name the run of Redis that the counters of an app belong to."""
    return f"wecom:quota:{app}"


def day_key(app: str, day: str) -> str:
    """Name the person-times of a day."""
    return f"wecom:day:{app}:{day}"


def open_key(app: str, day: str) -> str:
    """Name the messages that are counted for a day and not known to have arrived."""
    return f"wecom:open:{app}:{day}"


def calls_key(app: str) -> str:
    """Name the calls of the last minute."""
    return f"wecom:calls:{app}"


def member_key(app: str, userid: str) -> str:
    """Name the messages to a member in the last hour."""
    return f"wecom:to:{app}:{userid}"


def source(*names: str) -> str:
    """Read a script from its parts."""
    return "".join((files("worker.delivery.quota") / name).read_text() for name in names)
