"""A simulated market for the demo: participants who trade through the public API, along recorded prices."""
