"""What is due is found by its time, whatever number of senders there is.

Revision: 0006
Follows: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

CANNOT_WAIT = "state = 'scheduled' and (expires_at is not null or resend_until is not null)"
ITS_END = sa.text("least(expires_at, resend_until)")


def upgrade() -> None:
    op.create_index(
        "messages_by_due_time",
        "messages",
        ["priority", "send_at"],
        schema="wecom",
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    _index_what_cannot_wait("messages_pressing", ITS_END, "sender")
    # At the end, as nobody can even read the table from here to the commit.
    op.drop_index("messages_that_cannot_wait", "messages", schema="wecom")


def downgrade() -> None:
    _index_what_cannot_wait("messages_that_cannot_wait", "sender", ITS_END)
    op.drop_index("messages_pressing", "messages", schema="wecom")
    op.drop_index("messages_by_due_time", "messages", schema="wecom")


def _index_what_cannot_wait(name: str, *columns: str | sa.TextClause) -> None:
    op.create_index(name, "messages", list(columns), schema="wecom", postgresql_where=sa.text(CANNOT_WAIT))
