package control

import (
	"maps"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// Epoch is what control says of the ledger as a whole: the vault that it is bound to, and the epoch that
// it is in. It never changes.
type Epoch struct {
	// Vault is the event that bound the ledger to its vault; nil for a ledger that is not bound.
	Vault *event.VaultBound
	// Number is 1 until the ledger is recovered or restored.
	Number int
	// Began is the event that began the epoch, at At; nil in epoch 1.
	Began *event.EpochBegan
	At    time.Time

	all      bool // all programs are released
	released map[programOf]bool
}

// programOf is a program by its tenant and name; an empty name is all programs of the tenant.
type programOf struct{ tenant, name string }

// Epoch is the ledger's epoch, and its vault.
func (r *Registry) Epoch() Epoch {
	e := r.epoch
	e.Number = max(1, e.Number)
	return e
}

// Holds says whether nothing may be sent of a program, because the ledger was recovered or restored and
// the operator has not released the program since.
func (e Epoch) Holds(tenant, program string) bool {
	return e.Began != nil && !e.all && !e.released[programOf{tenant, ""}] && !e.released[programOf{tenant, program}]
}

// Held are the programs of a registry that the epoch holds, by tenant and name.
func (e Epoch) Held(r *Registry) (out []*Program) {
	if e.Began == nil || e.all {
		return nil
	}
	for _, tenant := range r.Tenants() {
		for _, p := range r.Programs(tenant) {
			if e.Holds(tenant, p.Name) {
				out = append(out, p)
			}
		}
	}
	return out
}

// apply returns the epoch after an event; false if the event changes nothing.
func (e Epoch) apply(x *event.Event) (Epoch, bool) {
	switch d := x.Data.(type) {
	case *event.VaultBound:
		if e.Vault != nil {
			return e, false
		}
		e.Vault = d
	case *event.EpochBegan:
		if d.Epoch != e.Number+1 {
			return e, false
		}
		e = Epoch{Vault: e.Vault, Number: d.Epoch, Began: d, At: x.Time}
	case *event.EpochReleased:
		if e.Began == nil || d.Epoch != e.Number {
			return e, false
		}
		if x.Tenant == "" {
			e.all = true
			return e, true
		}
		released := maps.Clone(e.released)
		if released == nil {
			released = map[programOf]bool{}
		}
		released[programOf{x.Tenant, d.Program}] = true
		e.released = released
	}
	return e, true
}
