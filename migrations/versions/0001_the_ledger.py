"""The ledger: senders, messages, and what is kept about them.

Revision: 0001
Follows: nothing
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The ledger's time is the database's, so that workers with wrong clocks agree. Tests and the demo move it for a
# whole database: alter database ... set wecom.clock_offset = '25 minutes'.
CLOCK = """
    create function wecom.clock() returns timestamptz language sql stable parallel safe as $$
        select now() + coalesce(nullif(current_setting('wecom.clock_offset', true), ''), '0')::interval
    $$
"""


def upgrade() -> None:
    op.execute(CLOCK)
    op.create_table(
        "attempts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("category", sa.Text(), nullable=False),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("msgid", sa.Text(), nullable=True),
        sa.Column("http_status", sa.SmallInteger(), nullable=True),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("attempts_pkey")),
        schema="wecom",
    )
    op.create_index("attempts_message", "attempts", ["message"], unique=False, schema="wecom")
    op.create_table(
        "idempotency_keys",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sender", "key", name=op.f("idempotency_keys_pkey")),
        schema="wecom",
    )
    op.create_index("idempotency_keys_expires_at", "idempotency_keys", ["expires_at"], unique=False, schema="wecom")
    op.create_table(
        "invalid_recipients",
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "kind in ('user', 'party', 'tag', 'unlicensed')", name=op.f("invalid_recipients_kind_check")
        ),
        sa.PrimaryKeyConstraint("message", "kind", "value", name=op.f("invalid_recipients_pkey")),
        schema="wecom",
    )
    op.create_index("invalid_recipients_value", "invalid_recipients", ["value", "kind"], unique=False, schema="wecom")
    op.create_table(
        "senders",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("agentid", sa.Integer(), nullable=True),
        sa.Column("credentials", sa.LargeBinary(), nullable=False, comment="JSON, encrypted with WECOM_SECRET_KEYS"),
        sa.Column("account_cap", sa.Integer(), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column(
            "paused_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="empty while paused: until somebody resumes it",
        ),
        sa.Column("park_seconds", sa.Integer(), server_default="0", nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("senders_pkey")),
        schema="wecom",
    )
    op.create_table(
        "suites",
        sa.Column("suite_id", sa.Text(), nullable=False),
        sa.Column("credentials", sa.LargeBinary(), nullable=False, comment="JSON, encrypted with WECOM_SECRET_KEYS"),
        sa.Column("ticket", sa.LargeBinary(), nullable=True, comment="the newest suite_ticket, encrypted"),
        sa.Column("ticket_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("suite_id", name=op.f("suites_pkey")),
        schema="wecom",
    )
    op.create_table(
        "campaigns",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_hash", sa.LargeBinary(), nullable=False),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name=op.f("campaigns_sender_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("campaigns_pkey")),
        schema="wecom",
    )
    op.create_index("campaigns_sender_name_key", "campaigns", ["sender", "name"], unique=True, schema="wecom")
    op.create_table(
        "media",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name=op.f("media_sender_fkey")),
        sa.PrimaryKeyConstraint("sender", "sha256", name=op.f("media_pkey")),
        schema="wecom",
    )
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name=op.f("schedules_sender_fkey")),
        sa.PrimaryKeyConstraint("name", name=op.f("schedules_pkey")),
        schema="wecom",
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.Uuid(), nullable=False, comment="UUIDv7, made by the producer"),
        sa.Column(
            "part_of", sa.Uuid(), nullable=True, comment="the first message of an audience that took several calls"
        ),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("campaign", sa.Uuid(), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column(
            "requested_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when the producer asked for it to be sent",
        ),
        sa.Column(
            "send_at", sa.DateTime(timezone=True), nullable=False, comment="when it may be sent, after staggering"
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="claims so far; fences answers that come late",
        ),
        sa.Column("retries", sa.SmallInteger(), server_default="0", nullable=False, comment="failed tries that count"),
        sa.Column(
            "resend_until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="set once nobody knows whether it was sent: until then WeCom would recognise a repetition",
        ),
        sa.Column("touser", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("toparty", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("totag", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("msgid", sa.Text(), nullable=True),
        sa.Column("response_code", sa.Text(), nullable=True),
        sa.Column("errcode", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recall_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recalled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recall_error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state in ('scheduled', 'sending', 'sent', 'recalling', 'recalled', "
            "'cancelled', 'expired', 'failed', 'unconfirmed')",
            name=op.f("messages_state_check"),
        ),
        sa.CheckConstraint("priority between 0 and 2", name=op.f("messages_priority_check")),
        sa.ForeignKeyConstraint(["campaign"], ["wecom.campaigns.id"], name=op.f("messages_campaign_fkey")),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name=op.f("messages_sender_fkey")),
        sa.PrimaryKeyConstraint("id", name=op.f("messages_pkey")),
        schema="wecom",
    )
    op.create_index(
        "messages_doubtful",
        "messages",
        ["resend_until"],
        unique=False,
        schema="wecom",
        postgresql_where=sa.text("state = 'scheduled' and resend_until is not null"),
    )
    op.create_index(
        "messages_due",
        "messages",
        ["sender", "priority", "send_at"],
        unique=False,
        schema="wecom",
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.create_index(
        "messages_expiring",
        "messages",
        ["expires_at"],
        unique=False,
        schema="wecom",
        postgresql_where=sa.text("state = 'scheduled' and expires_at is not null"),
    )
    op.create_index(
        "messages_leased",
        "messages",
        ["lease_until"],
        unique=False,
        schema="wecom",
        postgresql_where=sa.text("state in ('sending', 'recalling')"),
    )
    op.create_index(
        "messages_part_of",
        "messages",
        ["part_of"],
        unique=False,
        schema="wecom",
        postgresql_where=sa.text("part_of is not null"),
    )
    op.create_index(
        "messages_recalling",
        "messages",
        ["sender", "recall_requested_at"],
        unique=False,
        schema="wecom",
        postgresql_where=sa.text("state = 'recalling'"),
    )


def downgrade() -> None:
    for table in (
        "messages",
        "schedules",
        "media",
        "campaigns",
        "suites",
        "senders",
        "invalid_recipients",
        "idempotency_keys",
        "attempts",
    ):
        op.drop_table(table, schema="wecom")
    op.execute("drop function wecom.clock()")
