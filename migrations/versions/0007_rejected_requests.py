"""Tasks that could not be carried out are kept with the reason.

Revision: 0007
Follows: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rejected_requests",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column(
            "task_id",
            sa.Text(),
            nullable=False,
            comment="chosen by the program, which may call several requests alike",
        ),
        sa.Column(
            "arguments",
            sa.Text(),
            nullable=False,
            comment="JSON, as text: jsonb could not hold every string that JSON can",
        ),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rejected_at", sa.DateTime(timezone=True), nullable=False, comment="the last time"),
        sa.Column(
            "rejections",
            sa.Integer(),
            server_default="1",
            nullable=False,
            comment="how often; fences two that retry at once",
        ),
        sa.PrimaryKeyConstraint("id", name="rejected_requests_pkey"),
        schema="wecom",
    )
    op.create_index(
        "rejected_requests_task_id_arguments_key",
        "rejected_requests",
        ["task_id", sa.text("md5(arguments)")],
        schema="wecom",
        unique=True,
    )
    op.create_index("rejected_requests_rejected_at", "rejected_requests", ["rejected_at"], schema="wecom")


def downgrade() -> None:
    op.drop_table("rejected_requests", schema="wecom")
