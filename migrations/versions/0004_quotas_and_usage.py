"""quotas, use of the devices by day, the lane of generations"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

CLAIMABLE = sa.text("state = 'queued' AND blockers = 0")


def upgrade() -> None:
    op.create_table(
        "quotas",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("max_queued", sa.BigInteger(), nullable=True),
        sa.Column("max_running", sa.BigInteger(), nullable=True),
        sa.Column("device_seconds_per_day", sa.BigInteger(), nullable=True),
        sa.Column("stored_bytes", sa.BigInteger(), nullable=True),
        sa.Column("changed_by", sa.String(length=100), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "max_queued >= 0 AND max_running >= 1 AND device_seconds_per_day >= 0 AND stored_bytes >= 0",
            name=op.f("quotas_limits_check"),
        ),
        sa.PrimaryKeyConstraint("owner", name=op.f("quotas_pkey")),
    )
    op.create_table(
        "usage_days",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("job_class", sa.String(length=10), nullable=False),
        sa.Column("device_seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("owner", "day", "job_class", name=op.f("usage_days_pkey")),
    )
    op.create_index("usage_days_day_idx", "usage_days", ["day"], unique=False)
    op.execute(
        """INSERT INTO usage_days (owner, day, job_class, device_seconds, attempts)
        SELECT owner, (finished_at AT TIME ZONE 'UTC')::date, job_class, sum(device_seconds), sum(attempt)
        FROM jobs WHERE finished_at IS NOT NULL AND attempt > 0 GROUP BY 1, 2, 3"""
    )
    op.add_column("jobs", sa.Column("short", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("jobs", sa.Column("overtaken", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.execute("UPDATE jobs SET short = true WHERE kind = 'generate'")
    op.drop_index("jobs_claimable_idx", table_name="jobs")
    op.create_index(
        "jobs_claimable_idx",
        "jobs",
        ["job_class", "short", "owner", sa.literal_column("priority DESC"), "id"],
        unique=False,
        postgresql_where=CLAIMABLE,
    )
    op.create_index("jobs_queued_idx", "jobs", ["owner"], unique=False, postgresql_where=sa.text("state = 'queued'"))
    op.create_index(
        "jobs_on_devices_idx",
        "jobs",
        ["owner"],
        unique=False,
        postgresql_where=sa.text("job_class = 'model' AND state IN ('running','cancelling')"),
    )
    op.alter_column("owner_turns", "job_class", new_column_name="lane")
    op.execute(
        """INSERT INTO owner_turns (owner, lane) SELECT DISTINCT owner, 'short' FROM jobs WHERE short AND state NOT IN
        ('succeeded', 'failed', 'cancelled') ON CONFLICT DO NOTHING"""
    )


def downgrade() -> None:
    op.execute("DELETE FROM owner_turns WHERE lane = 'short'")
    op.alter_column("owner_turns", "lane", new_column_name="job_class")
    op.drop_index("jobs_on_devices_idx", table_name="jobs")
    op.drop_index("jobs_queued_idx", table_name="jobs")
    op.drop_index("jobs_claimable_idx", table_name="jobs")
    op.create_index(
        "jobs_claimable_idx",
        "jobs",
        ["job_class", "owner", sa.literal_column("priority DESC"), "id"],
        unique=False,
        postgresql_where=CLAIMABLE,
    )
    op.drop_column("jobs", "overtaken")
    op.drop_column("jobs", "short")
    op.drop_table("usage_days")
    op.drop_table("quotas")
