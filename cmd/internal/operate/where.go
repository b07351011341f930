package operate

import (
	"context"

	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
)

// DataFlags say where the ledger is. The node of an embedded one must not be running.
type DataFlags struct {
	Data      string `help:"Data folder. Stop the node first: only one process can use the folder at a time." default:"data" type:"path"`
	MasterKey string `help:"File with the vault's master key, if it is not in the data folder." type:"path" placeholder:"FILE"`
	Config    string `help:"Configuration file that says where the ledger is, instead of --data. The nodes of a cluster may keep running." type:"path" placeholder:"FILE"`
}

// open opens the ledger that the flags name; nothing is made.
func (f *DataFlags) open(ctx context.Context) (*assemble.Data, error) {
	if f.Config == "" {
		return assemble.OpenFolder(assemble.Folder{Dir: f.Data, MasterKey: f.MasterKey})
	}
	cfg, err := config.LoadSound(f.Config)
	if err != nil {
		return nil, err
	}
	if cfg.IsShared() {
		return assemble.OpenShared(ctx, cfg, false)
	}
	return assemble.OpenFolder(assemble.Folder{Dir: cfg.Data, MasterKey: cfg.MasterKeyFile})
}
