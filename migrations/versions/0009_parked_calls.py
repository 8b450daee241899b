"""Recalls and card updates of a sender wait by themselves.

Revision: 0009
Follows: 0008
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import lock_briefly

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    lock_briefly({"senders": "share row exclusive"})
    op.create_table(
        "parked_calls",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("calls", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "seconds",
            sa.Integer(),
            nullable=False,
            comment="how long they were parked last; the next time lasts twice as long",
        ),
        sa.ForeignKeyConstraint(
            ["sender"], ["wecom.senders.name"], name="parked_calls_sender_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sender", "calls", name="parked_calls_pkey"),
        schema="wecom",
    )


def downgrade() -> None:
    op.drop_table("parked_calls", schema="wecom")
