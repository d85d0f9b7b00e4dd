"""The matching worker: takes commands in sequence, drives one book per symbol, settles.

Owns: the process, its lease (`shards`), rebuilding of books (`recovery`); the book itself is `matching.core`.
Never: intake's decisions about funds and limits, HTTP.
"""
