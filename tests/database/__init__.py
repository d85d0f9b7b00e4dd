"""What PostgreSQL itself refuses, whoever asks: no code of the exchange runs in these tests, only its migrations."""
