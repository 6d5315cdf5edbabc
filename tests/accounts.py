"""A contract, and keys of it, for tests of what asks no database."""

from fundament.gateway.contracts import Contract
from fundament.gateway.keys import KeyRecord

CONTRACT = Contract(id="contract_1", name="somebody", plan="unlimited", created_at=1)
KEY = KeyRecord(id="key_1", name="test", contract=CONTRACT, digest=b"x" * 32, hint="sk", created_at=1)
