"""Placeholder so that pytest starts; the embedded servers of a test run are added in the next commit."""
