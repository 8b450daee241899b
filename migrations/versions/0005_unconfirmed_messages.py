"""Messages of unknown fate that wait for a person can be found.

Revision: 0005
Follows: 0004
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import build_index

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    build_index(
        "messages_unconfirmed", "messages", ["sender", "claimed_at"], postgresql_where=sa.text("state = 'unconfirmed'")
    )


def downgrade() -> None:
    op.drop_index("messages_unconfirmed", "messages", schema="wecom")
