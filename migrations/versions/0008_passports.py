"""passports: what a model proved of itself, kept by content; what each result's texts were read as"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RESULTS = ("calibrations", "extractions", "vectors", "steerings")


def upgrade() -> None:
    op.create_table(
        "passports",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("outcome", sa.String(length=7), nullable=False),
        sa.Column("reading_hash", sa.String(length=64), nullable=True),
        sa.Column("passport", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("outcome IN ('passed','limited','refused')", name=op.f("passports_outcome_check")),
        sa.PrimaryKeyConstraint("key", name=op.f("passports_pkey")),
    )
    op.add_column("models", sa.Column("prove_job", sa.String(length=40), nullable=True))
    op.add_column("models", sa.Column("proving", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("models", sa.Column("passport", sa.String(length=64), nullable=True))
    op.create_foreign_key(op.f("models_prove_job_fkey"), "models", "jobs", ["prove_job"], ["id"], ondelete="SET NULL")
    op.create_foreign_key(op.f("models_passport_fkey"), "models", "passports", ["passport"], ["key"])
    for table in RESULTS:
        op.add_column(table, sa.Column("reading_hash", sa.String(length=64), nullable=True))


def downgrade() -> None:
    for table in RESULTS:
        op.drop_column(table, "reading_hash")
    for name in ("passport", "prove_job"):
        op.drop_constraint(op.f(f"models_{name}_fkey"), "models", type_="foreignkey")
    for column in ("passport", "proving", "prove_job"):
        op.drop_column("models", column)
    op.drop_table("passports")
