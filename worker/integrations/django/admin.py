"""Read-only pages about messages and campaigns, with what a person can do about them as actions."""

import json
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join

from worker.integrations.django import wecom
from worker.integrations.django.configuration import configured
from worker.integrations.django.models import Campaign, Message
from worker.ledger import LedgerError, State
from worker.producer import Producer
from worker.settings import SettingsError

MOST_LISTED = 5000
"""So many rows can be paged through; for others there are filters and the search."""
MOST_FOUND = 500
"""So many of a member's newest messages are found by a search."""
MOST_AT_ONCE = 1000
"""So many messages one action changes; for more there are campaigns."""
TAKEN_BACK = frozenset({State.CANCELLED, State.RECALLED, State.RECALLING, State.SENDING})


class BoundedPaginator(Paginator):
    """Counts no further than can be paged through: to count millions would take longer than to read a page."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, up to a bound."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment] # the admin pages querysets only
        return rows.order_by("-pk")[:MOST_LISTED].count()


class ReadOnly(admin.ModelAdmin):
    """Rows of the ledger, which only the ledger itself changes."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50
    list_max_show_all = 0
    ordering: ClassVar = ["-pk"]  # ids begin with the time
    sortable_by: ClassVar = []
    show_facets: ClassVar[Any] = getattr(
        getattr(admin, "ShowFacets", None), "NEVER", None
    )  # they count; Django has them from 5.0

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's interface
        """Nobody adds rows here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 - Django's
        """Nobody changes rows here."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002 - Django's
        """Nobody deletes rows here."""
        return False

    def _may(self, request: HttpRequest, what: str) -> bool:
        person: Any = request.user  # the admin lets in only users with permissions
        return bool(person.has_perm(f"{self.opts.app_label}.{what}_{self.opts.model_name}"))

    def has_recall_permission(self, request: HttpRequest) -> bool:
        """Whether this person may take back."""
        return self._may(request, "recall")

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whether this person may have failed messages sent again."""
        return self._may(request, "retry")

    @admin.display(description="message")
    def content(self, row: Message | Campaign) -> str:
        """Show what WeCom is sent, in its own form."""
        return format_html("<pre>{}</pre>", json.dumps(row.body, ensure_ascii=False, indent=2))


class MessageAdmin(ReadOnly):
    """Messages, the newest first.

    The actions are those of `Producer`: that of Django may wait for the commit of the request's transaction, and the
    page has to tell what was done.
    """

    list_display = ("id", "sender_id", "to", "state", "send_at", "sent_at", "error")
    list_filter = ("state", "sender")
    search_fields = ("msgid",)
    search_help_text = "a userid, the id of a message, or a msgid of WeCom"
    list_select_related: ClassVar = []
    actions = ("take_back", "retry")
    fields = (
        *("id", "part_of", "sender", "campaign", "state", "errcode", "error", "msgid", "members", "departments"),
        *("tag_ids", "invalid", "content", "requested_at", "send_at", "expires_at", "sent_at", "attempts"),
        *("recall_requested_at", "recalled_at", "recall_error"),
    )
    readonly_fields = ("members", "departments", "tag_ids", "invalid", "content", "attempts")

    @admin.display(description="to")
    def to(self, message: Message) -> str:
        """Show whom a message names, shortened."""
        named = [*message.touser, *(f"department {one}" for one in message.toparty)]
        named += [f"tag {one}" for one in message.totag]
        return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")

    @admin.display(description="members")
    def members(self, message: Message) -> str:
        """Show the userids."""
        return ", ".join(message.touser) or "-"

    @admin.display(description="departments")
    def departments(self, message: Message) -> str:
        """Show the ids of departments."""
        return ", ".join(message.toparty) or "-"

    @admin.display(description="tags")
    def tag_ids(self, message: Message) -> str:
        """Show the ids of tags."""
        return ", ".join(message.totag) or "-"

    @admin.display(description="not served by WeCom")
    def invalid(self, message: Message) -> str:
        """Show whom WeCom did not serve although it accepted the message."""
        left_out = wecom.status(message.pk).invalid
        named = [*left_out.users, *(f"department {one}" for one in left_out.parties)]
        named += [*(f"tag {one}" for one in left_out.tags), *(f"{one} (no licence)" for one in left_out.unlicensed)]
        return ", ".join(named) or "-"

    @admin.display(description="attempts that were no plain success")
    def attempts(self, message: Message) -> str:
        """Show what went wrong, and when."""
        tried = wecom.status(message.pk).attempts
        if not tried:
            return "-"
        return format_html_join(
            "", "<div>{} {}: {}</div>", ((one.at.isoformat(" ", "seconds"), one.category, one.reason) for one in tried)
        )

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Find messages by their id, by a member they name, or else by their msgid, for which there is no index."""
        del request
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            named = [entry.id for entry in wecom.history(term, limit=MOST_FOUND)]
            return queryset.filter(pk__in=named) if named else queryset.filter(msgid=term), False

    @admin.action(description="Recall selected messages", permissions=["recall"])
    def take_back(self, request: HttpRequest, chosen: QuerySet[Message]) -> None:
        """Take messages back, with all parts of their audience."""

        def recall(message: UUID) -> str | None:
            [own] = [part for part in Producer.recall(wecom, message) if part.id == message]
            return None if own.state in TAKEN_BACK else own.recall_error or f"it is {own.state}"

        self._each(request, chosen, recall, "Taken back: {} of {} messages.")

    @admin.action(description="Send selected failed messages again", permissions=["retry"])
    def retry(self, request: HttpRequest, chosen: QuerySet[Message]) -> None:
        """Have failed messages sent again."""

        def retry(message: UUID) -> str | None:
            return None if Producer.retry(wecom, message) else "only what has failed can be sent again"

        self._each(request, chosen, retry, "Sent again: {} of {} messages.")

    def _each(
        self, request: HttpRequest, chosen: QuerySet[Message], act: Callable[[UUID], str | None], told: str
    ) -> None:
        """Act on each message and tell of how many it was done, and why not of the others."""
        ids = list(chosen.values_list("pk", flat=True)[: MOST_AT_ONCE + 1])
        if len(ids) > MOST_AT_ONCE:
            told = f"Nothing is done: an action takes at most {MOST_AT_ONCE} messages; there are actions for campaigns."
            self.message_user(request, told, messages.ERROR)
            return
        reasons = Counter(_tried(act, message) for message in ids)
        done = reasons.pop(None, 0)
        self.message_user(request, told.format(done, len(ids)), messages.SUCCESS if done else messages.WARNING)
        for reason, number in reasons.items():
            self.message_user(request, f"Not {number}: {reason}.", messages.WARNING)


def _tried(act: Callable[[UUID], str | None], message: UUID) -> str | None:
    """Act on a message; return why it could not be done, or None."""
    try:
        return act(message)
    except LedgerError as error:
        return str(error)


class CampaignAdmin(ReadOnly):
    """Campaigns, the newest first."""

    list_display = ("name", "sender_id", "messages", "recipients", "created_at", "paused_reason", "cancelled_at")
    list_filter = ("sender",)
    search_fields = ("name",)
    list_select_related: ClassVar = []
    actions = ("take_back", "retry", "pause", "resume")
    fields = (
        *("id", "name", "sender", "progress", "paused_reason", "cancelled_at", "messages", "recipients"),
        *("duplicates", "content", "requested_at", "expires_at", "created_at"),
    )
    readonly_fields = ("progress", "content")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Whether this person may pause, and let go on."""
        return self._may(request, "pause")

    @admin.display(description="progress")
    def progress(self, campaign: Campaign) -> str:
        """Show how many messages stand in each state."""
        counts = wecom.campaign_status(campaign.name, sender=campaign.sender_id).counts
        return ", ".join(f"{number} {state}" for state, number in counts.items()) or "-"

    @admin.action(description="Recall selected campaigns", permissions=["recall"])
    def take_back(self, request: HttpRequest, chosen: QuerySet[Campaign]) -> None:
        """Take all messages of campaigns back."""
        self._each(
            request, chosen, lambda one: wecom.recall(campaign=one.name, sender=one.sender_id), "Taken back: {}."
        )

    @admin.action(description="Send failed messages of selected campaigns again", permissions=["retry"])
    def retry(self, request: HttpRequest, chosen: QuerySet[Campaign]) -> None:
        """Have the failed messages of campaigns sent again."""
        self._each(
            request,
            chosen,
            lambda one: wecom.retry_campaign(one.name, sender=one.sender_id),
            "Failed messages are sent again: {}.",
        )

    @admin.action(description="Pause selected campaigns", permissions=["pause"])
    def pause(self, request: HttpRequest, chosen: QuerySet[Campaign]) -> None:
        """Keep the messages of campaigns from being sent."""
        reason = f"paused by {request.user.get_username()}"
        self._each(
            request,
            chosen,
            lambda one: wecom.pause_campaign(one.name, sender=one.sender_id, reason=reason),
            "Paused: {}.",
        )

    @admin.action(description="Resume selected campaigns", permissions=["pause"])
    def resume(self, request: HttpRequest, chosen: QuerySet[Campaign]) -> None:
        """Let paused campaigns go on."""
        self._each(request, chosen, lambda one: wecom.resume_campaign(one.name, sender=one.sender_id), "Going on: {}.")

    def _each(
        self, request: HttpRequest, chosen: Iterable[Campaign], act: Callable[[Campaign], object], told: str
    ) -> None:
        """Act on each campaign and tell of how many it was done, and why not of the others."""
        done = 0
        for campaign in chosen:
            try:
                act(campaign)
                done += 1
            except LedgerError as error:
                self.message_user(request, f"{campaign}: {error}", messages.ERROR)
        if done:
            self.message_user(request, told.format(f"{done} campaign{'s' if done > 1 else ''}"), messages.SUCCESS)


def _pages_are_possible() -> bool:
    """Whether Django reaches the ledger; if the settings cannot be read, a system check says so."""
    try:
        return configured().alias is not None
    except SettingsError:
        return False


if _pages_are_possible():
    admin.site.register(Message, MessageAdmin)
    admin.site.register(Campaign, CampaignAdmin)
