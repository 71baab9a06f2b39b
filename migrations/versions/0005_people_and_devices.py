"""people and devices: notes kept and told, devices held, webhooks"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Timestamp = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("jobs", sa.Column("webhook", sa.String(length=100), nullable=True))
    op.add_column("jobs", sa.Column("kept", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("jobs", sa.Column("results_removed_at", Timestamp, nullable=True))
    op.add_column("workers", sa.Column("blocked", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_table(
        "device_holds",
        sa.Column("worker_id", sa.String(length=120), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.String(length=200), nullable=True),
        sa.Column("held_by", sa.String(length=100), nullable=False),
        sa.Column("held_at", Timestamp, server_default=sa.text("now()"), nullable=False),
        sa.Column("until", Timestamp, nullable=True),
        sa.CheckConstraint("mode IN ('paused','draining')", name=op.f("device_holds_mode_check")),
        sa.PrimaryKeyConstraint("worker_id", name=op.f("device_holds_pkey")),
    )
    op.create_table(
        "webhook_targets",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("private", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("created_at", Timestamp, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("webhook_targets_pkey")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("target", sa.String(length=100), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("body", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.String(length=10), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("next_at", Timestamp, server_default=sa.text("now()"), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", Timestamp, server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", Timestamp, nullable=True),
        sa.CheckConstraint("state IN ('pending','delivered','failed')", name=op.f("webhook_deliveries_state_check")),
        sa.ForeignKeyConstraint(
            ["target"], ["webhook_targets.name"], name=op.f("webhook_deliveries_target_fkey"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("webhook_deliveries_job_id_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("webhook_deliveries_pkey")),
    )
    op.create_index(
        "webhook_deliveries_due_idx",
        "webhook_deliveries",
        ["next_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index("webhook_deliveries_listed_idx", "webhook_deliveries", ["created_at", "id"], unique=False)
    op.create_index("webhook_deliveries_job_idx", "webhook_deliveries", ["job_id"], unique=False)


def downgrade() -> None:
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_targets")
    op.drop_table("device_holds")
    op.drop_column("workers", "blocked")
    op.drop_column("jobs", "results_removed_at")
    op.drop_column("jobs", "kept")
    op.drop_column("jobs", "webhook")
