"""The pages in a browser. They call the services that the API calls; they hold no SQL and decide no rights."""
