"""deletion: models that were removed, and indexes for what refers to a job"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("models", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index("jobs_retry_of_idx", "jobs", ["retry_of"], unique=False, postgresql_where=sa.text("retry_of IS NOT NULL"))
    op.create_index("idempotency_keys_job_idx", "idempotency_keys", ["job_id"], unique=False)


def downgrade() -> None:
    op.drop_index("idempotency_keys_job_idx", table_name="idempotency_keys")
    op.drop_index("jobs_retry_of_idx", table_name="jobs")
    op.drop_column("models", "removed_at")
