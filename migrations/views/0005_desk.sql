-- +goose Up

-- Which values occur among the messages that were accepted in a bucket of 1,024 ms (the milliseconds of
-- their ids, shifted right by ten): one row for each value and partition, however many messages have it. A search
-- finds by it in which buckets to look.
CREATE TABLE facets (
    tenant    text     NOT NULL,
    kind      smallint NOT NULL,
    value     text     NOT NULL,
    bucket    bigint   NOT NULL,
    partition smallint NOT NULL,
    PRIMARY KEY (tenant, kind, value, bucket, partition)
);

-- By which rules a message was denied or deferred, or by which fault it was held, in any decision
-- that counted.
CREATE TABLE reasons (
    message   bytea    NOT NULL,
    rule      text     NOT NULL,
    partition smallint NOT NULL,
    PRIMARY KEY (message, rule)
);

-- What happened in a quarter of an hour of the events' own time (seconds since 1970, divided by 900), counted.
CREATE TABLE tallies (
    tenant    text     NOT NULL,
    quarter   bigint   NOT NULL,
    partition smallint NOT NULL,
    body      bytea    NOT NULL,
    PRIMARY KEY (tenant, quarter, partition)
);

-- The events of recipients' streams that belong to no message. why is '' for an effective event.
CREATE TABLE stream_events (
    partition smallint NOT NULL,
    position  bigint   NOT NULL,
    event     bytea    NOT NULL,
    type      text     NOT NULL,
    tenant    text     NOT NULL,
    subject   bytea    NOT NULL,
    at        bigint   NOT NULL,
    why       text     NOT NULL,
    PRIMARY KEY (partition, position)
);
CREATE INDEX stream_events_stream ON stream_events (subject, position);
CREATE INDEX stream_events_tenant ON stream_events (tenant, type, at, event, position);
CREATE INDEX stream_events_event ON stream_events (event);

-- From which event on, and since when, the tables above have all of a partition; NULL where they have
-- nothing yet. A program from before these tables moves next alone: then they begin anew.
ALTER TABLE partitions ADD COLUMN desk_next bigint;
ALTER TABLE partitions ADD COLUMN desk_first bigint;
ALTER TABLE partitions ADD COLUMN desk_since bigint;

-- +goose Down
ALTER TABLE partitions DROP COLUMN desk_since;
ALTER TABLE partitions DROP COLUMN desk_first;
ALTER TABLE partitions DROP COLUMN desk_next;
DROP TABLE stream_events;
DROP TABLE tallies;
DROP TABLE reasons;
DROP TABLE facets;
