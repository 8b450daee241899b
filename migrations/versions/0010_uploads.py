"""Uploads are made before messages are claimed, and a message keeps the media_ids it was sent with.

Workers of the release before may run against these tables for a while. They do not know the new columns and tables:

- They upload files while they hold the claims of messages, as they always did, and store the media_ids where the new
  workers look for them.
- A message that a new worker has put off until its file is uploaded is not due for them. If no new worker is left, it
  comes due again after half an hour at most, and they send it.
- They keep no media_ids. A message with files that one of them tried, and whose fate is unknown, is not repeated by a
  new worker: it becomes unconfirmed, because nobody knows with which bytes it was sent. What a new worker tried they
  repeat as they always did, with the media_id that is stored for the file.

Nothing here reads or rewrites the rows of a large table.

Revision: 0010
Follows: 0009
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import lock_briefly

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    lock_briefly({"senders": "share row exclusive", "messages": "access exclusive"})
    op.add_column(
        "messages",
        sa.Column(
            "media_ids",
            sa.ARRAY(sa.Text()),
            nullable=True,
            comment="of files, as the last claim chose them; a repetition of unknown fate needs the same",
        ),
        schema="wecom",
    )
    op.create_table(
        "uploads",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("try_at", sa.DateTime(timezone=True), nullable=False, comment="when it may be tried next"),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "attempt",
            sa.Integer(),
            server_default="0",
            nullable=False,
            comment="claims so far; fences what is stored late",
        ),
        sa.Column("pause_seconds", sa.Integer(), server_default="0", nullable=False, comment="after the last failure"),
        sa.Column("reason", sa.Text(), nullable=True, comment="of the last failure"),
        sa.Column(
            "wanted_until",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="past it no message has asked for it for a while",
        ),
        sa.ForeignKeyConstraint(["sender"], ["wecom.senders.name"], name="uploads_sender_fkey", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("sender", "reference", name="uploads_pkey"),
        schema="wecom",
    )
    op.create_table(
        "upload_waits",
        sa.Column("message", sa.Uuid(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False, comment="of the message when it was put off"),
        sa.PrimaryKeyConstraint("message", "reference", name="upload_waits_pkey"),
        schema="wecom",
    )
    op.create_index("upload_waits_upload", "upload_waits", ["sender", "reference"], schema="wecom")


def downgrade() -> None:
    # What waits for a file is due again at once.
    op.execute(
        "update wecom.messages set send_at = wecom.clock() where state = 'scheduled' and send_at > wecom.clock() "
        "and id in (select message from wecom.upload_waits)"
    )
    op.drop_table("upload_waits", schema="wecom")
    op.drop_table("uploads", schema="wecom")
    op.drop_column("messages", "media_ids", schema="wecom")
