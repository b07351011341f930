-- +goose Up

-- What events from before format level 2 changed stays in opt_outs, which the version
-- before this one writes too: such an event stops one reach. repeats: how many older
-- opt-outs of the same reach it took the place of.
ALTER TABLE opt_outs ADD COLUMN repeats bigint NOT NULL DEFAULT 0;
CREATE INDEX opt_outs_open ON opt_outs (tenant, since, event) WHERE review = 1;

-- The opt-outs that stand since events of format level 2: one such event may stop
-- several reaches. Columns as in opt_outs; to_number is our number that it came to, ''
-- if it came to none.
CREATE TABLE standing (
    subject   bytea    NOT NULL,
    event     bytea    NOT NULL,
    scope     text     NOT NULL,
    name      text     NOT NULL,
    partition smallint NOT NULL,
    position  bigint   NOT NULL,
    tenant    text     NOT NULL,
    source    text     NOT NULL,
    since     bigint   NOT NULL,
    occurred  bigint,
    unclear   smallint NOT NULL,
    to_number text     NOT NULL,
    repeats   bigint   NOT NULL,
    PRIMARY KEY (subject, event, scope, name)
);

-- The open reviews, but for those of opt_outs (review = 1). tenant is '' for what the
-- operator places.
CREATE TABLE reviews (
    event     bytea    NOT NULL PRIMARY KEY,
    subject   bytea    NOT NULL,
    partition smallint NOT NULL,
    position  bigint   NOT NULL,
    tenant    text     NOT NULL,
    kind      text     NOT NULL,
    to_number text     NOT NULL,
    since     bigint   NOT NULL,
    repeats   bigint   NOT NULL,
    unplaced  text     NOT NULL
);
CREATE INDEX reviews_open ON reviews (tenant, since, event);
CREATE INDEX reviews_age ON reviews (kind, since);

-- Where the inbound messages of format level 2 are: one row an event.
CREATE TABLE inbound (
    event     bytea    NOT NULL PRIMARY KEY,
    subject   bytea    NOT NULL,
    partition smallint NOT NULL,
    position  bigint   NOT NULL,
    tenant    text     NOT NULL
);
CREATE INDEX inbound_stream ON inbound (subject, position);

-- +goose Down
DROP TABLE inbound;
DROP TABLE reviews;
DROP TABLE standing;
DROP INDEX opt_outs_open;
ALTER TABLE opt_outs DROP COLUMN repeats;
