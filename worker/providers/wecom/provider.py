"""WeCom's own apps: message/send and message/recall with the app's access token (docs 90236, 94867)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import orjson

from worker.messages.recipients import Recipients
from worker.messages.sender import Sender
from worker.messages.wire import wire_form
from worker.providers.base import Answer, Category
from worker.providers.wecom.client import WeComClient
from worker.providers.wecom.tokens import Credential, Token, Tokens

INVALID_SECRET = 40001
"""Means a wrong secret to gettoken, but clients have seen it from other calls when a token had died."""


class WeCom:
    """Own apps (自建应用), which authenticate with the corp's id and the app's secret."""

    credential_names: ClassVar[tuple[str, ...]] = ("corpid", "corpsecret")

    def __init__(self, client: WeComClient, tokens: Tokens) -> None:
        self._client = client
        self._tokens = tokens

    def open(self, sender: Sender) -> "WeComChannel":
        """Take the sender's access token, fetching one if need be.

        Raises:
            ProviderError: the secret is refused or WeCom cannot be reached.
        """
        corpid, corpsecret = (sender.credentials[name] for name in self.credential_names)
        credential = Credential(
            "gettoken",
            corpid,
            corpsecret,
            fetch=lambda: self._client.get("/cgi-bin/gettoken", {"corpid": corpid, "corpsecret": corpsecret}),
        )
        return WeComChannel(self._client, self._tokens, credential, self._tokens.get(credential), sender.agentid)


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

    def send(self, body: Mapping[str, object], recipients: Recipients) -> Answer:
        """Send one message; the same arguments always make the same bytes."""
        return self._call("/cgi-bin/message/send", wire_form(body, recipients, self._agentid))

    def recall(self, msgid: str) -> Answer:
        """Take one message back, within 24 hours of sending it."""
        return self._call("/cgi-bin/message/recall", orjson.dumps({"msgid": msgid}))

    def _call(self, path: str, body: bytes) -> Answer:
        """Make a call; where the token is refused, once more with a new one.

        Raises:
            ProviderError: there was no new token to be had.
        """
        token = self._token
        answer = self._client.post(path, {"access_token": token.value}, body).answer
        if not _token_refused(answer):
            return answer
        self._tokens.discard(self._credential, token)
        self._token = fresh = self._tokens.get(self._credential)
        again = self._client.post(path, {"access_token": fresh.value}, body).answer
        if _token_refused(again):
            return replace(again, category=Category.CONFIG, reason=f"a new token was refused too: {again.reason}")
        return again


def _token_refused(answer: Answer) -> bool:
    return answer.category is Category.TOKEN or answer.errcode == INVALID_SECRET
