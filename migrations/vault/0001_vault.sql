-- +goose Up

-- The tables may be there: programs before this migration made them without one, and
-- such a vault is used as it is. A vault without the one row of meta is none yet.
-- There is no way down: what is in here is restored from a backup alone.

-- format is that of the keys and their wrapping. A program refuses a vault whose format
-- it does not know, so a migration that earlier programs must not use the vault after
-- sets another one.
CREATE TABLE IF NOT EXISTS meta (
    format    integer NOT NULL,
    key_check bytea   NOT NULL, -- tells whether a master key is the vault's
    pseudonym bytea   NOT NULL, -- these two keys, and all below, are wrapped under the master key
    digest    bytea   NOT NULL
);

-- The secret of each stream. Ids are ordered by time, so rows are added at the end.
CREATE TABLE IF NOT EXISTS subjects (
    id     bytea PRIMARY KEY,
    secret bytea NOT NULL
);

-- One key for each tenant, retention class and month.
CREATE TABLE IF NOT EXISTS classes (
    tenant text  NOT NULL,
    class  text  NOT NULL,
    key    bytea NOT NULL,
    PRIMARY KEY (tenant, class)
);
