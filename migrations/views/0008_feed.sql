-- +goose Up

-- What the events of a partition told their tenants: 256 events a block, each block the items of its events, one
-- after the other (domain/feed). Blocks without items have no row.
CREATE TABLE feed (
    partition smallint NOT NULL,
    block     bigint   NOT NULL,
    body      bytea    NOT NULL,
    PRIMARY KEY (partition, block)
);

-- From which event on the table above has all of a partition; NULL where it has nothing yet. A program from
-- before this table moves next alone: then it begins anew.
ALTER TABLE partitions ADD COLUMN feed_next bigint;
ALTER TABLE partitions ADD COLUMN feed_first bigint;

-- +goose Down
ALTER TABLE partitions DROP COLUMN feed_first;
ALTER TABLE partitions DROP COLUMN feed_next;
DROP TABLE feed;
