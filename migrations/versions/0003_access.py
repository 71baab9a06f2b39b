"""access: users, groups, scopes, who may see what, audit"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SHAREABLE = ("jobs", "traits", "vectors")


def upgrade() -> None:
    _users_and_groups()
    _keys()
    _visibility()
    op.create_table(
        "audit",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.String(length=120), nullable=False),
        sa.Column("key_id", sa.String(length=12), nullable=True),
        sa.Column("action", sa.String(length=60), nullable=False),
        sa.Column("object", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=10), server_default=sa.text("'done'"), nullable=False),
        sa.Column("request_id", sa.String(length=64), nullable=True),
        sa.Column("details", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.CheckConstraint("outcome IN ('done','denied')", name=op.f("audit_outcome_check")),
        sa.PrimaryKeyConstraint("id", name=op.f("audit_pkey")),
    )
    op.create_index("audit_listed_idx", "audit", ["at", "id"], unique=False)
    op.create_index("audit_actor_idx", "audit", ["actor", "at"], unique=False)
    op.create_index("audit_object_idx", "audit", ["object", "at"], unique=False)


def _users_and_groups() -> None:
    for table in ("users", "groups"):
        op.create_table(
            table,
            sa.Column("name", sa.String(length=100), nullable=False),
            sa.Column("created_by", sa.String(length=100), nullable=False),
            sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
            *([sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True)] if table == "users" else []),
            sa.PrimaryKeyConstraint("name", name=op.f(f"{table}_pkey")),
        )
    op.create_table(
        "group_members",
        sa.Column("group_name", sa.String(length=100), nullable=False),
        sa.Column("user_name", sa.String(length=100), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["group_name"], ["groups.name"], name=op.f("group_members_group_name_fkey"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_name"], ["users.name"], name=op.f("group_members_user_name_fkey"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_name", "user_name", name=op.f("group_members_pkey")),
    )
    op.create_index(op.f("group_members_user_name_idx"), "group_members", ["user_name"], unique=False)


def _keys() -> None:
    """The holders of keys become users; keys may do what their roles allow, as before."""
    op.execute("INSERT INTO users (name, created_by) SELECT DISTINCT owner, 'migration' FROM api_keys")
    op.create_foreign_key(op.f("api_keys_owner_fkey"), "api_keys", "users", ["owner"], ["name"])
    scopes = sa.Column(
        "scopes", postgresql.ARRAY(sa.String(length=10)), server_default=sa.text("'{read,submit,admin}'"), nullable=False
    )
    op.add_column("api_keys", scopes)
    op.add_column("api_keys", sa.Column("label", sa.String(length=100), nullable=True))
    op.add_column("api_keys", sa.Column("replaces", sa.String(length=12), nullable=True))
    op.create_check_constraint(
        op.f("api_keys_scopes_check"), "api_keys", "scopes <@ '{read,submit,admin}' AND 'read' = ANY (scopes)"
    )
    op.create_foreign_key(op.f("api_keys_replaces_fkey"), "api_keys", "api_keys", ["replaces"], ["id"])
    op.create_unique_constraint(op.f("api_keys_replaces_key"), "api_keys", ["replaces"])


def _visibility() -> None:
    """What was public stays public; everything else is its owner's, as before."""
    for table in SHAREABLE:
        private = None if table == "vectors" else sa.text("'private'")
        op.add_column(table, sa.Column("visibility", sa.String(length=7), server_default=private, nullable=table == "vectors"))
        op.add_column(table, sa.Column("group_name", sa.String(length=100), nullable=True))
        op.create_foreign_key(op.f(f"{table}_group_name_fkey"), table, "groups", ["group_name"], ["name"], ondelete="SET NULL")
        op.create_index(op.f(f"{table}_group_name_idx"), table, ["group_name"], unique=False)
        op.create_check_constraint(op.f(f"{table}_visibility_check"), table, "visibility IN ('private','group','public')")
        op.create_check_constraint(op.f(f"{table}_group_check"), table, "group_name IS NULL OR visibility = 'group'")
    op.execute("UPDATE vectors SET visibility = 'private' WHERE source = 'imported'")
    op.create_check_constraint(
        op.f("vectors_imported_visibility_check"), "vectors", "(source = 'imported') = (visibility IS NOT NULL)"
    )
    op.execute("UPDATE traits SET visibility = 'public' WHERE public")
    op.drop_column("traits", "public")


def downgrade() -> None:
    op.drop_table("audit")
    op.add_column("traits", sa.Column("public", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.execute("UPDATE traits SET public = true WHERE visibility = 'public'")
    for table in SHAREABLE:
        op.drop_column(table, "group_name")
        op.drop_column(table, "visibility")
    op.drop_column("api_keys", "replaces")
    op.drop_column("api_keys", "label")
    op.drop_column("api_keys", "scopes")
    op.drop_constraint(op.f("api_keys_owner_fkey"), "api_keys", type_="foreignkey")
    op.drop_table("group_members")
    op.drop_table("groups")
    op.drop_table("users")
