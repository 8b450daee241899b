"""WeCom's own apps: messages, recalls, card updates and media with the app's access token."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import ClassVar

import orjson

from worker.messages.recipients import Recipients
from worker.messages.sender import Sender
from worker.messages.wire import wire_form
from worker.providers.base import Answer, Category, ProviderError, Upload, nothing
from worker.providers.wecom.client import WeComClient
from worker.providers.wecom.errcodes import category_of, needs_another_upload
from worker.providers.wecom.replies import Reply, name_in
from worker.providers.wecom.tokens import Credential, Token, Tokens

RENEWAL_SECONDS = 2
"""A call whose token was refused is made again only if a new token came so soon."""
INVALID_SECRET = 40001
"""Means a wrong secret to gettoken, but clients have seen it from other calls when a token had died."""
_RENEWAL_TOO_SLOW = Answer(Category.UNREACHABLE, reason="renewing the access token took too long")


class WeCom:
    """Own apps (自建应用), which authenticate with the corp's id and the app's secret."""

    credential_names: ClassVar[tuple[str, ...]] = ("corpid", "corpsecret")

    def __init__(self, client: WeComClient, tokens: Tokens) -> None:
        self._client = client
        self._tokens = tokens

    @property
    def slowest_call(self) -> float:
        """Seconds from the begin of a call to its answer, with a new access token in between."""
        return self._client.slowest_call + RENEWAL_SECONDS

    @staticmethod
    def app(sender: Sender) -> str:
        """Name the app that a sender is: WeCom counts by corp and agent (doc 90312)."""
        return f"{sender.credentials['corpid']}:{sender.agentid}"

    def check(self, sender: Sender, *, again: bool = False) -> Answer:
        """Ask WeCom for a token, whatever token is known; a refusal of the last seconds counts unless asked `again`."""
        credential = self._credential(sender)
        if again:
            self._tokens.forget_refusal(credential)
        return self._tokens.check(credential)

    def open(self, sender: Sender) -> "WeComChannel":
        """Take the sender's access token, fetching one if need be.

        Raises:
            ProviderError: the secret is refused or WeCom cannot be reached.
        """
        credential = self._credential(sender)
        return WeComChannel(self._client, self._tokens, credential, self._tokens.get(credential), sender.agentid)

    def _credential(self, sender: Sender) -> Credential:
        corpid, corpsecret = (sender.credentials[name] for name in self.credential_names)
        return Credential(
            "gettoken",
            corpid,
            corpsecret,
            fetch=lambda: self._client.get("/cgi-bin/gettoken", {"corpid": corpid, "corpsecret": corpsecret}),
        )


class WeComChannel:
    """One app with its token; safe to use from many threads at once."""

    def __init__(
        self, client: WeComClient, tokens: Tokens, credential: Credential, token: Token, agentid: int | None
    ) -> None:
        self._client = client
        self._tokens = tokens
        self._credential = credential
        self._token = token
        self._agentid = agentid

    def send(
        self, body: Mapping[str, object], recipients: Recipients, before_leaving: Callable[[], None] = nothing
    ) -> Answer:
        """Send one message; the same arguments always make the same bytes.

        Raises:
            HeldBack: `before_leaving` raised it; nothing of the message left.
            ProviderError: there was no new token where one was needed; the message was not sent.
        """
        answer = self._post("/cgi-bin/message/send", wire_form(body, recipients, self._agentid), before_leaving)
        if answer.category is Category.CONFIG:
            return replace(answer, category=category_of(answer.errcode, str(body.get("msgtype"))))
        return replace(answer, file_gone=True) if answer.errcode and needs_another_upload(answer.errcode) else answer

    def recall(self, msgid: str, before_leaving: Callable[[], None] = nothing) -> Answer:
        """Take one message back, within 24 hours of sending it (doc 94867)."""
        return self._post("/cgi-bin/message/recall", orjson.dumps({"msgid": msgid}), before_leaving)

    def update_card(
        self, body: Mapping[str, object], response_code: str, before_leaving: Callable[[], None] = nothing
    ) -> Answer:
        """Change a sent card (doc 94888)."""
        request = {**body, "agentid": self._agentid, "response_code": response_code}
        return self._post("/cgi-bin/message/update_template_card", orjson.dumps(request), before_leaving)

    def upload(self, kind: str, filename: str, content: bytes, keep_going: Callable[[], bool] | None = None) -> Upload:
        """Upload a file, which WeCom keeps for three days (doc 90253).

        A picture of kind `article` is for the inside of mpnews; its `media_id` is an address that lasts (doc 90256).
        Within a second after `keep_going` says False the upload ends.

        Raises:
            ProviderError: there was no new token where one was needed.
        """
        path, query, answered = "/cgi-bin/media/upload", {"type": kind}, "media_id"
        if kind == "article":
            path, query, answered = "/cgi-bin/media/uploadimg", {}, "url"
        reply = self._with_token(
            lambda token: self._client.upload(path, {"access_token": token, **query}, filename, content, keep_going)
        )
        return Upload(reply.answer, name_in(reply.payload, answered))

    def upload_seconds(self, size: int) -> float:
        """Return how many seconds an upload of so many bytes takes at worst, with a new access token in between."""
        return self._client.upload_seconds(size) + RENEWAL_SECONDS

    def _post(self, path: str, body: bytes, before_leaving: Callable[[], None]) -> Answer:
        return self._with_token(
            lambda token: self._client.post(path, {"access_token": token}, body, before_leaving)
        ).answer

    def _with_token(self, call: Callable[[str], Reply]) -> Reply:
        """Make a call; where the token is refused, once more with a new one.

        Raises:
            ProviderError: there was no new token to be had, or not soon enough, or it was refused as well; the call
                had no effect.
        """
        token, began = self._token, time.monotonic()
        reply = call(token.value)
        if not _token_refused(reply.answer):
            self._tokens.accepted(self._credential)
            return reply
        self._tokens.discard(self._credential, token)
        patience = RENEWAL_SECONDS - (time.monotonic() - began)
        if patience <= 0:
            raise ProviderError(_RENEWAL_TOO_SLOW)
        self._token = fresh = self._tokens.get(self._credential, patience)
        if time.monotonic() - began > RENEWAL_SECONDS:
            # A second call now could end after the caller's lease, when another worker sends the message too.
            raise ProviderError(_RENEWAL_TOO_SLOW)
        again = call(fresh.value)
        if not _token_refused(again.answer):
            self._tokens.accepted(self._credential)
            return again
        self._tokens.discard(self._credential, fresh)
        hopeless = self._tokens.hopeless(self._credential, fresh)
        category = Category.CONFIG if hopeless else Category.UNREACHABLE
        raise ProviderError(
            replace(again.answer, category=category, reason=f"a new token was refused too: {again.answer.reason}")
        )


def _token_refused(answer: Answer) -> bool:
    return answer.category is Category.TOKEN or answer.errcode == INVALID_SECRET
