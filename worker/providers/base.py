"""What every provider has in common: the answer to one call, its category, and the protocol to speak.

A new provider is one module with a class that follows `Provider`, and one line in `worker/providers/__init__.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Protocol

from worker.messages.recipients import InvalidRecipients, Recipients
from worker.messages.sender import Sender


class Category(StrEnum):
    """What an answer says about the call, and with it what may be done next.

    The first seven are about errcodes. The last two are about calls that brought no errcode back, and they
    differ in the one thing that matters: whether the message can have been sent.
    """

    ACCEPTED = "accepted"
    """errcode 0, or none at all (doc 90664)."""
    TRANSIENT = "transient"
    """The server is busy; a later try can succeed."""
    TOKEN = "token"  # noqa: S105 - a category, not a secret
    """The access token is not accepted; a new one can help, once."""
    RATE_LIMITED = "rate_limited"
    """Too many calls; wait, and do not count this as an attempt."""
    RECIPIENT = "recipient"
    """Nobody among the recipients can be served."""
    CONTENT = "content"
    """This message can never be sent as it is."""
    CONFIG = "config"
    """Nothing can be sent until a person changes something."""
    UNLISTED = "unlisted"
    """An errcode nobody has described: one more try, then a person decides."""
    UNREACHABLE = "unreachable"
    """Nothing of the request left, or something on the way refused to pass it on: provably not sent."""
    UNCERTAIN = "uncertain"
    """The request left, at least in part, and no readable answer came: sent or not, nobody here knows."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one call to a provider amounted to.

    Attributes:
        category: see `Category`.
        errcode: the provider's code, or None where no readable answer came.
        reason: the provider's words or ours, without secrets, on one line.
        msgid: names the message for a recall.
        response_code: allows one update of a card.
        invalid: recipients that were not served although the call was accepted.
        http_status: None where no answer came.
        milliseconds: how long the call took.
        file_gone: the provider does not have a file any more that the message shows; another upload can help.
        address_refused: the provider refused the address that the call came from; from another one it may succeed.
    """

    category: Category
    errcode: int | None = None
    reason: str = ""
    msgid: str | None = None
    response_code: str | None = None
    invalid: InvalidRecipients = field(default_factory=InvalidRecipients)
    http_status: int | None = None
    milliseconds: int = 0
    file_gone: bool = False
    address_refused: bool = False

    @property
    def may_be_of_this_machine(self) -> bool:
        """Whether the fault may be of this machine alone, so that the same call from another one may succeed.

        The call had no effect then.
        """
        return self.address_refused or self.category is Category.UNREACHABLE

    @property
    def let_in(self) -> bool:
        """Whether the provider heard the call and dealt with it, so that nothing is the matter with this machine."""
        return self.errcode is not None and not self.address_refused and self.category is not Category.UNREACHABLE

    @property
    def said(self) -> str:
        """The errcode and the reason, as a person reads them."""
        return f"{self.errcode}: {self.reason}" if self.errcode else self.reason


@dataclass(frozen=True, slots=True)
class Upload:
    """The answer to an upload; with a `media_id` that names the file if it was accepted."""

    answer: Answer
    media_id: str | None = None


class ProviderError(Exception):
    """A provider cannot be used right now, so a message was certainly not sent; `answer` says why.

    Whatever became of the call that failed, be it an access token or an upload, its doubt is not the message's.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.reason)
        vague = answer.category in {Category.UNCERTAIN, Category.TRANSIENT, Category.UNLISTED}
        self.answer = replace(answer, category=Category.UNREACHABLE) if vague else answer


class HeldBack(Exception):  # noqa: N818 - no fault: the call was told to stay
    """A message, a recall or a card update was told to stay, at the last moment; nothing of it left."""


def nothing() -> None:
    """Let a call leave: what `before_leaving` is where nobody wants to be asked."""


class Channel(Protocol):
    """An authenticated way to one provider for one sender; safe to use from many threads at once."""

    def send(
        self, body: Mapping[str, object], recipients: Recipients, before_leaving: Callable[[], None] = nothing
    ) -> Answer:
        """Send one message; the same arguments always make the same bytes.

        `before_leaving` is called when the connection stands, immediately before the first byte of the message is
        handed to it, and once more before a second try with a new access token.

        Raises:
            HeldBack: `before_leaving` raised it, and it is passed on unchanged; nothing of the message left.
            ProviderError: the message was certainly not sent.
        """
        ...

    def recall(self, msgid: str, before_leaving: Callable[[], None] = nothing) -> Answer:
        """Take one sent message back; for `before_leaving` and what it raises see `send`."""
        ...

    def update_card(
        self, body: Mapping[str, object], response_code: str, before_leaving: Callable[[], None] = nothing
    ) -> Answer:
        """Change a sent card, once for each response_code; for `before_leaving` and what it raises see `send`."""
        ...

    def upload(self, kind: str, filename: str, content: bytes, keep_going: Callable[[], bool] | None = None) -> Upload:
        """Upload a file for messages to show; `kind` is image, voice, video or file.

        `keep_going` is asked several times a second, if given; within a second after it says False the upload ends,
        as `UNREACHABLE`.

        Raises:
            ProviderError: there was no access token to upload with.
        """
        ...

    def upload_seconds(self, size: int) -> float:
        """Return how many seconds an upload of so many bytes takes at worst."""
        ...


class Provider(Protocol):
    """One API family."""

    @property
    def slowest_call(self) -> float:
        """Seconds from the begin of a call on a channel, uploads apart, to its answer, at worst.

        Leases rely on it: it includes a second try with a new access token. What `before_leaving` takes comes on top.
        """
        ...

    def app(self, sender: Sender) -> str:
        """Name the app that a sender is: senders of one app share its limits."""
        ...

    def check(self, sender: Sender, *, again: bool = False) -> Answer:
        """Ask the provider whether it accepts the sender's credentials, whatever was accepted before.

        A refusal of the last seconds is believed without asking, unless it is to be asked `again`: then every process
        forgets it, too.
        """
        ...

    def open(self, sender: Sender) -> Channel:
        """Authenticate as the sender, once for many messages.

        Raises:
            ProviderError: the credentials are refused or the provider cannot be reached.
        """
        ...
