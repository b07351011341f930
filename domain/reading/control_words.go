package reading

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// controlWords puts one control event into words.
type controlWords struct {
	x *controlItem
	// tenant is whose history it is; "": everybody's.
	tenant string
	// operator: the names of other tenants may be told.
	operator bool
	// knows reports whether the name of a program may be told.
	knows func(program string) bool
}

// describe fills in the sentence and what was changed.
func (w *controlWords) describe(v *ControlEntry) {
	switch d := w.x.event.Data.(type) {
	case *event.ProgramChanged:
		w.program(v, d)
	case *event.RoutesChanged:
		w.routes(v, d)
	case *event.PolicyActivated:
		var before event.PolicyActivated
		if p := w.x.before.Policy(); p != nil {
			before = *p
		}
		v.Changes = changed(v.Changes, "revision", before.Revision, d.Revision)
		v.Changes = changed(v.Changes, "digest", before.Digest, d.Digest)
		switch {
		case before.Digest == "":
			v.Sentence = "The policies " + d.Revision + " were put into force, the first of this ledger."
		case len(v.Changes) == 0:
			v.Sentence = "The policies " + d.Revision + " were put into force once more; nothing changed."
		case before.Revision == d.Revision:
			v.Sentence = "The policies " + d.Revision + " were put into force with other contents than before under the same name."
		default:
			v.Sentence = "The policies " + d.Revision + " were put into force, in place of " + before.Revision + "."
		}
	case *event.Paused:
		w.paused(v)
	case *event.Resumed:
		w.resumed(v)
	case *event.OwnerGranted:
		w.owner(v, d)
	case *event.LevelRaised:
		before, after := w.x.before.Level(), w.x.after.Level()
		if v.Sentence = fmt.Sprintf("The ledger's format level was raised from %d to %d.", before, after); before == after {
			v.Sentence = fmt.Sprintf("Raising the ledger's format level to %d changed nothing: it is %d.", d.Level, before)
			return
		}
		v.Changes = changed(v.Changes, "level", strconv.Itoa(before), strconv.Itoa(after))
	case *event.VaultBound:
		v.Sentence = "The ledger was bound to its vault: a node with another vault refuses to serve it."
	case *event.EpochBegan:
		if v.Sentence = fmt.Sprintf("The ledger went on in epoch %d, after a loss: nothing is sent of a program until it is released.", d.Epoch); d.Cause == event.EpochRestored {
			v.Sentence = fmt.Sprintf("The ledger went on in epoch %d, restored from a backup: nothing is sent of a program until it is released.", d.Epoch)
		}
	case *event.EpochReleased:
		if v.Sentence = "All programs were released: their messages may be sent again."; d.Program != "" {
			v.Sentence = fmt.Sprintf("The program %s was released: its messages may be sent again.", d.Program)
		}
	case *event.LedgerCreated:
		v.Sentence = fmt.Sprintf("The ledger was created, with %d partitions, at format level 1.", d.Partitions)
	case *event.RecordAccepted:
		v.Sentence = "The record at " + d.Position + ", which is no event of this ledger, was accepted as it is: it is skipped, and proves nothing. Reason: " + d.Reason
	}
}

// changed adds a field if it changed.
func changed(all []ControlChange, field, before, after string) []ControlChange {
	if before == after {
		return all
	}
	return append(all, ControlChange{field, before, after})
}

// programFields are the fields of a registration: what a person calls them, and what is in force where
// nothing is registered.
var programFields = []struct {
	field, label, none string
	value              func(p *event.ProgramChanged) string
}{
	{"legal_entity", "legal entity", "none", func(p *event.ProgramChanged) string { return p.LegalEntity }},
	{"brand", "brand", "the legal entity's name", func(p *event.ProgramChanged) string { return p.Brand }},
	{"purposes", "purposes", "none", func(p *event.ProgramChanged) string { return strings.Join(p.Purposes, ", ") }},
	{"countries", "countries", "none", func(p *event.ProgramChanged) string {
		if slices.Equal(p.Countries, []string{"*"}) {
			return "all"
		}
		return strings.Join(p.Countries, ", ")
	}},
	{"senders", "senders", "none", func(p *event.ProgramChanged) string { return strings.Join(p.Senders, ", ") }},
	{"priority", "priority", "that of each purpose", func(p *event.ProgramChanged) string {
		if p.Priority == 0 {
			return ""
		}
		return strconv.Itoa(p.Priority)
	}},
	{"prefers_duplicate", "sending twice when in doubt", "not preferred", func(p *event.ProgramChanged) string {
		if p.PrefersDuplicate {
			return "preferred"
		}
		return ""
	}},
	{"help_text", "answer to HELP", "the standard text", func(p *event.ProgramChanged) string { return p.HelpText }},
	{"stop_text", "answer to STOP", "the standard text", func(p *event.ProgramChanged) string { return p.StopText }},
	{"start_text", "answer to START", "none", func(p *event.ProgramChanged) string { return p.StartText }},
	{"default", "default program", "no", func(p *event.ProgramChanged) string {
		if p.Default {
			return "yes"
		}
		return ""
	}},
}

func (w *controlWords) program(v *ControlEntry, d *event.ProgramChanged) {
	name := "Program " + d.Name
	if w.tenant == "" {
		name += " of tenant " + v.Tenant
	}
	before := w.x.before.Program(v.Tenant, d.Name)
	var said []string
	for _, f := range programFields {
		var was string
		if before != nil {
			was = f.value(before.ProgramChanged)
		}
		is := f.value(d)
		if was == is {
			continue
		}
		v.Changes = changed(v.Changes, f.field, was, is)
		quote := func(s string) string {
			switch {
			case s == "":
				return f.none
			case strings.HasSuffix(f.field, "_text"):
				return strconv.Quote(s)
			}
			return s
		}
		if before == nil {
			said = append(said, f.label+" "+quote(is))
			continue
		}
		verbs := [2]string{" was ", "; it is "}
		if strings.HasSuffix(f.label, "s") {
			verbs = [2]string{" were ", "; they are "}
		}
		said = append(said, f.label+verbs[0]+quote(was)+verbs[1]+quote(is))
	}
	switch {
	case before == nil:
		v.Sentence = name + " was registered: " + strings.Join(said, "; ") + "."
	case len(said) == 0:
		v.Sentence = name + " was registered once more; nothing changed."
	default:
		v.Sentence = name + ": " + sentences(said)
	}
	if other := w.x.before.Program(v.Tenant, ""); d.Default && other != nil && other.Name != d.Name {
		v.Sentence += " It took the place of program " + other.Name + " as the program of messages that name none."
	}
}

// sentences puts statements behind one another; the first goes on after a colon.
func sentences(said []string) string {
	for i := 1; i < len(said); i++ {
		said[i] = strings.ToUpper(said[i][:1]) + said[i][1:]
	}
	return strings.Join(said, ". ") + "."
}

// route is a route in words.
func (w *controlWords) route(r event.Route) string {
	countries, programs := "all countries", "all programs"
	if len(r.Countries) > 0 {
		countries = "countries " + strings.Join(r.Countries, ", ")
	}
	if len(r.Programs) > 0 {
		var names []string
		others := 0
		for _, p := range r.Programs {
			if w.knows(p) {
				names = append(names, p)
			} else {
				others++
			}
		}
		if others > 0 {
			names = append(names, "programs of other tenants")
		}
		programs = "programs " + strings.Join(names, ", ")
		if len(names) == 1 && others > 0 {
			programs = names[0]
		}
	}
	return "to carrier " + r.Carrier + " for " + countries + " and " + programs
}

// named are routes by name, in order. Names may repeat: the second of a name has "(2)" with it.
func (w *controlWords) named(routes []event.Route) (names []string, words map[string]string) {
	words = map[string]string{}
	for _, r := range routes {
		name := r.Rule
		for n := 2; words[name] != ""; n++ {
			name = r.Rule + " (" + strconv.Itoa(n) + ")"
		}
		names = append(names, name)
		words[name] = w.route(r)
	}
	return names, words
}

func (w *controlWords) routes(v *ControlEntry, d *event.RoutesChanged) {
	oldNames, old := w.named(w.x.before.Routes().Routes)
	names, now := w.named(d.Routes)
	var said []string
	for _, n := range names {
		switch was, is := old[n], now[n]; {
		case was == "":
			said = append(said, "route "+n+" was added, "+is)
		case was != is:
			said = append(said, "route "+n+" went "+was+"; it goes "+is)
		}
		v.Changes = changed(v.Changes, "route "+n, old[n], now[n])
	}
	for _, n := range oldNames {
		if now[n] == "" {
			said = append(said, "route "+n+" was removed; it went "+old[n])
			v.Changes = changed(v.Changes, "route "+n, old[n], "")
		}
	}
	if kept := intersection(oldNames, now); !slices.Equal(kept, intersection(names, old)) {
		before, after := strings.Join(oldNames, ", "), strings.Join(names, ", ")
		said = append(said, "the order in which they are tried was "+before+"; it is "+after)
		v.Changes = changed(v.Changes, "order", before, after)
	}
	if len(said) == 0 {
		v.Sentence = "The routes were set once more; nothing changed."
		return
	}
	v.Sentence = "The routes were changed: " + sentences(said)
}

// intersection are the names that also have words.
func intersection(names []string, words map[string]string) (out []string) {
	for _, n := range names {
		if words[n] != "" {
			out = append(out, n)
		}
	}
	return out
}

// scope says in words what a pause covers.
func (w *controlWords) scope(v *ControlEntry) string {
	return PauseScope(v.Tenant, v.Program, v.Carrier, w.tenant == "")
}

// PauseScope says in words what a pause covers, so that "was paused" can follow. No tenant is all of them, and no program and
// no carrier are all. With named the tenant of a program is named too.
func PauseScope(tenant, program, carrier string, named bool) string {
	whose := "of all tenants"
	if tenant != "" {
		whose = "of tenant " + tenant
	}
	out := "All sending " + whose
	if program != "" {
		out = "Sending of program " + program
		if named {
			out += " " + whose
		}
		if carrier != "" {
			out += " by carrier " + carrier
		}
	} else if carrier != "" {
		out = "Sending by carrier " + carrier + ", " + whose + ","
	}
	return out
}

func (w *controlWords) paused(v *ControlEntry) {
	v.Sentence = w.scope(v) + " was paused."
	if end := w.x.ended; end == nil {
		v.Sentence += " The pause is in force."
	} else {
		how := "It lasted "
		if _, ok := end.Data.(*event.Paused); ok {
			how = "Another pause of the same took its place after "
		}
		v.Sentence += " " + how + lasting(end.Time.Sub(v.Time)) + "."
	}
	v.Sentence += " Reason: " + v.Reason
	if began := w.x.began; began != nil {
		v.Changes = changed(v.Changes, "reason", began.Data.(*event.Paused).Reason, v.Reason)
		return
	}
	v.Changes = changed(v.Changes, "paused", "no", "yes")
}

func (w *controlWords) resumed(v *ControlEntry) {
	began := w.x.began
	if began == nil {
		v.Sentence = w.scope(v) + " was resumed, but no pause of exactly this was in force: nothing changed. Reason: " + v.Reason
		return
	}
	v.Sentence = w.scope(v) + " was resumed, after a pause of " + lasting(v.Time.Sub(began.Time)) + ". Reason: " + v.Reason
	v.Changes = changed(v.Changes, "paused", "yes", "no")
}

func (w *controlWords) owner(v *ControlEntry, d *event.OwnerGranted) {
	name, kind := d.LegalEntity, "legal entity"
	before, granted := w.x.before.EntityOwner(d.LegalEntity)
	if d.Sender != "" {
		name, kind = d.Sender, "sender ID"
		before, granted = w.x.before.Owner(d.Sender)
	}
	tell := func(tenant string) string {
		if tenant != "" && !w.operator && tenant != w.tenant {
			return "another tenant"
		}
		return tenant
	}
	to, from := tell(v.Tenant), tell(before)
	said := func(tenant string) string {
		if tenant == "another tenant" {
			return tenant
		}
		return "tenant " + tenant
	}
	v.Sentence = "The " + kind + " " + name + " was granted to " + said(to) + " alone."
	switch {
	case before == v.Tenant && granted:
		v.Sentence += " It had been granted to it before; nothing changed."
	case before == v.Tenant:
		v.Sentence += " It was its own before, because it registered it first."
	case before != "":
		v.Sentence += " Before, it was that of " + said(from) + "."
	}
	v.Changes = changed(v.Changes, "owner", from, to)
}

// lasting is a duration in words, in its two largest units.
func lasting(d time.Duration) string {
	if d < time.Second {
		return "less than a second"
	}
	var said []string
	for _, u := range []struct {
		one string
		of  time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}} {
		n := d / u.of
		d -= n * u.of //nolint:durationcheck // n counts units
		switch {
		case n == 1:
			said = append(said, "1 "+u.one)
		case n > 1:
			said = append(said, fmt.Sprintf("%d %ss", n, u.one))
		case len(said) > 0: // "2 days 5 seconds" would say more than is known at a glance
			return said[0]
		}
		if len(said) == 2 {
			break
		}
	}
	return strings.Join(said, " ")
}
