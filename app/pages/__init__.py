"""The pages for browsers. They call the same services as the API, contain no SQL and make no decisions about access."""
