-- On SQLite the folds of the streams, the tails and the look-up of idempotency keys lie in a store of their own, in a
-- folder beside the file (adapters/internal/foldstore). The id says which store belongs to these rows: a store of
-- another id is not used. There a program moves what it finds in the tables streams and tails out of them, and
-- closes the file to earlier programs, which would find no folds. On PostgreSQL the table is empty, and nothing else
-- changes.

-- +goose Up
CREATE TABLE folds (
    id text NOT NULL PRIMARY KEY
);

-- +goose Down
DROP TABLE folds;
