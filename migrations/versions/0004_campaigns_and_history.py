"""Campaigns: what they amount to, how they are stopped; and what a member was sent.

Revision: 0004
Follows: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from worker.ledger.gentle_changes import build_index, lock_briefly, validate

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Userids are compared without case. An array is lowered as a whole: a tenth of the time of doing it one by one. The
# collation "C" makes it the same on every machine, which an index needs.
LOWERED = """
    create or replace function wecom.lowered(userids text[]) returns text[]
    language plpgsql immutable strict parallel safe as $$
        begin return lower(userids::text collate "C")::text[]; end
    $$
"""


def campaign_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("body", postgresql.JSONB(), server_default=sa.text("'{}'"), nullable=False, comment="with templates"),
        sa.Column("priority", sa.SmallInteger(), server_default="2", nullable=False),
        sa.Column("messages", sa.Integer(), server_default="0", nullable=False),
        sa.Column("recipients", sa.Integer(), server_default="0", nullable=False),
        sa.Column("duplicates", sa.Integer(), server_default="0", nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True)),
        sa.Column("cancelled_at", sa.DateTime(timezone=True)),
        sa.Column(
            "aside",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="messages are set aside, or were",
        ),
        sa.Column("forgiven_failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("forgiven_settled", sa.Integer(), server_default="0", nullable=False),
    ]


def upgrade() -> None:
    # Indexes on what is new here are built after this transaction. So it may be done, and the revision not.
    lock_briefly({"campaigns": "access exclusive", "messages": "access exclusive"})
    op.execute(LOWERED)
    for column in campaign_columns():
        op.add_column("campaigns", column, schema="wecom", if_not_exists=True)
    # Campaigns are never deleted, and a million rows would each be checked against the same one.
    _drop_constraint("messages_campaign_fkey")
    # 3 are the messages of a paused campaign.
    _drop_constraint("messages_priority_check")
    op.create_check_constraint(
        op.f("messages_priority_check"),
        "messages",
        "priority between 0 and 3",
        schema="wecom",
        postgresql_not_valid=True,
    )
    validate("messages", "messages_priority_check")
    build_index("campaigns_paused", "campaigns", ["id"], postgresql_where=sa.text("paused_reason is not null"))
    build_index("campaigns_aside", "campaigns", ["id"], postgresql_where=sa.text("aside"))
    build_index("campaigns_created_at", "campaigns", ["created_at"])
    build_index(
        "messages_of_campaign",
        "messages",
        ["campaign", "state", "priority"],
        postgresql_where=sa.text("campaign is not null"),
    )
    # Without pending entries, which every look-up would have to read: 1.4 ms instead of 60 while many are written.
    build_index(
        "messages_of_member",
        "messages",
        [sa.text("wecom.lowered(touser)")],
        postgresql_using="gin",
        postgresql_with={"fastupdate": "off"},
    )


def _drop_constraint(name: str) -> None:
    op.execute(f"-- squawk-ignore ban-drop-constraint\nalter table wecom.messages drop constraint if exists {name}")


def downgrade() -> None:
    op.drop_index("messages_of_member", "messages", schema="wecom")
    op.drop_index("messages_of_campaign", "messages", schema="wecom")
    op.execute(
        "update wecom.messages as message set priority = campaign.priority from wecom.campaigns as campaign "
        "where campaign.id = message.campaign and message.priority = 3"
    )
    op.drop_constraint("messages_priority_check", "messages", schema="wecom")
    op.create_check_constraint(op.f("messages_priority_check"), "messages", "priority between 0 and 2", schema="wecom")
    op.create_foreign_key(
        "messages_campaign_fkey",
        "messages",
        "campaigns",
        ["campaign"],
        ["id"],
        source_schema="wecom",
        referent_schema="wecom",
    )
    op.drop_index("campaigns_created_at", "campaigns", schema="wecom")
    op.drop_index("campaigns_aside", "campaigns", schema="wecom")
    op.drop_index("campaigns_paused", "campaigns", schema="wecom")
    for column in reversed(campaign_columns()):
        op.drop_column("campaigns", column.name, schema="wecom")
    op.execute("drop function wecom.lowered(text[])")
