package control

import (
	"context"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// PauseRequest asks for a pause or its end. It covers one program of the caller's tenant, one
// carrier account, or, if both are empty, everything that the tenant sends.
type PauseRequest struct {
	Program string
	Carrier string
	Reason  string
}

// Pausing is the answer to a pause or a resume.
type Pausing struct {
	Event    event.ID
	Position event.Position
	// InForce is how many partitions have applied it. Only those that have stopped have not, and
	// a stopped partition calls no carrier.
	InForce int
}

// Pause stops the messages that the request covers. It returns when the pause is in force in
// every partition, and every earlier start that it covers was answered or is past its call_by.
func (k *Commands) Pause(ctx context.Context, c ledger.Caller, r *PauseRequest) (*Pausing, error) {
	if err := k.checkPause(c, r); err != nil {
		return nil, err
	}
	d := &event.Paused{Program: r.Program, Carrier: r.Carrier, Reason: r.Reason, By: c.Key}
	tenant := pauseTenant(c, r)
	pos, err := k.change(ctx, tenant, d)
	if err != nil {
		return nil, err
	}
	if err := k.partitions.WaitUncalled(ctx, pos.Index+1, d, tenant); err != nil {
		return nil, ledger.ErrUnknown
	}
	return k.pausing(pos), nil
}

// Resume ends the pause of exactly the same program and carrier. If there is none, it refuses.
func (k *Commands) Resume(ctx context.Context, c ledger.Caller, r *PauseRequest) (*Pausing, error) {
	if err := checkReason(r); err != nil {
		return nil, err
	}
	reg, _ := k.control.Latest()
	tenant := pauseTenant(c, r)
	if !slices.ContainsFunc(reg.Pauses(), func(p *Pause) bool {
		return p.Tenant == tenant && p.Program == r.Program && p.Carrier == r.Carrier
	}) {
		return nil, &ledger.Refusal{Code: "not_paused", Status: ledger.Conflict, Text: "No pause of exactly this program and carrier (or, without both, of everything) is in force."}
	}
	pos, err := k.change(ctx, tenant, &event.Resumed{Program: r.Program, Carrier: r.Carrier, Reason: r.Reason, By: c.Key})
	if err != nil {
		return nil, err
	}
	return k.pausing(pos), nil
}

// pauseTenant is the tenant of a pause: the caller's, or "" for a pause of a carrier account,
// since all tenants share it.
func pauseTenant(c ledger.Caller, r *PauseRequest) string {
	if r.Carrier != "" && r.Program == "" {
		return ""
	}
	return c.Tenant
}

func (k *Commands) pausing(pos event.Position) *Pausing {
	reg := k.control.At(pos.Index + 1)
	return &Pausing{Event: reg.Event, Position: pos, InForce: k.partitions.Running()}
}

func checkReason(r *PauseRequest) error {
	if r.Reason == "" {
		return refuse("reason_required", "/reason", "Say why, in 3 to 500 characters; it is shown on every held message, so do not write personal data.")
	}
	return ledger.CheckReason("/reason", r.Reason)
}

// checkPause refuses a pause of a program or a carrier that does not exist: its author would
// believe that it is in force. A resume is not checked so: a program or a route may be gone while
// its pause is in force.
func (k *Commands) checkPause(c ledger.Caller, r *PauseRequest) error {
	if err := checkReason(r); err != nil {
		return err
	}
	reg, _ := k.control.Latest()
	switch {
	case r.Program != "" && reg.Program(c.Tenant, r.Program) == nil:
		return refuse("unknown_program", "/program", "This tenant has no program with this name.")
	case r.Carrier != "" && !reg.Routes().Leads(r.Carrier):
		return refuse("unknown_carrier", "/carrier", "No route uses a carrier with this name.")
	}
	return nil
}
