"""What Schemathesis cannot know of this API. Loaded by it through `SCHEMATHESIS_HOOKS`."""
