// Package migrations has the numbered SQL files of the databases, one folder for each schema. It
// does not run them: the adapters do, with goose. A migration that was released is never edited,
// and a new one only adds, because nodes of two versions run side by side during an upgrade. How
// a later migration keeps earlier programs out is written in the first file of its folder, and
// for the views in the second.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed */*.sql
var all embed.FS

// Views has the migrations of the views, for goose. The same text runs on SQLite and PostgreSQL:
// its types are PostgreSQL's, and SQLite's affinities for them leave bytes, integers and text as
// they are.
var Views = folder("views")

// Vault has the migrations of the vault in PostgreSQL, for goose.
var Vault = folder("vault")

// Leases has the migrations, for goose, of what the nodes of a cluster share in PostgreSQL beside
// the views and the vault.
var Leases = folder("leases")

// Webhooks has the migrations of the webhooks' endpoints and deliveries. As with the views, the same text runs on SQLite and
// PostgreSQL.
var Webhooks = folder("webhooks")

// folder returns the folder of one schema. It panics if there is none: the names are those above.
func folder(name string) fs.FS {
	f, err := fs.Sub(all, name)
	if err != nil {
		panic(err)
	}
	return f
}
