"""lists at 100,000 jobs: indexes for what is listed and counted, the words of a job, and who sees an extracted vector"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import TSVECTOR

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

UNFINISHED = "state IN ('queued','running','cancelling')"
FINISHED = "state IN ('succeeded','failed','cancelled')"
METRICS = ("accuracy", "cohens_d", "auroc", "massive_share")

# Punctuation parts words, so that `gemma` finds google/gemma-3: left in, the parser would take the whole for one path.
WORDS = r"""
CREATE FUNCTION job_words(name text, notes text, tags text[]) RETURNS tsvector LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT pg_catalog.to_tsvector('pg_catalog.simple', pg_catalog.translate(
        coalesce(name, '') || ' ' || coalesce(notes, '') || ' ' || coalesce(pg_catalog.array_to_string(tags, ' '), ''),
        '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~', pg_catalog.repeat(' ', 32)))
$$"""

# Triggers and not the program, so that workers of the version before are followed as well. The job is locked by neither: a change of its
# visibility and the end of its extraction both hold its row.
FUNCTIONS = """
CREATE FUNCTION vector_follows_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.extraction_id IS NOT NULL THEN
        SELECT j.visibility, j.group_name INTO NEW.visibility, NEW.group_name
        FROM extractions e JOIN jobs j ON j.id = e.job_id WHERE e.id = NEW.extraction_id;
    END IF;
    RETURN NEW;
END $$;

CREATE FUNCTION vectors_follow_job() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE vectors SET visibility = NEW.visibility, group_name = NEW.group_name
    WHERE extraction_id IN (SELECT id FROM extractions WHERE job_id = NEW.id);
    RETURN NULL;
END $$;

CREATE TRIGGER vectors_follow BEFORE INSERT ON vectors FOR EACH ROW EXECUTE FUNCTION vector_follows_job();
CREATE TRIGGER vectors_shared AFTER UPDATE OF visibility, group_name ON jobs FOR EACH ROW
WHEN ((OLD.visibility, OLD.group_name) IS DISTINCT FROM (NEW.visibility, NEW.group_name))
EXECUTE FUNCTION vectors_follow_job()"""


def upgrade() -> None:
    op.create_table(
        "chores",
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("chores_pkey")),
    )
    op.create_index("jobs_unfinished_idx", "jobs", ["owner", "job_class", "short", "model"], postgresql_where=sa.text(UNFINISHED))
    op.create_index("jobs_finished_idx", "jobs", ["kind", "state"], postgresql_where=sa.text(FINISHED))
    op.create_index("jobs_model_listed_idx", "jobs", ["model", "state", "created_at", "id"])
    op.create_index("jobs_old_idx", "jobs", ["finished_at", "id"], postgresql_where=sa.text("results_removed_at IS NULL"))
    op.execute(WORDS)
    # stored, so that a list in order of time compares words without cutting each job's texts anew
    op.add_column("jobs", sa.Column("words", TSVECTOR(), sa.Computed("job_words(name, notes, tags)", persisted=True)))
    op.create_index("jobs_words_idx", "jobs", ["words"], postgresql_using="gin")
    op.create_index("jobs_kept_idx", "jobs", ["id"], postgresql_where=sa.text("kept"))
    op.create_index("job_cells_shared_idx", "job_cells", ["cell"], postgresql_where=sa.text("cell LIKE 'judge:%'"))
    op.create_index("stored_objects_digest_idx", "stored_objects", ["digest"])
    op.drop_constraint(op.f("vectors_imported_visibility_check"), "vectors", type_="check")
    op.execute("LOCK TABLE jobs, vectors IN SHARE ROW EXCLUSIVE MODE")
    op.execute(FUNCTIONS)
    op.execute(
        "UPDATE vectors v SET visibility = j.visibility, group_name = j.group_name "
        "FROM extractions e JOIN jobs j ON j.id = e.job_id WHERE e.id = v.extraction_id"
    )
    op.create_index("vectors_model_listed_idx", "vectors", ["model", "created_at", "id"])
    op.create_index("vectors_owner_listed_idx", "vectors", ["owner", "created_at", "id"])
    op.create_index("vectors_public_idx", "vectors", ["created_at", "id"], postgresql_where=sa.text("visibility = 'public'"))
    for metric in METRICS:
        op.create_index(f"vectors_{metric}_idx", "vectors", [sa.text(f"{metric} DESC NULLS LAST"), "id"])


def downgrade() -> None:
    op.drop_table("chores")
    for metric in METRICS:
        op.drop_index(f"vectors_{metric}_idx", "vectors")
    op.drop_index("vectors_public_idx", "vectors")
    op.drop_index("vectors_owner_listed_idx", "vectors")
    op.drop_index("vectors_model_listed_idx", "vectors")
    op.execute("DROP TRIGGER vectors_shared ON jobs")
    op.execute("DROP TRIGGER vectors_follow ON vectors")
    op.execute("DROP FUNCTION vectors_follow_job, vector_follows_job")
    op.execute("UPDATE vectors SET visibility = NULL, group_name = NULL WHERE source = 'extracted'")
    op.create_check_constraint(
        op.f("vectors_imported_visibility_check"), "vectors", "(source = 'imported') = (visibility IS NOT NULL)"
    )
    op.drop_index("job_cells_shared_idx", "job_cells")
    op.drop_index("stored_objects_digest_idx", "stored_objects")
    op.drop_index("jobs_words_idx", "jobs")
    op.drop_column("jobs", "words")
    op.execute("DROP FUNCTION job_words")
    for index in ("jobs_model_listed_idx", "jobs_finished_idx", "jobs_unfinished_idx", "jobs_old_idx", "jobs_kept_idx"):
        op.drop_index(index, "jobs")
