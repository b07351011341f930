-- +goose Up

-- The master keys that keys in the vault are wrapped under: one, and two while a rotation runs. Keys are
-- wrapped under the one with the highest number. wraps counts what was ever wrapped under it; for a vault
-- of before this table it is a bound: no row is smaller than 64 bytes.
CREATE TABLE masters (
    number    integer PRIMARY KEY,
    key_check bytea  NOT NULL,
    pseudonym bytea  NOT NULL,
    digest    bytea  NOT NULL,
    wraps     bigint NOT NULL
);
INSERT INTO masters (number, key_check, pseudonym, digest, wraps)
    SELECT 0, key_check, pseudonym, digest, 2 + pg_table_size('subjects') / 64 + pg_table_size('classes') / 64 FROM meta;

-- Under which master key a key is wrapped. The defaults are for programs of before this migration; the
-- first rotation takes them away, so that such programs make no keys under a master key that is no longer
-- used. It also sets the format to 2, which they refuse to open.
ALTER TABLE subjects ADD COLUMN master integer NOT NULL DEFAULT 0;
ALTER TABLE classes ADD COLUMN master integer NOT NULL DEFAULT 0;

-- The rotations of the master key: the id of the event that says so in the ledger's audit log, when it began
-- and ended (milliseconds since 1970), who asked for it, and how many keys the vault then had.
CREATE TABLE rotations (
    event    bytea PRIMARY KEY,
    number   integer NOT NULL,
    asked_by text    NOT NULL,
    began    bigint  NOT NULL,
    ended    bigint,
    keys     bigint  NOT NULL DEFAULT 0,
    recorded bool    NOT NULL DEFAULT false
);
