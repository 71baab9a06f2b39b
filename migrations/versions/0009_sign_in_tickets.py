"""sign_in_tickets: single-use tickets that sign a browser in"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sign_in_tickets",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=8), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("sign_in_tickets_pkey")),
    )
    op.create_index(op.f("sign_in_tickets_expires_at_idx"), "sign_in_tickets", ["expires_at"])


def downgrade() -> None:
    op.drop_table("sign_in_tickets")
