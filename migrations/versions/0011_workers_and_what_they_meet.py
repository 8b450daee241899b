"""Which workers live, which of them cannot send for a sender, and when the clockwork last went.

Workers of the release before may run against these tables for a while. They show no sign of life, so a new worker takes
itself for the only one where all others are old, and pauses a sender at a fault of its own machine, as they do.

Nothing here touches a table that was there before, but for the foreign key to `senders`.

Revision: 0011
Follows: 0010
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import lock_briefly

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    lock_briefly({"senders": "share row exclusive"})
    op.create_table(
        "workers",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False, comment="its host name, for people"),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("delivers", sa.Boolean(), nullable=False, comment="it answers wake-ups, so it may send"),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True, comment="in order"),
        sa.Column("oldest_task_seconds", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="workers_pkey"),
        schema="wecom",
    )
    op.create_table(
        "standing_aside",
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("machine", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("fault", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False, comment="then it tries again"),
        sa.Column("seconds", sa.Integer(), nullable=False, comment="for how long; the next time twice as long"),
        sa.ForeignKeyConstraint(
            ["sender"], ["wecom.senders.name"], name="standing_aside_sender_fkey", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sender", "worker", name="standing_aside_pkey"),
        schema="wecom",
    )
    op.create_table(
        "clockwork",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ran_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="clockwork_pkey"),
        schema="wecom",
    )
    op.create_table(
        "trial_writes",
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="trial_writes_pkey"),
        schema="wecom",
        comment="`wecom doctor` writes here and rolls back",
    )


def downgrade() -> None:
    for table in ("trial_writes", "clockwork", "standing_aside", "workers"):
        op.drop_table(table, schema="wecom")
