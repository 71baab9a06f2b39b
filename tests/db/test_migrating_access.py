"""Migrating data from before there were users and visibility: keys stay valid, and traits and vectors are seen by the same users as before."""

from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from app import migrate
from app.auth.keys import new_key, verify
from app.auth.viewer import SCOPES

PEPPER = "a pepper of forty characters for tests!!"
DIGEST = "d" * 64


def test_keys_stay_valid_and_public_traits_stay_public(database_url: str) -> None:
    key = new_key("ada", "admin", PEPPER)
    migrate.downgrade(database_url, "0002")  # the last revision without users
    engine = create_engine(database_url)
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO api_keys (id, owner, role, secret_hmac) VALUES (:id, 'ada', 'admin', :seal)"),
            {"id": key.row.id, "seal": key.row.secret_hmac},
        )
        connection.execute(text(f"INSERT INTO blobs (digest, size) VALUES ('{DIGEST}', 1)"))
        for name, public in (("shipped", True), ("mine", False)):
            connection.execute(
                text(
                    "INSERT INTO traits (id, name, version, owner, public, definition, counts) "
                    "VALUES (:name, :name, :digest, 'ada', :public, '', '{}')"
                ),
                {"name": name, "public": public, "digest": DIGEST},
            )
        connection.execute(
            text("INSERT INTO models (name, source, created_by, state, facts) VALUES ('demo', '/m', 'ada', 'ready', '{}')")
        )
        connection.execute(
            text(
                "INSERT INTO vectors (id, source, owner, model, component, method, layer, width, digest, key, facts) "
                "VALUES ('v', 'imported', 'ada', 'demo', 'residual', 'm', 1, 8, :digest, 'k', '{}')"
            ),
            {"digest": DIGEST},
        )
    migrate.upgrade(database_url)
    with Session(engine) as session:
        viewer = verify(session, key.text, PEPPER)
        assert viewer is not None
        assert (viewer.owner, viewer.role, viewer.scopes, viewer.is_admin) == ("ada", "admin", SCOPES, True)
        shown = session.execute(text("SELECT name, visibility FROM traits ORDER BY name")).all()
        assert [tuple(row) for row in shown] == [("mine", "private"), ("shipped", "public")]
        assert session.scalar(text("SELECT visibility FROM vectors")) == "private"
    migrate.downgrade(database_url, "0002")
    with engine.connect() as connection:
        assert [bool(row.public) for row in connection.execute(text("SELECT public FROM traits ORDER BY name"))] == [False, True]
    engine.dispose()
