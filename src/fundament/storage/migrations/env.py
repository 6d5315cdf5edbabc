"""What Alembic runs for every command. It knows one way only: on the connection that `database.upgrade` hands over."""

from alembic import context
from sqlalchemy import Connection

from fundament.storage.tables import metadata

connection = context.config.attributes["connection"]
if not isinstance(connection, Connection):
    raise TypeError("Alembic must be started by fundament.storage.database.upgrade, with its connection.")

context.configure(connection=connection, target_metadata=metadata)
# The transaction is the caller's: it holds the lock under which migrations run.
context.run_migrations()
