-- +goose Up

-- The same text runs on SQLite and PostgreSQL, as that of the views does. Instants are microseconds since 1970; 0 is none.

-- The one row is the number up to which a program must know this schema. A program that
-- knows less refuses it, so a migration after which earlier programs must not use the
-- schema raises it; one that only adds leaves it.
CREATE TABLE version (version integer NOT NULL);
INSERT INTO version VALUES (1);

-- The ledger's short id.
CREATE TABLE ledger (
    one integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    id  text NOT NULL
);

-- n is how often an endpoint was made, changed or deleted, and made is how many were made.
CREATE TABLE changes (
    one  integer PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    n    bigint NOT NULL,
    made bigint NOT NULL
);
INSERT INTO changes (n, made) VALUES (0, 0);

CREATE TABLE endpoints (
    id       bytea PRIMARY KEY,
    tenant   text   NOT NULL,
    revision bigint NOT NULL,
    body     bytea  NOT NULL -- as JSON; secrets are in it sealed
);

-- How far each endpoint was told, and who sends for it. The row is locked while something is written for the endpoint.
-- On SQLite a bigint PRIMARY KEY is an integer one.
CREATE TABLE progress (
    number      bigint PRIMARY KEY, -- a short name of the endpoint, that is never used again
    endpoint    bytea  NOT NULL UNIQUE,
    feed_cursor bytea  NOT NULL,
    last        bigint NOT NULL, -- the highest number of a delivery that was given
    failing     bigint NOT NULL,
    lease       bigint NOT NULL, -- grows each time the lease is taken anew
    holder      bytea  NOT NULL, -- one run of a process; empty: none
    lease_until bigint NOT NULL  -- by this database's clock; not used on SQLite
);
CREATE INDEX progress_holder ON progress (holder);

-- Deliveries with consecutive numbers, from first on.
CREATE TABLE batches (
    owner  bigint  NOT NULL, -- the endpoint's short name
    first  bigint  NOT NULL,
    size   integer NOT NULL,
    open   integer NOT NULL,
    dead   integer NOT NULL,
    newest bigint  NOT NULL,
    body   bytea   NOT NULL,
    PRIMARY KEY (owner, first)
);
CREATE INDEX batches_open ON batches (owner, first) WHERE open > 0;
CREATE INDEX batches_dead ON batches (owner, first) WHERE dead > 0;
CREATE INDEX batches_done ON batches (newest) WHERE open = 0 AND dead = 0;

-- Endpoints that were deleted, whose batches are yet to be removed.
CREATE TABLE deleted (number bigint PRIMARY KEY);
