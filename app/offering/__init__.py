"""The client that fits this server, offered for installing."""
