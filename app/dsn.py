"""The address of the database as people write it, in the form that SQLAlchemy takes. No error shows the address: it holds a password."""

DRIVER = "postgresql+psycopg"
SCHEMES = frozenset({"postgres", "postgresql", DRIVER})
FORM = "postgresql://USER:PASSWORD@HOST:5432/DATABASE"
ESCAPES = {"@": "%40", "/": "%2F", ":": "%3A", "%": "%25", "?": "%3F", "#": "%23"}


def database_url(text: str) -> str:
    """The same address with the driver's name. Raises ValueError for another kind of database, and for a password that needs escapes."""
    scheme, found, rest = text.strip().partition("://")
    if not found or scheme not in SCHEMES:
        raise ValueError(f"It must begin with postgresql://, as in {FORM}: Binnacle needs Postgres.")
    before_options = rest.partition("?")[0]
    if before_options.count("@") > 1 or "@" in before_options.partition("/")[2]:
        escapes = ", ".join(f"{code} for {sign}" for sign, code in ESCAPES.items())
        raise ValueError(f"The user name or password holds a character that has a meaning in addresses. Write {escapes}.")
    return f"{DRIVER}://{rest}"
