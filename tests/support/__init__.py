"""What the suite stands on: one embedded PostgreSQL and Redis per test run, clones of a migrated database, whole stacks."""
