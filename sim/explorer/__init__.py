"""A sweep's results to look around in: one page that needs nothing else, and a summary without a browser."""
