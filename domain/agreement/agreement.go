// Package agreement compares a ledger with the stores beside it: the vault, the views, and the file that
// the embedded log keeps of its own head. Each knows how far the ledger went when it last saw it. Whoever
// knows more than the ledger shows that the ledger has lost events, and is never overwritten; what is
// merely behind is brought up to date. The package reads nothing and changes nothing: it says what is
// right to do, and why.
package agreement

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Store is a store beside the ledger.
type Store string

// The stores. HeadFile is the file beside the embedded log.
const (
	Vault    Store = "vault"
	Views    Store = "views"
	HeadFile Store = "head file"
	// ViewsHead is the file beside the views that says how far they were folded.
	ViewsHead Store = "head file of the views"
)

// knows is the store with its verb, at the beginning of a clause.
func (s Store) knows() string {
	if s == Views {
		return "the views know"
	}
	return "the " + string(s) + " knows"
}

// State says what a look at a store found.
type State int

// The states of a store.
const (
	// Present: it can be read, and Known is what it knows.
	Present State = iota
	// Absent: it is not there, or is an empty file.
	Absent
	// Unreadable: it is there, and is damaged, or belongs to another program. Why says it.
	Unreadable
	// Shortened: it can be read, but lost what it had written before its process ended.
	Shortened
)

// Side is one store, as a look at it found it.
type Side struct {
	State State
	Known ledger.Known
	// Why says why it is unreadable.
	Why error
}

// VaultSide is the vault, as a look at it found it.
type VaultSide struct {
	Side
	// Fingerprint is that of its pseudonym key; "" if the vault is not present.
	Fingerprint string
	// Used: data was sealed under its keys.
	Used bool
	// Locked: it is there, and cannot be opened, because of its master key or of its format. Why says it.
	Locked bool
}

// LedgerSide is the ledger, as a look at it found it.
type LedgerSide struct {
	Side
	// Bound is the fingerprint of the vault that the ledger was bound to; "" if it is not bound.
	Bound string
	// Hash returns the SHA-256 of the exact bytes of the event at a position below the head.
	Hash func(at event.Position) ([32]byte, error)
}

// Question is what is compared.
type Question struct {
	Ledger LedgerSide
	Vault  VaultSide
	Views  Side
	// Head is the head file. It is Absent where the engine has none.
	Head Side
	// ViewsHead is the views' head file. It is Absent where the engine has none.
	ViewsHead Side
	// Alone: the views are files of this ledger alone, so that views which do not belong to it are set
	// aside. Otherwise nodes share a database, and views of another ledger mean that the database is
	// another's.
	Alone bool
}

// Answer is what is right to do.
type Answer struct {
	// New: there is nothing yet; a new ledger and its vault may be made.
	New bool
	// Aside says why the views are to be set aside and folded anew; nil if they are not.
	Aside error
	// Lost are the events that a store knows and the ledger lacks. It is empty unless the answer refuses.
	Lost []Lost
}

// Lost are the events of one partition that the ledger lacks, as one store knows them: those from the
// index From to before To.
type Lost struct {
	Partition event.Partition
	From, To  int64
	// Hash is the hash of the event at To-1.
	Hash [32]byte
	By   Store
	// Differs: the ledger has another event than the store at To-1. Then From is 0, because it is not known
	// from where on the two differ.
	Differs bool
}

// The errors by which Compare refuses.
var (
	ErrLost       = errors.New("the ledger has lost events that were acknowledged")
	errNoLedger   = errors.New("there is no ledger here, but there is what belongs to one")
	errDamaged    = errors.New("the ledger cannot be read")
	errNoVault    = errors.New("the vault is missing")
	errOtherVault = errors.New("the vault belongs to another ledger")
	errLocked     = errors.New("the vault cannot be opened")
	errBadVault   = errors.New("the vault cannot be read")
	errOtherViews = errors.New("the views in this database belong to another ledger")
)

// refusal is one of the errors with a sentence that says what to do.
type refusal struct {
	kind error
	text string
}

func (r *refusal) Error() string { return r.text }
func (r *refusal) Unwrap() error { return r.kind }

func refuse(kind error, format string, a ...any) error {
	return &refusal{kind, kind.Error() + ": " + fmt.Sprintf(format, a...)}
}

// Compare says what is right to do. An error is the refusal to serve, and says in words what contradicts
// what and what to do. The error of a read of the ledger is returned as it is.
func Compare(q *Question) (a Answer, err error) {
	if q.Ledger.State == Unreadable {
		return a, refuse(errDamaged, "%v. Restore it from the newest backup with `chirograph restore`. The vault and the views stay as they are.", q.Ledger.Why)
	}
	if q.Vault.Locked {
		return a, refuse(errLocked, "%v. Leave the vault as it is.", q.Vault.Why)
	}
	if q.Vault.State == Unreadable {
		return a, refuse(errBadVault, "%v. Put the newest copy of the vault back. The ledger stays as it is.", q.Vault.Why)
	}
	if !begun(&q.Ledger) {
		return q.beginning()
	}
	if err := q.vault(); err != nil {
		return a, err
	}
	return q.compare()
}

// begun reports whether a ledger has its first event.
func begun(l *LedgerSide) bool {
	return l.State == Present && l.Known.Heads[event.ControlPartition].Next > 0
}

// beginning is Compare where there is no ledger yet, or one without its first event: a first start, or one
// that was killed, or a ledger that was lost.
func (q *Question) beginning() (Answer, error) {
	for _, s := range []struct {
		store Store
		side  *Side
	}{{Vault, &q.Vault.Side}, {Views, &q.Views}, {HeadFile, &q.Head}, {ViewsHead, &q.ViewsHead}} {
		k := s.side.Known
		if k.Ledger == "" || k.Ledger == q.Ledger.Known.Ledger {
			k.Ledger = "one ledger"
		} else {
			k.Ledger = "the ledger " + k.Ledger
		}
		other := q.Ledger.State == Present && s.side.Known.Ledger != "" && s.side.Known.Ledger != q.Ledger.Known.Ledger
		if n := reached(k); n > 0 || other {
			return Answer{}, refuse(errNoLedger, "%s %s, with %d events. Put that ledger back where it was, or restore it from a backup with `chirograph restore`. Do not begin a new one beside it: people who opted out would be texted.",
				s.store.knows(), k.Ledger, n)
		}
	}
	if q.Vault.Used {
		return Answer{}, refuse(errNoLedger, "the vault was used with a ledger. Put that ledger back where it was, or restore it from a backup with `chirograph restore`. To begin a new ledger, choose another place.")
	}
	a := Answer{New: true}
	if q.Views.State == Unreadable {
		a.Aside = q.Views.Why
	}
	return a, nil
}

// reached is how many events a store knows of.
func reached(k ledger.Known) (n int64) {
	for _, h := range k.Heads {
		n += h.Next
	}
	return n
}

// vault compares the ledger with its vault's keys and name.
func (q *Question) vault() error {
	v := &q.Vault
	switch {
	case v.State == Absent:
		return refuse(errNoVault, "put the vault of the ledger %s back from its backup. A new one would open nothing that was sealed, and would find no opt-out.", q.Ledger.Known.Ledger)
	case q.Ledger.Bound != "" && v.Fingerprint != q.Ledger.Bound:
		return refuse(errOtherVault, "the ledger %s was written with the vault that has the fingerprint %s, and this vault has %s. Put the right vault back, with its master key.",
			q.Ledger.Known.Ledger, q.Ledger.Bound, v.Fingerprint)
	case v.Known.Ledger != "" && v.Known.Ledger != q.Ledger.Known.Ledger:
		return refuse(errOtherVault, "the vault belongs to the ledger %s, and this is the ledger %s. Check the folder, or the prefix and the database, in the configuration.", v.Known.Ledger, q.Ledger.Known.Ledger)
	}
	return nil
}

// compare compares how far each store knows the ledger.
func (q *Question) compare() (a Answer, err error) {
	id := q.Ledger.Known.Ledger
	views := q.Views.Known
	switch {
	case views.Ledger != "" && views.Ledger != id && !q.Alone:
		return a, refuse(errOtherViews, "they belong to the ledger %s, and this is the ledger %s. Two ledgers cannot share a database. Check the prefix and the database in the configuration.", views.Ledger, id)
	case views.Ledger != "" && views.Ledger != id:
		a.Aside = fmt.Errorf("they belong to the ledger %s", views.Ledger)
		views = ledger.Known{}
	case q.Views.State == Unreadable:
		a.Aside = q.Views.Why
		views = ledger.Known{}
	case q.Views.State == Shortened:
		a.Aside = errors.New("the views lost what they had written last: their write-ahead file is missing, or was cut")
	}
	// A file of another ledger says nothing of this one.
	head, viewsHead := q.Head.Known, q.ViewsHead.Known
	if head.Ledger != id {
		head = ledger.Known{}
	}
	if viewsHead.Ledger != id {
		viewsHead = ledger.Known{}
	}
	for _, s := range []struct {
		store Store
		known ledger.Known
	}{{Vault, q.Vault.Known}, {HeadFile, head}, {Views, views}, {ViewsHead, viewsHead}} {
		lost, err := q.lost(s.store, s.known)
		if err != nil {
			return Answer{}, err
		}
		a.Lost = append(a.Lost, lost...)
	}
	if len(a.Lost) > 0 {
		a.Aside = nil
		what := "If the newest files of this ledger are somewhere, put them back. Otherwise `chirograph recover` shows what is missing and what is still known of it, and lets the ledger go on."
		if !q.Alone {
			what = "Keep the database: it knows more. If a newer copy of the topics or streams is somewhere, bring it back (`chirograph log copy`). Otherwise restore the newest backup beside it, to other topics and another database (`chirograph restore`)."
		}
		return a, refuse(ErrLost, "%s. Nothing was changed. %s", Sentence(a.Lost), what)
	}
	return a, nil
}

// lost is what a store knows of the ledger that the ledger lacks.
func (q *Question) lost(by Store, k ledger.Known) (out []Lost, err error) {
	for p, h := range k.Heads {
		if h.Next == 0 {
			continue
		}
		have := q.Ledger.Known.Heads[p].Next
		if h.Next > have {
			out = append(out, Lost{Partition: p, From: have, To: h.Next, Hash: h.Hash, By: by})
			continue
		}
		hash, err := q.Ledger.Hash(event.Position{Partition: p, Index: h.Next - 1})
		if err != nil {
			return nil, err
		}
		if hash != h.Hash {
			out = append(out, Lost{Partition: p, To: h.Next, Hash: h.Hash, By: by, Differs: true})
		}
	}
	slices.SortFunc(out, func(a, b Lost) int { return int(a.Partition) - int(b.Partition) })
	return out, nil
}

// maxNamed is how many partitions Sentence names.
const maxNamed = 4

// Sentence says in words what is missing.
func Sentence(lost []Lost) string {
	var named []string
	for i, l := range lost {
		if i == maxNamed {
			named = append(named, fmt.Sprintf("and %d more", len(lost)-maxNamed))
			break
		}
		if l.Differs {
			named = append(named, fmt.Sprintf("%s another event at %s than the ledger has: the two went different ways before that", l.By.knows(),
				event.Position{Partition: l.Partition, Index: l.To - 1}))
			continue
		}
		named = append(named, fmt.Sprintf("%s the events %s to %s, and the ledger ends before them", l.By.knows(),
			event.Position{Partition: l.Partition, Index: l.From}, event.Position{Partition: l.Partition, Index: l.To - 1}))
	}
	return strings.Join(named, "; ")
}
