package vault

import (
	"bytes"
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/internal/sqliteimage"
	"github.com/chirograph/chirograph/domain/event"
)

// OpenToCopy opens the vault in the SQLite file at path to copy its keys from it with Copy. A node may have
// it open and add keys meanwhile. Nothing is written to the file; SQLite makes the files -wal and -shm
// beside it if they are missing. With still no process may use the vault meanwhile, and then nothing at all
// is made, so that a copy on a read-only disk can be read. The vault makes no keys.
func OpenToCopy(path, masterKeyFile string, still bool) (_ *Vault, err error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("there is no vault at %s: %w", path, err)
	}
	o := Options{ToCopy: true}
	v := newVault(masterFiles(masterKeyFile)...)
	keys, err := readMasters(v.ring.files)
	if err != nil {
		return nil, err
	}
	var db *sql.DB
	closeFile := func() error { return db.Close() }
	if still {
		image, err := sqliteimage.Open(path)
		if err != nil {
			return nil, fmt.Errorf("vault: %w", err)
		}
		db, closeFile = image.DB(), image.Close
	} else if db, err = sql.Open("sqlite", "file:"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(filepath.ToSlash(path))+
		"?mode=ro&_pragma=busy_timeout(10000)&_pragma=query_only(1)&_pragma=cell_size_check(1)"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("vault %s: %w", path, errors.Join(err, closeFile()))
		}
	}()
	if err := isVault(context.Background(), db); err != nil {
		return nil, err
	}
	s := &sqlite{db: db, since: time.Now(), closeFile: closeFile}
	if s.noMasters, err = hasNoMasters(db); err != nil {
		return nil, err
	}
	if s.getSecret, err = db.Prepare("SELECT secret FROM subjects WHERE id = ?"); err != nil {
		return nil, err
	}
	if s.getClass, err = db.Prepare("SELECT key FROM classes WHERE tenant = ? AND class = ?"); err != nil {
		return nil, err
	}
	v.db, v.store, v.notes, v.rotation = db, s, sqliteNotes{s}, sqliteRotation{s}
	if err := v.readMeta(context.Background(), keys, o); err != nil {
		return nil, err
	}
	v.start(o)
	return v, nil
}

// copyBatch is how many subject secrets Copy copies in one transaction.
const copyBatch = 4096

// Copy copies every key of the vault from into the vault to. Each may be of either engine. to
// must have been made with Options.CopyOf, so that both have the same master key, pseudonym key
// and digest key; if not, nothing is copied. n is how many keys to did not have. Keys are copied
// in batches, and each batch is durable when the next begins. Keys that are there already stay,
// so after an error or a crash simply call Copy once more. Keys that are added to from meanwhile
// may be missed: copy once more when no process uses from any longer. A key that was destroyed in
// to, but not in from, comes back.
//
// If a key differs in the two vaults, Copy returns an error and both keep their own: data that
// was sealed under one of them does not open under the other.
func Copy(ctx context.Context, from, to *Vault) (n int, err error) {
	if err := sameMaster(to.ring.current().wrapping, from); err != nil {
		return 0, err
	}
	return Add(ctx, from, to)
}

// Add is Copy for a vault and a copy of it that may be under an older master key: keys that to lacks come
// back.
func Add(ctx context.Context, from, to *Vault) (n int, err error) {
	if err := to.sameMeta(from); err != nil {
		return 0, err
	}
	had, err := to.store.classes(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the vault that is copied to: %w", err)
	}
	classes, err := from.store.classes(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the vault that is copied: %w", err)
	}
	for k, box := range classes {
		if have, ok := had[k]; ok && !sameKey(to, have, from, box, "class", k.tenant, k.class) {
			return n, fmt.Errorf("both vaults have a key of their own for tenant %q and class %s, and data that was encrypted with one of them cannot be read with the other: copy into a vault that was not used yet", k.tenant, k.class)
		} else if ok {
			continue
		}
		if err := to.store.addClass(ctx, k, rewrapped(from, to, box, "class", k.tenant, k.class)); err != nil {
			return n, fmt.Errorf("write to the vault that is copied to: %w", err)
		}
		n++
	}
	for after, end := (event.ID{}), lastID; ; {
		batch, err := from.store.secrets(ctx, after, end, copyBatch)
		if err != nil {
			return n, fmt.Errorf("read the vault that is copied: %w", err)
		}
		if len(batch) == 0 {
			return n, nil
		}
		missing, err := lacking(ctx, to, from, after, batch)
		if err != nil {
			return n, err
		}
		for i := range missing {
			s := &missing[i]
			s.wrappedKey = rewrapped(from, to, s.box, "subject", string(s.id[:]))
		}
		if err := to.store.addSecrets(ctx, missing); err != nil {
			return n, fmt.Errorf("write to the vault that is copied to: %w", err)
		}
		n += len(missing)
		after = batch[len(batch)-1].id
	}
}

var lastID = event.ID(bytes.Repeat([]byte{0xff}, len(event.ID{})))

// lacking returns those secrets of a batch that a vault does not have. The ids of the batch
// come after the given id.
func lacking(ctx context.Context, v, from *Vault, after event.ID, batch []subjectSecret) (missing []subjectSecret, err error) {
	have := map[event.ID][]byte{}
	upTo := batch[len(batch)-1].id
	for {
		page, err := v.store.secrets(ctx, after, upTo, copyBatch)
		if err != nil {
			return nil, fmt.Errorf("read the vault that is copied to: %w", err)
		}
		if len(page) == 0 {
			break
		}
		for _, s := range page {
			have[s.id] = s.box
		}
		after = page[len(page)-1].id
	}
	for _, s := range batch {
		box, ok := have[s.id]
		if !ok {
			missing = append(missing, s)
		} else if !sameKey(v, box, from, s.box, "subject", string(s.id[:])) {
			return nil, fmt.Errorf("the subject key %s differs in the two vaults: one of them is damaged", s.id)
		}
	}
	return missing, nil
}

// rewrapped is a key of one vault as the other has it. It is the same box, unless that is under a master key
// of a rotation, or damaged.
func rewrapped(from, to *Vault, box []byte, kind string, names ...string) wrappedKey {
	under := to.ring.current()
	if _, err := under.unwrap(box, kind, names...); err != nil {
		if key, err := from.open(box, kind, names...); err == nil {
			return wrappedKey{under.wrapped(key, kind, names...), under.number}
		}
	}
	return wrappedKey{box, under.number}
}

func sameMaster(w *wrapping, other *Vault) error {
	if other != nil && subtle.ConstantTimeCompare(w.check, other.ring.current().check) != 1 {
		return errors.New("the two vaults have different master keys: a copy is made under the master key file of the vault that it is a copy of. After `chirograph vault rotate`, copy into a new folder (of a backup: --keys)")
	}
	return nil
}

func (v *Vault) sameMeta(other *Vault) error {
	if subtle.ConstantTimeCompare(v.pseudonym, other.pseudonym)&subtle.ConstantTimeCompare(v.digest, other.digest) != 1 {
		return errors.New("this vault was not made as a copy of the other one: its pseudonyms are different, so no key of the other one would be found in it")
	}
	return nil
}
