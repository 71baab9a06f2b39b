"""bytes stored by each user, counted as they come and go; repeated acts in one row of the audit"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Locked in the order in which the end of a job writes to them, so that the migration waits for jobs that end and not in a circle.
TABLES = "jobs, artifacts, job_cells, vectors, traits"

REFERENCES = """
    SELECT j.owner, a.digest FROM artifacts a JOIN jobs j ON j.id = a.job_id
    UNION ALL SELECT j.owner, c.digest FROM job_cells c JOIN jobs j ON j.id = c.job_id
    UNION ALL SELECT owner, digest FROM vectors
    UNION ALL SELECT owner, version FROM traits"""

# An object counts once for an owner, from their first reference to it to their last. What changes is appended and never waited for; the
# row of the same owner and object alone is locked, in order.
FUNCTIONS = f"""
CREATE FUNCTION stored_count(owners text[], digests text[], direction integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    WITH changed AS (
        SELECT owner, digest, count(*) AS refs FROM unnest(owners, digests) AS r(owner, digest) GROUP BY owner, digest
    ), written AS (
        INSERT INTO stored_objects AS o (owner, digest, refs)
        SELECT owner, digest, direction * refs FROM changed ORDER BY owner, digest
        ON CONFLICT (owner, digest) DO UPDATE SET refs = o.refs + excluded.refs
        RETURNING o.owner, o.digest, o.refs
    ), crossed AS (
        SELECT w.owner, w.digest FROM written w JOIN changed c USING (owner, digest)
        WHERE CASE WHEN direction > 0 THEN w.refs > 0 AND w.refs <= c.refs ELSE w.refs <= 0 AND w.refs + c.refs > 0 END
    )
    INSERT INTO stored_changes (owner, bytes, objects)
    SELECT c.owner, direction * sum(b.size), direction * count(*) FROM crossed c JOIN blobs b USING (digest) GROUP BY c.owner;
    IF direction < 0 THEN
        DELETE FROM stored_objects o USING (SELECT DISTINCT owner, digest FROM unnest(owners, digests) AS r(owner, digest)) gone
        WHERE o.owner = gone.owner AND o.digest = gone.digest AND o.refs <= 0;
    END IF;
END $$;

CREATE FUNCTION stored_by_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE owners text[]; digests text[];
BEGIN
    SELECT array_agg(j.owner), array_agg(c.digest) INTO owners, digests FROM changed c JOIN jobs j ON j.id = c.job_id;
    IF owners IS NOT NULL THEN PERFORM stored_count(owners, digests, CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END); END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION stored_by_owner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE owners text[]; digests text[];
BEGIN
    EXECUTE format('SELECT array_agg(owner), array_agg(%I) FROM changed', TG_ARGV[0]) INTO owners, digests;
    IF owners IS NOT NULL THEN PERFORM stored_count(owners, digests, CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END); END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION stored_replaced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE old_owner text; new_owner text; before jsonb := to_jsonb(OLD); after jsonb := to_jsonb(NEW);
BEGIN
    old_owner := coalesce(before ->> 'owner', (SELECT owner FROM jobs WHERE id = before ->> 'job_id'));
    new_owner := coalesce(after ->> 'owner', (SELECT owner FROM jobs WHERE id = after ->> 'job_id'));
    PERFORM stored_count(ARRAY[new_owner], ARRAY[after ->> TG_ARGV[0]], 1);
    PERFORM stored_count(ARRAY[old_owner], ARRAY[before ->> TG_ARGV[0]], -1);
    RETURN NULL;
END $$;

CREATE FUNCTION stored_of_removed_job() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE digests text[];
BEGIN
    -- a change of one of them that is under way is waited for: what is counted off must be what the cascade then deletes
    PERFORM 1 FROM artifacts WHERE job_id = OLD.id FOR UPDATE;
    PERFORM 1 FROM job_cells WHERE job_id = OLD.id FOR UPDATE;
    SELECT array_agg(digest) INTO digests FROM (
        SELECT digest FROM artifacts WHERE job_id = OLD.id UNION ALL SELECT digest FROM job_cells WHERE job_id = OLD.id
    ) AS own;
    IF digests IS NOT NULL THEN PERFORM stored_count(array_fill(CAST(OLD.owner AS text), ARRAY[cardinality(digests)]), digests, -1); END IF;
    RETURN OLD;
END $$;

CREATE FUNCTION stored_recount() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE {TABLES}, stored_objects, stored_changes, stored_totals IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM stored_objects;
    DELETE FROM stored_changes;
    DELETE FROM stored_totals;
    INSERT INTO stored_objects (owner, digest, refs) SELECT owner, digest, count(*) FROM ({REFERENCES}) AS r GROUP BY owner, digest;
    INSERT INTO stored_totals (owner, bytes, objects)
    SELECT o.owner, sum(b.size), count(*) FROM stored_objects o JOIN blobs b USING (digest) GROUP BY o.owner;
END $$;
"""

TRIGGERS = {
    "artifacts": ("stored_by_job()", "digest"),
    "job_cells": ("stored_by_job()", "digest"),
    "vectors": ("stored_by_owner('digest')", "digest"),
    "traits": ("stored_by_owner('version')", "version"),
}


def upgrade() -> None:
    op.add_column("audit", sa.Column("count", sa.Integer(), server_default=sa.text("1"), nullable=False))
    op.add_column("audit", sa.Column("last_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("audit", sa.Column("slot", sa.String(length=80), nullable=True))
    op.create_unique_constraint(op.f("audit_slot_key"), "audit", ["slot"])
    op.create_table(
        "stored_objects",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("refs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "digest", name=op.f("stored_objects_pkey")),
    )
    op.create_table(
        "stored_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("stored_changes_pkey")),
    )
    op.create_index(op.f("stored_changes_owner_idx"), "stored_changes", ["owner"], unique=False)
    op.create_table(
        "stored_totals",
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("objects", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("stored_totals_pkey")),
    )
    op.execute(f"LOCK TABLE {TABLES} IN SHARE ROW EXCLUSIVE MODE")
    op.execute(FUNCTIONS)
    for table, (function, column) in TRIGGERS.items():
        for act, kind in (("INSERT", "NEW"), ("DELETE", "OLD")):
            op.execute(
                f"CREATE TRIGGER stored_{act.lower()} AFTER {act} ON {table} REFERENCING {kind} TABLE AS changed "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {function}"
            )
        op.execute(
            f"CREATE TRIGGER stored_update AFTER UPDATE OF {column} ON {table} FOR EACH ROW "
            f"WHEN (OLD.{column} IS DISTINCT FROM NEW.{column}) EXECUTE FUNCTION stored_replaced('{column}')"
        )
    op.execute("CREATE TRIGGER stored_removed BEFORE DELETE ON jobs FOR EACH ROW EXECUTE FUNCTION stored_of_removed_job()")
    op.execute("SELECT stored_recount()")


def downgrade() -> None:
    op.execute("DROP TRIGGER stored_removed ON jobs")
    for table in TRIGGERS:
        for act in ("insert", "delete", "update"):
            op.execute(f"DROP TRIGGER stored_{act} ON {table}")
    for function in ("stored_recount()", "stored_of_removed_job()", "stored_replaced()", "stored_by_owner()", "stored_by_job()"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION stored_count(text[], text[], integer)")
    for table in ("stored_totals", "stored_changes", "stored_objects"):
        op.drop_table(table)
    for column in ("slot", "last_at", "count"):
        op.drop_column("audit", column)
