"""Files that messages show, updates of cards that were sent, and what goes in quiet windows.

Revision: 0002
Follows: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

from worker.ledger.gentle_changes import build_index, lock_briefly

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    build_index(
        "messages_that_cannot_wait",
        "messages",
        ["sender", sa.text("least(expires_at, resend_until)")],
        postgresql_where=sa.text("state = 'scheduled' and (expires_at is not null or resend_until is not null)"),
    )
    # A table that refers to senders is dropped, and others are made.
    lock_briefly({"senders": "access exclusive", "media": "access exclusive", "messages": "access exclusive"})
    op.add_column(
        "messages",
        sa.Column(
            "files",
            sa.ARRAY(sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
            comment="references of the files in body",
        ),
        schema="wecom",
    )
    op.alter_column("messages", "body", comment="as WeCom reads it; files stand in it by reference", schema="wecom")
    op.create_table(
        "media_files",
        sa.Column("reference", sa.Text(), nullable=False, comment="SHA-256 of kind, filename and content"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("needed_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("reference", name="media_files_pkey"),
        schema="wecom",
    )
    op.create_index("media_files_needed_until", "media_files", ["needed_until"], schema="wecom")

    # Nothing was kept in it yet.
    op.execute("-- squawk-ignore ban-drop-table\ndrop table wecom.media")
    op.create_table(
        "media",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name="media_sender_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sender", "reference", name="media_pkey"),
        schema="wecom",
    )

    op.create_table(
        "card_updates",
        sa.Column("response_code", sa.Text(), nullable=False),
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("body", postgresql.JSONB(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("usable_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("invalid_users", sa.ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.CheckConstraint(
            "state in ('scheduled', 'updated', 'failed', 'unconfirmed')", name="card_updates_state_check"
        ),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name="card_updates_sender_fkey"),
        sa.PrimaryKeyConstraint("response_code", name="card_updates_pkey"),
        schema="wecom",
    )
    op.create_index("card_updates_message", "card_updates", ["message"], schema="wecom")
    op.create_index(
        "card_updates_waiting",
        "card_updates",
        ["sender", "requested_at"],
        schema="wecom",
        postgresql_where=sa.text("state = 'scheduled'"),
    )


def downgrade() -> None:
    op.drop_index("messages_that_cannot_wait", "messages", schema="wecom")
    op.drop_table("card_updates", schema="wecom")
    op.drop_table("media", schema="wecom")
    op.drop_table("media_files", schema="wecom")
    op.create_table(
        "media",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(), nullable=False),
        sa.Column("media_id", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name="media_sender_fkey"),
        sa.PrimaryKeyConstraint("sender", "sha256", name="media_pkey"),
        schema="wecom",
    )
    op.alter_column("messages", "body", comment=None, schema="wecom")
    op.drop_column("messages", "files", schema="wecom")
