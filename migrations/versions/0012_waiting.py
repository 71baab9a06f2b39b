"""an index of queued jobs by age, which the status board reads"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("jobs_waiting_idx", "jobs", ["id"], postgresql_where=sa.text("state = 'queued'"))


def downgrade() -> None:
    op.drop_index("jobs_waiting_idx", "jobs")
