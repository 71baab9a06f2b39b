"""The pages that people look at. They call the services that the API calls; they hold no SQL and decide no rights."""
