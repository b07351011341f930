package assemble

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/chirograph/chirograph/domain/agreement"
)

// CheckDevelopment refuses a data folder whose ledger serve --dev did not make: the ledger itself says which it is.
// A ledger of an older version does not; it counts as a development ledger if the folder has a development key and no
// tenant but the development tenant has a program. A folder without a ledger may become either. It looks
// only, and changes nothing.
func CheckDevelopment(dir, tenant string) (err error) {
	refuse := fmt.Errorf("%s contains a ledger that --dev did not make: --dev neither serves nor deletes it. Name another folder with --data", dir)
	l, err := LookAt(context.Background(), dir, filepath.Join(dir, "master.key"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if l.Ledger.State != agreement.Present || l.Registry.Position == 0 {
		// Of one that cannot be read it cannot be told whether --dev made it, and what belongs to a ledger that is not
		// there may be all that is left of it.
		if _, err := agreement.Compare(&l.Question); err != nil {
			return err
		}
		return webhooksFit(filepath.Join(dir, webhooksFile), l.Ledger.Known.Ledger)
	}
	if v := l.Registry.Epoch().Vault; v != nil {
		if !v.Development {
			return refuse
		}
		return nil
	}
	_, noKey := os.Stat(filepath.Join(dir, "dev-key"))
	if noKey != nil || slices.ContainsFunc(l.Registry.Tenants(), func(t string) bool { return t != tenant }) {
		return refuse
	}
	return nil
}
