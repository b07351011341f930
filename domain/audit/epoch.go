package audit

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// epochs are the vault that the ledger is bound to, and its epochs, by control position. As in the rest of control,
// nothing here is asked of the fold that the nodes use.
type epochs struct {
	vault *event.VaultBound
	began []epoch
}

// epoch begins at the position from and holds every program that was not released since. The first one,
// which holds nothing, is not in the list.
type epoch struct {
	from     int64
	number   int
	began    time.Time
	lost     []string // the partitions that lost events; none: it is not known
	releases []release
}

// release ends what an epoch holds of a program, from a position on. An empty program is all of the tenant's; an
// empty tenant is all of them.
type release struct {
	from            int64
	tenant, program string
}

// number is the epoch that the ledger is in.
func (s *epochs) number() int {
	if n := len(s.began); n > 0 {
		return s.began[n-1].number
	}
	return 1
}

// take applies a control event. An epoch that is not the next one, a release of another epoch and a second binding
// change nothing.
func (s *epochs) take(at int64, e *event.Event) {
	switch d := e.Data.(type) {
	case *event.VaultBound:
		if s.vault == nil {
			s.vault = d
		}
	case *event.EpochBegan:
		if d.Epoch == s.number()+1 {
			x := epoch{from: at, number: d.Epoch, began: e.Time}
			for _, l := range d.Lost {
				x.lost = append(x.lost, l.Partition)
			}
			s.began = append(s.began, x)
		}
	case *event.EpochReleased:
		if n := len(s.began); n > 0 && d.Epoch == s.number() {
			r := release{at, e.Tenant, d.Program}
			if e.Tenant == "" {
				r.program = ""
			}
			s.began[n-1].releases = append(s.began[n-1].releases, r)
		}
	}
}

// at is the epoch that was in force at a control position; nil in the first, which nothing began.
func (s *epochs) at(at int64) (in *epoch) {
	for i := range s.began {
		if s.began[i].from <= at {
			in = &s.began[i]
		}
	}
	return in
}

// held is the epoch that, at a control position, keeps a program's messages from being sent; nil if there is none.
func (s *epochs) held(at int64, tenant, program string) *epoch {
	in := s.at(at)
	if in == nil {
		return nil
	}
	for _, r := range in.releases {
		if r.from <= at && (r.tenant == "" || r.tenant == tenant && (r.program == "" || r.program == program)) {
			return nil
		}
	}
	return in
}

// lineage checks the vault and the epochs of a ledger. It adds its findings to its pass's report.
type lineage struct{ *Pass }

// follow checks that a control event of the ledger's vault and epochs can be one. Two operators may begin the same
// epoch, or bind the same vault, at the same time: the second event changes nothing.
func (v lineage) follow(index int64, e *event.Event) {
	if v.control.applied[e.ID] {
		return
	}
	s := &v.control.epochs
	switch d := e.Data.(type) {
	case *event.VaultBound:
		if s.vault != nil && (s.vault.Vault != d.Vault || s.vault.Development != d.Development) {
			v.find(index, 0, VaultOther, "the ledger is bound to the vault %.40q, and it is bound to another already (%.40q): it changes nothing, but two vaults were used beside this ledger", d.Vault, s.vault.Vault)
		}
	case *event.EpochBegan:
		if now := s.number(); d.Epoch != now+1 && (d.Epoch != now || now == 1) {
			v.find(index, 0, EpochUnknown, "the epoch %d begins in the epoch %d: epochs go up by one", d.Epoch, now)
		}
	case *event.EpochReleased:
		if now := s.number(); d.Epoch < 2 || d.Epoch > now {
			v.find(index, 0, EpochUnknown, "a program is released in the epoch %d, and the ledger is in the epoch %d", d.Epoch, now)
		}
	}
}
