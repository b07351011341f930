-- +goose Up

-- The tables may be there: programs before this migration made them without one, and
-- they are used as they are.

-- The one row is the number up to which a program must know this schema. A program that
-- knows less refuses it, so a migration after which earlier programs must not use the
-- schema raises it; one that only adds leaves it.
CREATE TABLE IF NOT EXISTS version (version integer NOT NULL);
INSERT INTO version SELECT 1 WHERE NOT EXISTS (SELECT FROM version);

-- Idempotency keys that were used: 16 bytes of keyed digest, and the message each
-- stands for. keep_until is milliseconds since 1970.
CREATE TABLE IF NOT EXISTS reservations (
    tenant     text   NOT NULL,
    key        bytea  NOT NULL,
    message    bytea  NOT NULL,
    input      text   NOT NULL,
    keep_until bigint NOT NULL,
    PRIMARY KEY (tenant, key)
);
CREATE INDEX IF NOT EXISTS reservations_until ON reservations (keep_until);

-- Carrier accounts. A row is locked while its account is divided among the nodes.
CREATE TABLE IF NOT EXISTS accounts (name text PRIMARY KEY);

-- What each node holds of an account, for as long as it renews it: until is an
-- instant on this database's clock. A lease that nobody has deleted still counts.
-- Rates are thousandths of a submit a second, and no limit is 2^63-1; instants
-- are microseconds since 1970, and 0 in bound is no bind.
CREATE TABLE IF NOT EXISTS leases (
    account text   NOT NULL REFERENCES accounts,
    holder  bytea  NOT NULL, -- one run of a node
    node    text   NOT NULL, -- its name, for people
    joined  bigint NOT NULL,
    bound   bigint NOT NULL,
    rate    bigint NOT NULL, -- what it may be using now
    tps     bigint NOT NULL, -- what its configuration says
    binds   bigint NOT NULL, -- what its configuration says; 0 is any number
    until   bigint NOT NULL,
    PRIMARY KEY (account, holder)
);
