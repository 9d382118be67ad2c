"""The speed of the suite, measured against every peer. Only the file named after a framework imports it."""
