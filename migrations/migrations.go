// Package migrations holds the numbered SQL of the views' database. One text runs
// on SQLite and PostgreSQL: the types are PostgreSQL's, which SQLite reads as
// affinities that leave bytes, integers and text as they are.
package migrations

import "embed"

// FS has the migrations, for goose. A migration that was released is never edited.
//
//go:embed *.sql
var FS embed.FS
