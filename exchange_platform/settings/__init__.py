"""Typed settings: `local` for one machine, `test` for the suite, `production` for everything else; `base` is shared."""
