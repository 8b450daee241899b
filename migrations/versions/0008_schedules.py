"""Schedules: what is sent again and again.

Revision: 0008
Follows: 0007
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from worker.ledger.gentle_changes import lock_briefly

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Both tables called schedules refer to senders.
    lock_briefly({"senders": "access exclusive", "schedules": "access exclusive"})
    # Nothing was kept in it yet.
    op.execute("-- squawk-ignore ban-drop-table\ndrop table wecom.schedules")
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False, comment="with templates if it is a campaign"),
        sa.Column(
            "recipients",
            postgresql.JSONB(),
            nullable=False,
            comment="an object: of a message; a list: rows of a campaign",
        ),
        sa.Column(
            "files",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="references of the files in body",
        ),
        sa.Column("urgent", sa.Boolean(), nullable=False),
        sa.Column("late_within", sa.Integer(), nullable=True, comment="seconds; empty: however late"),
        sa.Column("expires_after", sa.Integer(), nullable=True, comment="seconds after an occurrence"),
        sa.Column(
            "next_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="the first occurrence nobody has decided about",
        ),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.Column("last_at", sa.DateTime(timezone=True), nullable=True, comment="the last occurrence that was sent"),
        sa.Column("last_id", sa.Uuid(), nullable=True, comment="its message or campaign"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name="schedules_sender_fkey"),
        sa.PrimaryKeyConstraint("name", name="schedules_pkey"),
        schema="wecom",
    )


def downgrade() -> None:
    op.drop_table("schedules", schema="wecom")
    op.create_table(
        "schedules",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("paused_reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name="schedules_sender_fkey"),
        sa.PrimaryKeyConstraint("name", name="schedules_pkey"),
        schema="wecom",
    )
