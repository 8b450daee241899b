"""What a sender sent lately can be found, to count anew against WeCom's limits when Redis has forgotten.

Revision: 0003
Follows: 0002
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import build_index

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    build_index("messages_sent", "messages", ["sender", "sent_at"], postgresql_where=sa.text("sent_at is not null"))


def downgrade() -> None:
    op.drop_index("messages_sent", "messages", schema="wecom")
