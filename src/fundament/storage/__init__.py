"""Durable state: tables, migrations and repositories over SQLite or PostgreSQL. It knows no HTTP and no rules."""
