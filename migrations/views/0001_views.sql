-- +goose Up

-- How far each partition is folded: everything before next. Times here and below
-- are milliseconds since 1970; NULL is none.
CREATE TABLE partitions (
    partition     smallint NOT NULL PRIMARY KEY,
    next          bigint   NOT NULL,
    hash          bytea    NOT NULL,
    control       bigint   NOT NULL,
    control_event bytea    NOT NULL,
    time          bigint
);

-- One row a stream: its fold, when the clerk has next something to do, and its
-- latest message. A message names the one before it in its stream, so that a
-- search by recipient walks that chain and needs no second index under a random key.
CREATE TABLE streams (
    subject   bytea    NOT NULL PRIMARY KEY,
    partition smallint NOT NULL,
    state     bytea,
    due       bigint,
    latest    bytea
);
CREATE INDEX streams_due ON streams (partition, due) WHERE due IS NOT NULL;

-- One row a message. Ids are ordered by time, so rows and entries are nearly
-- appended. doc is the view, with the positions of its events packed in it (projections.Message).
-- A status of '' is a cancel whose submit has not come.
CREATE TABLE messages (
    id        bytea    NOT NULL PRIMARY KEY,
    partition smallint NOT NULL,
    tenant    text     NOT NULL,
    program   text     NOT NULL,
    status    text     NOT NULL,
    reference text,
    previous  bytea,
    doc       bytea    NOT NULL
);
CREATE INDEX messages_found ON messages (tenant, program, status, id);
CREATE INDEX messages_reference ON messages (tenant, reference, id) WHERE reference IS NOT NULL;

-- The opt-outs that stand. review: an officer has yet to read it.
CREATE TABLE opt_outs (
    subject   bytea    NOT NULL,
    event     bytea    NOT NULL,
    partition smallint NOT NULL,
    position  bigint   NOT NULL,
    tenant    text     NOT NULL,
    scope     text     NOT NULL,
    name      text     NOT NULL,
    source    text     NOT NULL,
    since     bigint   NOT NULL,
    occurred  bigint,
    unclear   smallint NOT NULL,
    review    smallint NOT NULL,
    PRIMARY KEY (subject, event)
);
CREATE INDEX opt_outs_review ON opt_outs (tenant, event) WHERE review = 1;

-- Parts that a carrier took and that have no final receipt. key is the id's
-- canonical key.
CREATE TABLE handoffs (
    message    bytea    NOT NULL,
    attempt    smallint NOT NULL,
    part       smallint NOT NULL,
    partition  smallint NOT NULL,
    tenant     text     NOT NULL,
    subject    bytea    NOT NULL,
    account    text     NOT NULL,
    key        text     NOT NULL,
    carrier_id text     NOT NULL,
    PRIMARY KEY (message, attempt, part)
);
CREATE INDEX handoffs_key ON handoffs (key, account);

-- Idempotency keys that were used. hash is 64 bits of tenant and key: an index of
-- integers is a quarter of one of the keys, and this one is under random keys.
CREATE TABLE reserved (
    hash       bigint   NOT NULL,
    partition  smallint NOT NULL,
    tenant     text     NOT NULL,
    key        text     NOT NULL,
    message    bytea    NOT NULL,
    input      text     NOT NULL,
    keep_until bigint   NOT NULL
);
CREATE INDEX reserved_hash ON reserved (hash);
CREATE INDEX reserved_until ON reserved (partition, keep_until);

-- +goose Down
DROP TABLE reserved;
DROP TABLE handoffs;
DROP TABLE opt_outs;
DROP TABLE messages;
DROP TABLE streams;
DROP TABLE partitions;
