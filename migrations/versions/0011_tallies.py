"""counters of finished jobs and stored bytes, the objects that several users share, and an index of jobs by their end"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

FINISHED = "('succeeded', 'failed', 'cancelled')"
SHARED = """
    INSERT INTO stored_shared (digest, owner, bytes)
    SELECT o.digest, o.owner, b.size FROM stored_objects o JOIN blobs b USING (digest)
    WHERE o.refs > 0 AND o.digest IN (SELECT digest FROM stored_objects WHERE refs > 0 GROUP BY digest HAVING count(*) > 1);"""
COUNTED = f"""
    INSERT INTO tallies (name, key, amount) SELECT 'disk', '', coalesce(sum(size), 0) FROM blobs;
    INSERT INTO tallies (name, key, amount)
    SELECT 'finished', kind || ' ' || state, count(*) FROM jobs WHERE state IN {FINISHED} GROUP BY kind, state;"""

# What changes is appended and never waited for, as in 0006; the reconciler adds it up.
FUNCTIONS = f"""
CREATE FUNCTION tally_finished() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' AND OLD.state IN {FINISHED} THEN
        INSERT INTO tally_changes (name, key, amount) VALUES ('finished', OLD.kind || ' ' || OLD.state, -1);
    END IF;
    IF TG_OP <> 'DELETE' AND NEW.state IN {FINISHED} THEN
        INSERT INTO tally_changes (name, key, amount) VALUES ('finished', NEW.kind || ' ' || NEW.state, 1);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION tally_disk() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO tally_changes (name, key, amount)
    SELECT 'disk', '', sum(size) * CASE TG_OP WHEN 'INSERT' THEN 1 ELSE -1 END FROM changed HAVING count(*) > 0;
    RETURN NULL;
END $$;

CREATE TRIGGER tally_ended AFTER UPDATE OF state ON jobs FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state)
EXECUTE FUNCTION tally_finished();
CREATE TRIGGER tally_made AFTER INSERT ON jobs FOR EACH ROW WHEN (NEW.state IN {FINISHED}) EXECUTE FUNCTION tally_finished();
CREATE TRIGGER tally_removed AFTER DELETE ON jobs FOR EACH ROW WHEN (OLD.state IN {FINISHED}) EXECUTE FUNCTION tally_finished();
CREATE TRIGGER tally_made AFTER INSERT ON blobs REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tally_disk();
CREATE TRIGGER tally_removed AFTER DELETE ON blobs REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION tally_disk();
"""


def _count(told: str) -> str:
    """The function of 0006, with what it does beside that for each object whose owners change."""
    return f"""
CREATE OR REPLACE FUNCTION stored_count(owners text[], digests text[], direction integer) RETURNS void LANGUAGE plpgsql AS $$
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
    ){told}
    INSERT INTO stored_changes (owner, bytes, objects)
    SELECT c.owner, direction * sum(b.size), direction * count(*) FROM crossed c JOIN blobs b USING (digest) GROUP BY c.owner;
    IF direction < 0 THEN
        DELETE FROM stored_objects o USING (SELECT DISTINCT owner, digest FROM unnest(owners, digests) AS r(owner, digest)) gone
        WHERE o.owner = gone.owner AND o.digest = gone.digest AND o.refs <= 0;
    END IF;
END $$"""


def _recount(also: str, blobs: str, tables: str) -> str:
    return f"""
CREATE OR REPLACE FUNCTION stored_recount() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOCK TABLE jobs, artifacts, job_cells, vectors, traits{blobs}, stored_objects, stored_changes, stored_totals{tables}
        IN SHARE ROW EXCLUSIVE MODE;
    DELETE FROM stored_objects;
    DELETE FROM stored_changes;
    DELETE FROM stored_totals;
    INSERT INTO stored_objects (owner, digest, refs) SELECT owner, digest, count(*) FROM (
        SELECT j.owner, a.digest FROM artifacts a JOIN jobs j ON j.id = a.job_id
        UNION ALL SELECT j.owner, c.digest FROM job_cells c JOIN jobs j ON j.id = c.job_id
        UNION ALL SELECT owner, digest FROM vectors
        UNION ALL SELECT owner, version FROM traits) AS r GROUP BY owner, digest;
    INSERT INTO stored_totals (owner, bytes, objects)
    SELECT o.owner, sum(b.size), count(*) FROM stored_objects o JOIN blobs b USING (digest) GROUP BY o.owner;{also}
END $$"""


def _counter() -> list[sa.Column[object]]:
    return [
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("key", sa.String(length=120), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
    ]


def upgrade() -> None:
    op.create_table("tallies", *_counter(), sa.PrimaryKeyConstraint("name", "key", name=op.f("tallies_pkey")))
    op.create_table(
        "tally_changes",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        *_counter(),
        sa.PrimaryKeyConstraint("id", name=op.f("tally_changes_pkey")),
    )
    op.create_table(
        "stored_news",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("stored_news_pkey")),
    )
    op.create_table(
        "stored_shared",
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("owner", sa.String(length=100), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "owner", name=op.f("stored_shared_pkey")),
    )
    op.execute("LOCK TABLE jobs, artifacts, job_cells, vectors, traits, blobs, stored_objects IN SHARE ROW EXCLUSIVE MODE")
    op.execute(FUNCTIONS)
    op.execute(_count(", told AS (INSERT INTO stored_news (digest) SELECT DISTINCT digest FROM crossed)"))
    op.execute(SHARED)
    op.execute(COUNTED)
    also = f"""
    DELETE FROM stored_news;
    DELETE FROM stored_shared;
    DELETE FROM tally_changes;
    DELETE FROM tallies;{SHARED}{COUNTED}"""
    op.execute(_recount(also, ", blobs", ", stored_news, stored_shared, tally_changes, tallies"))
    op.create_index("jobs_ended_idx", "jobs", ["finished_at", "id"], postgresql_where=sa.text("finished_at IS NOT NULL"))


def downgrade() -> None:
    op.drop_index("jobs_ended_idx", "jobs")
    op.execute(_recount("", "", ""))
    op.execute(_count(""))
    for trigger, table in (("ended", "jobs"), ("made", "jobs"), ("removed", "jobs"), ("made", "blobs"), ("removed", "blobs")):
        op.execute(f"DROP TRIGGER tally_{trigger} ON {table}")
    op.execute("DROP FUNCTION tally_finished, tally_disk")
    for table in ("stored_shared", "stored_news", "tally_changes", "tallies"):
        op.drop_table(table)
