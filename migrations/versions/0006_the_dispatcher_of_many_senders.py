"""What is due is found by its time, whatever number of senders there is.

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import build_index, remove_index

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CANNOT_WAIT = "state = 'scheduled' and (expires_at is not null or resend_until is not null)"
ITS_END = sa.text("least(expires_at, resend_until)")


def upgrade() -> None:
    build_index(
        "messages_by_due_time", "messages", ["priority", "send_at"], postgresql_where=sa.text("state = 'scheduled'")
    )
    build_index("messages_pressing", "messages", [ITS_END, "sender"], postgresql_where=sa.text(CANNOT_WAIT))
    remove_index("messages_that_cannot_wait")


def downgrade() -> None:
    op.create_index(
        "messages_that_cannot_wait",
        "messages",
        ["sender", ITS_END],
        schema="wecom",
        postgresql_where=sa.text(CANNOT_WAIT),
    )
    op.drop_index("messages_pressing", "messages", schema="wecom")
    op.drop_index("messages_by_due_time", "messages", schema="wecom")
