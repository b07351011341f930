// Package migrations holds the numbered SQL of the databases, one folder a schema. A
// migration that was released is never edited, and only adds: nodes of two versions
// run side by side during an upgrade. What a later one must do to keep earlier
// programs out is in the first one of its folder, or in the second one of the views'.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed */*.sql
var all embed.FS

// Views has the migrations of the views, for goose. One text runs on SQLite and
// PostgreSQL: the types are PostgreSQL's, which SQLite reads as affinities that leave
// bytes, integers and text as they are.
var Views = folder("views")

// Vault has the migrations of the vault in PostgreSQL, for goose.
var Vault = folder("vault")

// Leases has the migrations of what the nodes of a cluster share beside the views and
// the vault, for goose, in PostgreSQL.
var Leases = folder("leases")

// folder is one schema's folder. Its name is one of those above, so it is there.
func folder(name string) fs.FS {
	f, err := fs.Sub(all, name)
	if err != nil {
		panic(err)
	}
	return f
}
