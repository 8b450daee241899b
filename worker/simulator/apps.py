"""The apps that may call, their secrets and their access tokens (doc 91039)."""

import secrets
from collections import deque
from dataclasses import dataclass, field

from worker.simulator.answers import RefusedError
from worker.simulator.clock import SettableClock
from worker.simulator.settings import Settings

BAN_SECONDS = 3600
WRONG_SECRETS_WITHIN = 60
"""Repeated wrong secrets close gettoken to the caller's address for an hour (doc 90313)."""


@dataclass(slots=True)
class App:
    """One app of one corp: what gettoken asks for, the id messages name, and how many accounts it may serve.

    Without a callback URL it cannot send cards that call back (43012).
    """

    corpid: str
    secret: str
    agentid: int
    account_cap: int = 1_000_000
    callback_url: bool = True


NEWCOMER = App("ww-simulator", "simulator-secret", 1000002)
"""The app that is always there, so that nothing needs setting up."""


def app_from_text(text: str) -> App:
    """Read `corpid:secret:agentid` or `corpid:secret:agentid:account_cap`.

    Raises:
        ValueError: the text has another form.
    """
    parts = text.split(":")
    if len(parts) not in (3, 4) or not all(parts):
        raise ValueError(f"an app is written corpid:secret:agentid[:account_cap], not {text!r}")
    account_cap = int(parts[3]) if len(parts) == 4 else NEWCOMER.account_cap
    return App(parts[0], parts[1], int(parts[2]), account_cap)


@dataclass(slots=True)
class Token:
    """An access token: whose it is, until when (Unix seconds), and the errcode it earns if it was ended early."""

    text: str
    app_number: int
    expires_at: float
    ended_with: int = 0


@dataclass(slots=True)
class Apps:
    """Every app, by its place in the order of registration, and every token ever given out."""

    settings: Settings
    clock: SettableClock
    apps: list[App] = field(default_factory=list)
    tokens_issued: int = 0
    _tokens: dict[str, Token] = field(default_factory=dict)
    _newest: dict[int, Token] = field(default_factory=dict)
    _wrong_secrets: deque[float] = field(default_factory=deque)
    _banned_until: float = 0.0

    def add(self, app: App) -> int:
        """Register an app, or replace the one with the same corpid and agentid; returns its place."""
        for number, known in enumerate(self.apps):
            if (known.corpid, known.agentid) == (app.corpid, app.agentid):
                self.apps[number] = app
                return number
        self.apps.append(app)
        return len(self.apps) - 1

    def reset(self) -> None:
        """Forget all tokens, bans and apps but the newcomer's."""
        self.apps.clear()
        self._tokens.clear()
        self._newest.clear()
        self._wrong_secrets.clear()
        self._banned_until = 0.0
        self.tokens_issued = 0
        self.add(NEWCOMER)

    def get_token(self, corpid: str, secret: str) -> tuple[str, int]:
        """Give an app its token and the seconds it has to live (doc 91039).

        Raises:
            RefusedError: 41002 and 41004 without corpid or secret, 40013 unknown corpid, 40001 wrong secret, 45009
                where too many wrong secrets came before (doc 90313).
        """
        now = self.clock.now()
        if now < self._banned_until:
            raise RefusedError(45009)
        if not corpid:
            raise RefusedError(41002)
        if not secret:
            raise RefusedError(41004)
        for number, app in enumerate(self.apps):
            if app.corpid == corpid and app.secret == secret:
                token = self._living_token(number, now)
                return token.text, int(token.expires_at - now)
        if all(app.corpid != corpid for app in self.apps):
            raise RefusedError(40013)
        self._count_wrong_secret(now)
        raise RefusedError(40001)

    def caller(self, token_text: str) -> tuple[int, App]:
        """Say which app a business call comes from, as its place and itself.

        Raises:
            RefusedError: 41001 no token, 40014 unknown, 42001 past its life, or the code it was ended with (doc 90313).
        """
        token = self._tokens.get(token_text)
        if token is None:
            raise RefusedError(40014 if token_text else 41001)
        if token.ended_with:
            raise RefusedError(token.ended_with)
        if self.clock.now() >= token.expires_at:
            raise RefusedError(42001)
        return token.app_number, self.apps[token.app_number]

    def end_tokens(self, errcode: int, *, corpid: str | None = None, agentid: int | None = None) -> int:
        """End living tokens early, as WeCom may at any time (doc 91039); returns how many.

        Args:
            errcode: what a call with such a token is answered from now on, 40014 or 42001.
            corpid: only this corp's.
            agentid: only this app's.
        """
        ended = 0
        for token in self._tokens.values():
            app = self.apps[token.app_number]
            if token.ended_with or corpid not in (None, app.corpid) or agentid not in (None, app.agentid):
                continue
            token.ended_with = errcode
            ended += 1
        return ended

    def end_token(self, token_text: str, errcode: int) -> None:
        """End one token early; an unknown one is left unknown."""
        if token := self._tokens.get(token_text):
            token.ended_with = errcode

    def _living_token(self, number: int, now: float) -> Token:
        token = self._newest.get(number)
        if token is None or token.ended_with or now >= token.expires_at or self.settings.new_token_on_repeat:
            token = Token(secrets.token_urlsafe(160), number, now + self.settings.token_life)
            self._newest[number] = self._tokens[token.text] = token
            self.tokens_issued += 1
        return token

    def _count_wrong_secret(self, now: float) -> None:
        wrong = self._wrong_secrets
        wrong.append(now)
        while wrong and wrong[0] <= now - WRONG_SECRETS_WITHIN:
            wrong.popleft()
        if 0 < self.settings.wrong_secrets <= len(wrong):
            self._banned_until = now + BAN_SECONDS
            wrong.clear()
