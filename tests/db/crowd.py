"""A database as a lab has it after years, filled by SQL: mostly finished jobs of twenty users, with events, files, extractions and vectors;
3,000 jobs wait and 4 run on as many workers. With 100,000 jobs: 1,000,000 events, 500,000 objects, about 50,000 vectors."""

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from app import tallies
from app.quotas import usage_repository

_JOBS = """
INSERT INTO jobs (id, kind, job_class, owner, model, name, notes, tags, visibility, spec, spec_hash, state, created_at, queued_at,
    started_at, finished_at, device_seconds, worker_id, short)
SELECT 'job_' || lpad(n::text, 26, '0'), (ARRAY['calibrate','extract','steer','generate'])[n / 20 % 4 + 1], 'model', 'user' || n % 20,
    'model' || n % 7,
    CASE WHEN n % 500 = 0 THEN 'zebra run ' || n ELSE 'sweep ' || n END, 'notes of ' || n, ARRAY['tag' || n % 50],
    CASE WHEN n / 7 % 10 = 0 THEN 'public' ELSE 'private' END, '{{}}', md5(n::text),
    CASE WHEN n > {jobs} - 3000 THEN 'queued' WHEN n > {jobs} - 3004 THEN 'running' WHEN n % 97 = 0 THEN 'failed'
        WHEN n % 41 = 0 THEN 'cancelled' ELSE 'succeeded' END,
    at, at, at, CASE WHEN n > {jobs} - 3004 THEN NULL ELSE at + interval '3 minutes' END, 100,
    CASE WHEN n > {jobs} - 3004 AND n <= {jobs} - 3000 THEN 'w' || n % 4 END, n / 20 % 4 = 3
FROM generate_series(1, {jobs}) AS n CROSS JOIN LATERAL (SELECT now() - (({jobs} - n) * interval '4 minutes') AS at) AS t
"""
_REST = """
INSERT INTO owner_turns (owner, lane, last_started, recent_seconds)
    SELECT 'user' || n, lane, now() - n * interval '1 minute', n * 7 % 20
    FROM generate_series(0, 19) AS n CROSS JOIN unnest(ARRAY['model', 'short']) AS lane;
INSERT INTO workers (id, job_class, device, host, parent_pid, version)
    SELECT 'w' || n, 'model', 'cuda', 'host', n, '0' FROM generate_series(0, 3) AS n;
INSERT INTO models (name, source, created_by, state, facts) SELECT 'model' || n, '/m', 'root', 'ready', '{{}}' FROM generate_series(0, 6) AS n;
INSERT INTO blobs (digest, size) SELECT lpad(to_hex(n), 64, '0'), 1000 + n FROM generate_series(1, {jobs} * 5) AS n;
INSERT INTO artifacts (id, job_id, name, digest, size, media_type)
    SELECT 'art_' || n, id, 'result.json', lpad(to_hex(n), 64, '0'), 1000 + n, 'application/json'
    FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM jobs WHERE state = 'succeeded') AS done;
INSERT INTO job_events (job_id, seq, type) SELECT id, seq, 'phase' FROM jobs CROSS JOIN generate_series(1, 10) AS seq;
INSERT INTO extractions (id, job_id, owner, model, weight_hash, trait, trait_version, positions, components, layers, methods, summary,
        created_at)
    SELECT 'ext_' || right(id, 26), id, owner, model, 'w', 'refusal', 't', '{{"response[:5]"}}', '{{residual}}', '{{1}}', '{{probe}}', '{{}}',
        created_at
    FROM jobs WHERE kind = 'extract' AND state = 'succeeded';
INSERT INTO vectors (id, source, extraction_id, owner, model, trait, position, component, method, layer, width, digest, key, accuracy, cohens_d,
    auroc, massive_share, facts, created_at)
    SELECT 'vec_' || right(id, 23) || lpad(n::text, 3, '0'), 'extracted', id, owner, model, trait, 'response[:5]', 'residual', 'probe', n, 8,
        lpad(to_hex(1), 64, '0'), 'k', random(), random(), random(), random(), '{{}}', created_at
    FROM (SELECT * FROM extractions ORDER BY id DESC LIMIT {jobs} / 40) AS e CROSS JOIN generate_series(0, 19) AS n;
"""


def fill(connection: Connection, jobs: int) -> None:
    """Adds so many jobs, half as many vectors, five times as many objects, ten times as many events; updates
    statistics. The connection is in autocommit."""
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text(_JOBS.format(jobs=jobs).replace(":", r"\:")))
    for statement in _REST.format(jobs=jobs).split(";\n"):
        if statement.strip():
            connection.execute(text(statement.replace(":", r"\:")))
    with Session(connection) as session:  # as the reconciler does
        usage_repository.add_up(session)
        tallies.add_up(session)
        session.commit()
    connection.execute(text("VACUUM ANALYZE"))
