package reading

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// maxCheck is how many numbers one check takes.
const maxCheck = 10_000

// OptOut is one that stands.
type OptOut struct {
	Event    event.ID       `json:"event"`
	Position event.Position `json:"position"`
	Reach    event.Reach    `json:"reach"`
	Source   event.Source   `json:"source"`
	// Since is when it became known here, the first time if it was repeated. Occurred is when the
	// person said so; zero: at that time.
	Since    time.Time `json:"since"`
	Occurred time.Time `json:"occurred,omitzero"`
	Unclear  bool      `json:"unclear,omitempty"`
	// To is our number that it came to; "" if it came to none, or before format level 2.
	To string `json:"to,omitempty"`
	// Repeats is how many older opt-outs of the same reach it took the place of.
	Repeats int `json:"repeats,omitempty"`
}

// Said is when the person said so.
func (o *OptOut) Said() time.Time {
	if o.Occurred.IsZero() {
		return o.Since
	}
	return o.Occurred
}

// programs tells what a program is registered for.
type programs interface {
	// Program is a *ledger.Refusal when there is none of that name.
	Program(ctx context.Context, c ledger.Caller, name string) (*control.ProgramView, error)
}

// Check asks who of some numbers opted out. Without a program and a sender every
// opt-out counts.
type Check struct {
	Numbers []string // in E.164, 1 to 10,000
	Program string
	Sender  string
}

// Checked is the answer to a check.
type Checked struct {
	// Standing are the opt-outs that stand and count, for each number, in order.
	Standing [][]OptOut
	// Unknown says, for each number, why it is not known that no opt-out stands; "" where it is known, or
	// where one stands.
	Unknown []Unknown
	// AsOf are the last positions that the answer includes, one a partition.
	AsOf []event.Position
}

// CheckOptOuts tells who opted out of what a check asks about. It leans towards a
// yes: an opt-out is left out only where it plainly names something else. It says no
// only where the views hold everything that the log had when the check was asked; it
// waits for that for 2 s at most, and for what they do not hold then the answer is unknown. What is
// wrong with a check is a *ledger.Refusal.
func (r *Reader) CheckOptOuts(ctx context.Context, c ledger.Caller, ask Check) (Checked, error) {
	if n := len(ask.Numbers); n == 0 || n > maxCheck {
		return Checked{}, &ledger.Refusal{Code: "too_many", Field: "/numbers", Text: "Give 1 to 10,000 numbers."}
	}
	asked, err := r.asked(ctx, c, ask)
	if err != nil {
		return Checked{}, err
	}
	subjects := make([]event.Pseudonym, len(ask.Numbers))
	for i, text := range ask.Numbers {
		n, err := sms.ParseAny(text, "")
		if err != nil {
			return Checked{}, refuseNumber("/numbers/"+strconv.Itoa(i), err)
		}
		subjects[i] = r.p.Vault.Pseudonym(c.Tenant, string(n))
	}
	partition := func(i int) event.Partition { return event.Partition(subjects[i].Partition(r.p.Log.Partitions())) }
	partitions := map[event.Partition]bool{}
	for i := range subjects {
		partitions[partition(i)] = true
	}
	brief, cancel := r.p.Wait(ctx, knowWithin)
	heads := r.p.heads(brief, partitions)
	r.p.reach(brief, heads)
	cancel()
	rows, asOf, err := r.p.Views.OptOuts(ctx, c.Tenant, subjects)
	if err != nil {
		return Checked{}, err
	}
	reached := map[event.Partition]int64{}
	for _, p := range asOf {
		reached[p.Partition] = p.Index + 1
	}
	unknown := make([]Unknown, len(rows))
	for i := range rows {
		if rows[i] = asked.counting(rows[i]); len(rows[i]) > 0 {
			continue
		}
		switch head, asked := heads[partition(i)]; {
		case !asked:
			unknown[i] = UnknownLog
		case reached[partition(i)] < head:
			unknown[i] = UnknownBehind
		}
	}
	return Checked{Standing: rows, Unknown: unknown, AsOf: asOf}, nil
}

// asked works out what a check names: the program's legal entity, and its senders
// unless the check names one.
func (r *Reader) asked(ctx context.Context, c ledger.Caller, ask Check) (named, error) {
	n := named{program: ask.Program}
	if ask.Sender != "" {
		sender, err := sms.ParseSender(ask.Sender)
		if err != nil {
			return n, &ledger.Refusal{Code: "invalid_sender", Field: "/sender", Text: "A sender ID is a number in E.164 with its plus sign, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter."}
		}
		n.senders = []string{string(sender)}
	}
	if ask.Program != "" {
		p, err := r.p.Programs.Program(ctx, c, ask.Program)
		if err != nil {
			var refusal *ledger.Refusal
			if errors.As(err, &refusal) && refusal.Field == "" {
				return n, &ledger.Refusal{Code: refusal.Code, Field: "/program", Text: refusal.Text, Status: refusal.Status}
			}
			return n, err
		}
		n.entity = p.Program.LegalEntity
		if n.senders == nil {
			n.senders = p.Program.Senders
		}
	}
	return n, nil
}

// named is what a check names. An empty field names nothing, and leaves no opt-out out.
type named struct {
	program, entity string
	senders         []string
}

// counting are the opt-outs that count.
func (n *named) counting(all []OptOut) []OptOut {
	other := func(o OptOut) bool { return !n.covers(o.Reach) }
	if !slices.ContainsFunc(all, other) {
		return all
	}
	return slices.DeleteFunc(slices.Clone(all), other) // the views may keep theirs
}

// covers reports whether an opt-out of this reach counts.
func (n *named) covers(r event.Reach) bool {
	switch r.Scope {
	case event.ScopeSender:
		return n.senders == nil || slices.ContainsFunc(n.senders, func(s string) bool { return control.SenderForm(s) == control.SenderForm(r.Name) })
	case event.ScopeProgram:
		return n.program == "" || n.program == r.Name
	case event.ScopeLegalEntity:
		return n.entity == "" || control.EntityForm(n.entity) == control.EntityForm(r.Name)
	}
	return true
}

// refuseNumber points what is wrong with a number to its field.
func refuseNumber(field string, err error) error {
	var n *sms.NumberError
	if errors.As(err, &n) {
		return &ledger.Refusal{Code: n.Code, Field: field, Text: n.Detail}
	}
	return err
}
