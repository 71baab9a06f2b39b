"""Messages go only to the address that was named, to public addresses unless private ones are allowed, and over TLS to the named server."""

import ipaddress
import socket
import ssl
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from app.webhooks import sending
from app.webhooks.messenger import Messenger
from tests.api.conftest import Running
from tests.api.receiver import Receiver
from tests.api.test_webhooks import allow, delivery, receiver, secret, settings

__all__ = ["receiver", "secret", "settings"]

pytestmark = pytest.mark.own_application


def test_redirects_are_not_followed(admin: httpx2.Client, secret: str, receiver: Receiver) -> None:
    elsewhere = Receiver()
    receiver.answers = [("redirect", elsewhere.url())]
    admin.post("/v1/webhooks/room/test")
    log = delivery(admin, "failed")
    assert (log["status"], elsewhere.messages) == (302, [])
    assert "redirects are not followed" in log["error"]
    elsewhere.close()


def test_a_name_with_a_private_address_is_refused_unless_it_is_allowed(admin: httpx2.Client, receiver: Receiver) -> None:
    name = socket.gethostname()
    if ipaddress.ip_address(socket.gethostbyname(name)).is_global:
        pytest.skip(f"{name} leads to a public address here")
    allow(admin, "surprise", receiver.url(name))
    admin.post("/v1/webhooks/surprise/test")
    log = delivery(admin, "failed")
    assert f"{name} leads to {socket.gethostbyname(name)}, which is not a public address" in log["error"]
    assert receiver.messages == []
    admin.delete("/v1/webhooks/surprise")
    allow(admin, "surprise", receiver.url(name), private=True)
    admin.post("/v1/webhooks/surprise/test")
    delivery(admin)
    assert receiver.messages[0].headers["Host"] == f"{name}:{receiver.port}"


def test_an_international_name_is_sent_to_in_its_ascii_form(
    admin: httpx2.Client, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the name server is not real: it knows one name, in its ASCII form."""

    async def look_up(host: str) -> list[str]:
        return {"xn--hllo-bpa.example": ["127.0.0.1"]}[host]

    monkeypatch.setattr(sending, "look_up", look_up)
    allow(admin, "abroad", receiver.url("héllo.example"), private=True)
    admin.post("/v1/webhooks/abroad/test")
    delivery(admin)
    assert receiver.messages[0].headers["Host"] == f"xn--hllo-bpa.example:{receiver.port}"


def test_an_address_that_was_allowed_and_cannot_be_read_ends_the_delivery(
    admin: httpx2.Client, receiver: Receiver, sessions: sessionmaker[Session]
) -> None:
    allow(admin, "old", receiver.url())
    with sessions.begin() as session:
        session.execute(text("UPDATE webhook_targets SET url = 'http://☃.net/x'"))
    admin.post("/v1/webhooks/old/test")
    assert delivery(admin, "failed")["attempts"] == 1


def test_over_tls_the_certificate_must_be_of_the_name_and_not_of_the_address(
    admin: httpx2.Client, api: Running, tmp_path: Path
) -> None:
    """The connection goes to an address that was looked up before; the name is still what must be proved."""
    trusted, tls = certificate_of("localhost", tmp_path)
    receiver = Receiver(tls)
    messenger = api.context.part(Messenger)
    messenger._sender._tls = trusted
    allow(admin, "named", receiver.url("localhost", "https"))
    admin.post("/v1/webhooks/named/test")
    delivery(admin)
    admin.delete("/v1/webhooks/named")
    allow(admin, "other", receiver.url("127.0.0.1", "https"))
    admin.post("/v1/webhooks/other/test")
    log = delivery(admin, "failed")
    assert "CERTIFICATE_VERIFY_FAILED" in log["error"]
    assert len(receiver.messages) == 1
    receiver.close()


def certificate_of(name: str, folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client that trusts, and a server that has, a certificate for that name alone."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - datetime.timedelta(days=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(private + certificate)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return ssl.create_default_context(cadata=certificate.decode()), server


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x.example",
        "https://",
        "https://u:p@x.example",
        "https://x.example/#a",
        "x.example",
        "https://x.example:99999",
        "http://☃.net/x",
        "https://a..b/x",
        f"https://{'a' * 64}.example/x",
    ],
)
def test_an_invalid_address_is_refused(admin: httpx2.Client, url: str) -> None:
    refused = admin.post("/v1/webhooks", json={"name": "x", "url": url})
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_url")
