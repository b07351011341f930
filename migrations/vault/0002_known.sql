-- +goose Up

-- What the vault knows of its ledger. Programs before this migration use the vault as
-- ever: they neither read nor write these tables.

-- The ledger that the vault belongs to, by its short id: one row, or none if no ledger
-- told the vault yet.
CREATE TABLE ledger (
    one bool PRIMARY KEY DEFAULT true CHECK (one),
    id  text NOT NULL
);

-- How far each partition of that ledger was durable when a node last said so: every event
-- before next, and the SHA-256 of the bytes of the event at next-1. Control, inbox and
-- audit log have the partitions -1, -2 and -3.
CREATE TABLE heads (
    partition integer PRIMARY KEY,
    next      bigint NOT NULL,
    hash      bytea  NOT NULL
);
