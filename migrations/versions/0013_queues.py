"""an index of unfinished jobs by queue, from which the status board counts them; the index by owner holds the owner alone"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

UNFINISHED = "state IN ('queued','running','cancelling')"


def upgrade() -> None:
    _index("jobs_queues_idx", "job_class", "short", "model", "state", "blockers", "queued_at")
    op.drop_index("jobs_unfinished_idx", "jobs")
    _index("jobs_unfinished_idx", "owner")


def downgrade() -> None:
    op.drop_index("jobs_unfinished_idx", "jobs")
    _index("jobs_unfinished_idx", "owner", "job_class", "short", "model")
    op.drop_index("jobs_queues_idx", "jobs")


def _index(name: str, *columns: str) -> None:
    op.create_index(name, "jobs", list(columns), postgresql_where=sa.text(UNFINISHED))
