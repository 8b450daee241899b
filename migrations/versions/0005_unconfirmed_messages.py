"""Messages of unknown fate that wait for a person can be found.

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "messages_unconfirmed",
        "messages",
        ["sender", "claimed_at"],
        schema="wecom",
        postgresql_where=sa.text("state = 'unconfirmed'"),
    )


def downgrade() -> None:
    op.drop_index("messages_unconfirmed", "messages", schema="wecom")
