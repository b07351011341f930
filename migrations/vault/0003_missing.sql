-- +goose Up

-- The class keys that were noticed to be missing: an event names them, and no row of classes
-- has them. No key is made in their place, so that the lost one can come back.
CREATE TABLE missing_classes (
    tenant text NOT NULL,
    class  text NOT NULL,
    PRIMARY KEY (tenant, class)
);
