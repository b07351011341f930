// Package backup has the commands that copy a ledger and its keys while its nodes run, check such a copy,
// and make a ledger of it again.
//
// A backup is a folder with a ledger of the embedded engine, whatever the engine of the original, and a
// manifest that says up to where it is whole, and a copy of the webhooks. The keys are in another folder. Views are not in
// it: they are computed from the ledger.
package backup

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	manifestFile   = "backup.json"
	manifestFormat = 1
)

// manifest says up to where a backup is whole. It is written when everything that it says was verified and
// is durable. Rows are only ever added to a backup, so a manifest stays true when a later run is cut short.
type manifest struct {
	Format     int    `json:"format"`
	Ledger     string `json:"ledger"`
	Partitions int    `json:"partitions"`
	// AsOf: everything that was acknowledged before is in the backup.
	AsOf time.Time `json:"as_of"`
	// WholeVerified is when every row was last read and checked; other runs check what they add.
	WholeVerified time.Time `json:"whole_verified"`
	Version       string    `json:"version"`
	By            string    `json:"by"`
	Engine        string    `json:"engine"`
	Events        int64     `json:"events"`
	Commits       tableRows `json:"commits"`
	Audit         tableRows `json:"audit"`
	// Heads are by the name of the partition: "07", "control", "inbox", "audit".
	Heads map[string]manifestHead `json:"heads"`
	// Vault is the fingerprint of the vault whose keys were copied by this run; "" if none were.
	Vault string `json:"vault,omitempty"`
	// Webhooks is the copy of the webhooks; nil if there were none.
	Webhooks *webhooksCopy `json:"webhooks,omitempty"`
}

// tableRows are the rows of a table that are in the backup, and the digest of them all (hex).
type tableRows struct {
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"`
}

type manifestHead struct {
	Next int64  `json:"next"`
	Hash string `json:"hash,omitempty"`
}

// errNoManifest is the error of a folder without a manifest.
var errNoManifest = errors.New("there is no whole backup in it: it has no " + manifestFile)

// readManifest reads the manifest of a backup; errNoManifest if there is none.
func readManifest(dir string) (*manifest, error) {
	raw, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, errNoManifest)
	}
	if err != nil {
		return nil, err
	}
	m := &manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, manifestFile), err)
	}
	if m.Format != manifestFormat {
		return nil, fmt.Errorf("the backup %s has format %d, and this chirograph reads format %d: use the version that made it, or a newer one", dir, m.Format, manifestFormat)
	}
	if _, err := m.contents(); err != nil || m.Ledger == "" {
		return nil, fmt.Errorf("%s is damaged: a digest or the ledger's id is not whole", filepath.Join(dir, manifestFile))
	}
	return m, nil
}

// contents are the rows that the manifest speaks of.
func (m *manifest) contents() (c sqlitelog.Contents, err error) {
	for _, t := range []struct {
		from tableRows
		to   *sqlitelog.Rows
	}{{m.Commits, &c.Commits}, {m.Audit, &c.Audit}} {
		raw, err := hex.DecodeString(t.from.Digest)
		if err != nil || len(raw) != len(t.to.Digest) || t.from.Rows < 0 {
			return c, errors.New("a digest is damaged")
		}
		t.to.Last = t.from.Rows
		copy(t.to.Digest[:], raw)
	}
	return c, nil
}

// covers takes the rows and heads that were verified into the manifest.
func (m *manifest) covers(c sqlitelog.Contents, heads map[event.Partition]ledger.Head) {
	m.Commits = tableRows{c.Commits.Last, hex.EncodeToString(c.Commits.Digest[:])}
	m.Audit = tableRows{c.Audit.Last, hex.EncodeToString(c.Audit.Digest[:])}
	m.Heads, m.Events = map[string]manifestHead{}, 0
	for p, h := range heads {
		x := manifestHead{Next: h.Next}
		if h.Next > 0 {
			x.Hash = hex.EncodeToString(h.Hash[:])
		}
		m.Heads[p.String()] = x
		m.Events += h.Next
	}
}

// write replaces the manifest in one step: a crash leaves the earlier one or this one, whole.
func (m *manifest) write(dir string) error {
	raw, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, manifestFile), append(raw, '\n'))
}

// writeFile makes or replaces a file that only its owner may read, in one step, and makes it durable.
func writeFile(path string, raw []byte) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".tmp"))
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// syncFolder makes the names in a folder durable.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && os.PathSeparator == '/' {
		return err
	}
	return nil
}

func version() string {
	if b, ok := debug.ReadBuildInfo(); ok {
		return b.Main.Version
	}
	return "unknown"
}
