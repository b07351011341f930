package agreement

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// history is one ledger's events, a partition each, as a test writes them.
type history struct {
	id     string
	events map[event.Partition][]string
}

func (h history) known() ledger.Known {
	k := ledger.Known{Ledger: h.id, Heads: map[event.Partition]ledger.Head{}}
	for p, events := range h.events {
		k.Heads[p] = ledger.Head{Next: int64(len(events)), Hash: sha256.Sum256([]byte(events[len(events)-1]))}
	}
	return k
}

func (h history) side() LedgerSide {
	return LedgerSide{Side: Side{Known: h.known()}, Bound: "right", Hash: func(at event.Position) ([32]byte, error) {
		return sha256.Sum256([]byte(h.events[at.Partition][at.Index])), nil
	}}
}

// cut is the history up to n events of the recipients' partition.
func (h history) cut(n int) history {
	h.events = maps.Clone(h.events)
	h.events[3] = h.events[3][:n]
	return h
}

var (
	whole = history{"led-1", map[event.Partition][]string{event.ControlPartition: {"created", "programs"}, 3: {"submit", "decided", "started", "stop"}}}
	// other went on differently after "decided".
	other   = history{"led-1", map[event.Partition][]string{event.ControlPartition: {"created", "programs"}, 3: {"submit", "decided", "denied", "more", "and more"}}}
	foreign = history{"led-2", map[event.Partition][]string{event.ControlPartition: {"created 2"}, 3: {"x", "y"}}}
)

// question is that of a ledger whose stores know all of it.
func question() *Question {
	return &Question{Ledger: whole.side(), Vault: VaultSide{Side: Side{Known: whole.known()}, Fingerprint: "right", Used: true},
		Views: Side{Known: whole.known()}, Head: Side{Known: whole.known()}, Alone: true}
}

func TestCompare(t *testing.T) {
	nothing := Side{State: Absent}
	noLedger := LedgerSide{Side: nothing}
	for _, c := range []struct {
		name  string
		set   func(q *Question)
		err   error
		says  string // in the refusal
		aside string // in why the views are set aside
		isNew bool
		lost  string
	}{
		{name: "all know the same", set: func(*Question) {}},
		{name: "all stores are behind", set: func(q *Question) {
			q.Vault.Known, q.Views.Known, q.Head.Known = whole.cut(1).known(), whole.cut(2).known(), whole.cut(3).known()
		}},
		{name: "stores of an older version know nothing", set: func(q *Question) {
			q.Vault.Known, q.Views.Known, q.Head = ledger.Known{}, ledger.Known{Heads: whole.known().Heads}, nothing
			q.Ledger.Bound = ""
		}},
		{name: "the ledger is older than the views", set: func(q *Question) { q.Ledger = whole.cut(2).side(); q.Vault.Known, q.Head = ledger.Known{}, nothing },
			err: ErrLost, says: "the views know the events 03-2 to 03-3", lost: "03 2-4 views"},
		{name: "the ledger is older than the vault", set: func(q *Question) { q.Ledger = whole.cut(3).side(); q.Views, q.Head = nothing, nothing },
			err: ErrLost, says: "the vault knows the events 03-3 to 03-3", lost: "03 3-4 vault"},
		{name: "the ledger is older than the head file", set: func(q *Question) {
			q.Ledger = whole.cut(3).side()
			q.Vault.Known, q.Views.Known = whole.cut(3).known(), whole.cut(2).known()
		}, err: ErrLost, says: "chirograph recover", lost: "03 3-4 head file"},
		{name: "the ledger is older than the views' head file, and all else is older too", set: func(q *Question) {
			old := whole.cut(2)
			q.Ledger, q.Vault.Known, q.Head.Known = old.side(), old.known(), old.known()
			q.Views, q.ViewsHead = Side{State: Shortened, Known: whole.cut(1).known()}, Side{Known: whole.known()}
		}, err: ErrLost, says: "the head file of the views knows", lost: "03 2-4 head file of the views"},
		{name: "the views' head file of another ledger says nothing", set: func(q *Question) { q.ViewsHead.Known = foreign.known() }},
		{name: "a cluster's ledger is older than its database", set: func(q *Question) { q.Ledger = whole.cut(3).side(); q.Head, q.Alone = nothing, false },
			err: ErrLost, says: "Keep the database", lost: "03 3-4 vault; 03 3-4 views"},
		{name: "the ledger went another way", set: func(q *Question) { q.Ledger = other.side() },
			err: ErrLost, says: "another event at 03-3", lost: "03 0-4 vault differs; 03 0-4 head file differs; 03 0-4 views differs"},
		{name: "views that are lost need not be set aside where events are missing", set: func(q *Question) {
			q.Ledger = whole.cut(2).side()
			q.Views = Side{State: Unreadable, Why: errors.New("cut")}
		},
			err: ErrLost, lost: "03 2-4 vault; 03 2-4 head file"},
		{name: "views are damaged", set: func(q *Question) { q.Views = Side{State: Unreadable, Why: errors.New("the first page is damaged")} }, aside: "first page"},
		{name: "views lost their write-ahead file", set: func(q *Question) { q.Views = Side{State: Shortened, Known: whole.cut(1).known()} }, aside: "write-ahead"},
		{name: "views of another ledger, in a file", set: func(q *Question) { q.Views.Known = foreign.known() }, aside: "led-2"},
		{name: "views of another ledger, in a file, beside our head file", set: func(q *Question) { q.Views = Side{State: Shortened, Known: foreign.known()} }, aside: "led-2"},
		{name: "views of another ledger, in a database", set: func(q *Question) { q.Views.Known = foreign.known(); q.Alone = false }, err: errOtherViews, says: "led-2"},
		{name: "no views", set: func(q *Question) { q.Views = nothing }},
		{name: "a head file of another ledger says nothing", set: func(q *Question) { q.Head.Known = foreign.known() }},
		{name: "another vault", set: func(q *Question) { q.Vault.Fingerprint = "wrong" }, err: errOtherVault, says: "fingerprint right"},
		{name: "another ledger beside the vault", set: func(q *Question) { q.Ledger = foreign.side() }, err: errOtherVault, says: "belongs to the ledger led-1, and this is the ledger led-2"},
		{name: "no vault", set: func(q *Question) { q.Vault = VaultSide{Side: nothing} }, err: errNoVault, says: "from its backup"},
		{name: "the vault is damaged", set: func(q *Question) {
			q.Vault = VaultSide{Side: Side{State: Unreadable, Why: errors.New("a key is damaged")}}
		}, err: errBadVault, says: "a key is damaged"},
		{name: "the vault's master key is missing", set: func(q *Question) {
			q.Vault = VaultSide{Side: Side{State: Unreadable, Why: errors.New("the master key is missing")}, Locked: true}
		}, err: errLocked, says: "the master key is missing. Leave the vault as it is"},
		{name: "the ledger is damaged", set: func(q *Question) {
			q.Ledger = LedgerSide{Side: Side{State: Unreadable, Why: errors.New("its first page is damaged")}}
		}, err: errDamaged, says: "first page"},
		{name: "the ledger is missing", set: func(q *Question) { q.Ledger = noLedger }, err: errNoLedger, says: "the vault knows the ledger led-1, with 6 events"},
		{name: "the ledger is missing, and the vault", set: func(q *Question) { q.Ledger = noLedger; q.Vault = VaultSide{Side: nothing} }, err: errNoLedger, says: "the views know"},
		{name: "only the head file is left", set: func(q *Question) { q.Ledger = noLedger; q.Vault = VaultSide{Side: nothing}; q.Views = nothing }, err: errNoLedger, says: "the head file knows"},
		{name: "the ledger is missing beside a used vault of an older version", set: func(q *Question) {
			q.Ledger, q.Views, q.Head = noLedger, nothing, nothing
			q.Vault.Known = ledger.Known{}
		}, err: errNoLedger, says: "was used"},
		{name: "a new ledger was made beside the vault of another", set: func(q *Question) {
			q.Ledger = LedgerSide{Side: Side{Known: ledger.Known{Ledger: "led-3"}}}
			q.Vault.Known, q.Vault.Used, q.Views, q.Head = ledger.Known{Ledger: "led-1"}, false, nothing, nothing
		}, err: errNoLedger, says: "led-1"},
		{name: "nothing is there", set: func(q *Question) {
			*q = Question{Ledger: noLedger, Vault: VaultSide{Side: nothing}, Views: nothing, Head: nothing}
		}, isNew: true},
		{name: "a first start was killed before the first event", set: func(q *Question) {
			*q = Question{Ledger: LedgerSide{Side: Side{Known: ledger.Known{Ledger: "led-1"}}}, Vault: VaultSide{Side: Side{Known: ledger.Known{Ledger: "led-1"}}, Fingerprint: "right"}, Views: nothing, Head: nothing}
		}, isNew: true},
		{name: "a first start was killed while it made the views", set: func(q *Question) {
			*q = Question{Ledger: LedgerSide{Side: Side{Known: ledger.Known{Ledger: "led-1"}}}, Vault: VaultSide{Side: nothing}, Views: Side{State: Unreadable, Why: errors.New("half made")}, Head: nothing}
		}, isNew: true, aside: "half made"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := question()
			c.set(q)
			a, err := Compare(q)
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Fatalf("the answer is %v, and should be %v", err, c.err)
			}
			if err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "log init")) {
				t.Errorf("the refusal says %q", err)
			}
			if aside := fmt.Sprint(a.Aside); c.aside == "" && a.Aside != nil || c.aside != "" && !strings.Contains(aside, c.aside) {
				t.Errorf("the views are set aside: %s", aside)
			}
			if a.New != c.isNew {
				t.Errorf("new: %t", a.New)
			}
			var lost []string
			for _, l := range a.Lost {
				s := fmt.Sprintf("%s %d-%d %s", l.Partition, l.From, l.To, l.By)
				if l.Differs {
					s += " differs"
				}
				lost = append(lost, s)
			}
			if got := strings.Join(lost, "; "); got != c.lost {
				t.Errorf("lost: %s; should be %s", got, c.lost)
			}
		})
	}
}
