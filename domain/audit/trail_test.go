package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// trail adds an event to the audit log.
func (b *book) trail(name, tenant string, d event.Data) *event.Event {
	return b.add(event.AuditPartition, name, &event.Event{Tenant: tenant, Data: d})
}

// watched is good, with an audit log that has a little of everything; nothing is wrong with it.
func watched(t testing.TB) *book {
	b := good(t)
	at := b.now
	b.trail("used", "", &event.KeyUsed{Key: "k0", From: at, Until: at.Add(time.Hour), Calls: []event.KeyCalls{{Scope: "messages:read", Times: 12}, {Scope: "audit:export", Times: 2, Refused: 2}}})
	b.trail("read", "acme", &event.PersonalDataRead{Key: "k1", Reason: "a complaint", From: at, Until: at.Add(time.Minute), Reads: []event.DataRead{
		{Call: "getMessage", Shown: []string{"number"}, Subject: subject(0, 1), Events: []event.ID{b.names["a.submit"].ID}, Times: 1},
		{Call: "searchMessages", Shown: []string{"number"}, Times: 3}}})
	asked := func(name, tenant string) event.ID {
		return b.trail(name, tenant, &event.ExportAsked{By: "k1", Reason: "a complaint", Scope: `{"program":"account"}`, Heads: []string{"00-17", "01-0", "control-9"}}).ID
	}
	b.trail("rotated", "", &event.MasterKeyRotated{Began: at, Ended: at.Add(time.Minute), Keys: 12, By: "operator"})
	b.trail("webhook", "acme", &event.WebhookChanged{Webhook: event.ID{9}, As: event.WebhookAdded, By: "k1"})
	x := asked("x.asked", "acme")
	y := asked("y.asked", "bank")
	b.trail("x.ended", "acme", &event.ExportEnded{Export: x, As: event.ExportFinished, Events: 12, Size: 345, SHA256: digest, DeleteAfter: at.Add(7 * 24 * time.Hour)})
	b.trail("y.ended", "bank", &event.ExportEnded{Export: y, As: event.ExportCancelled, By: "k2"})
	b.trail("x.downloaded", "acme", &event.ExportDownloaded{Export: x, By: "k1", SHA256: digest})
	b.trail("x.deleted", "acme", &event.ExportDeleted{Export: x})
	// An append whose answer was lost lands a second time.
	for _, name := range []string{"x.asked", "x.ended"} {
		e := *b.names[name]
		b.add(event.AuditPartition, name+" copy", &e)
	}
	return b
}

// The audit log is counted by type; its events are effective.
func TestAuditLog(t *testing.T) {
	b := watched(t)
	r := b.verify()
	if !r.OK() {
		t.Fatal(b.list(r))
	}
	want := map[event.Type]int64{"KeyUsed.v1": 1, "PersonalDataRead.v1": 1, "ExportAsked.v1": 3, "ExportEnded.v1": 3, "ExportDownloaded.v1": 1, "ExportDeleted.v1": 1, "MasterKeyRotated.v1": 1, "WebhookChanged.v1": 1}
	if fmt.Sprint(r.Audit) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", r.Audit, want)
	}
	if before := good(t).verify(); r.Events != before.Events+12 || r.Effective != before.Effective+12 || r.Streams != before.Streams || before.Audit != nil {
		t.Errorf("%d events, %d effective, %d streams; without an audit log %d, %d, %d", r.Events, r.Effective, r.Streams, before.Events, before.Effective, before.Streams)
	}
}

// One thing in the audit log is broken at a time; what is found, and where, is the whole list.
func TestWhatIsBrokenInTheAuditLogIsFound(t *testing.T) {
	used := func(f func(d *event.KeyUsed)) func(*book) {
		return func(b *book) { edit(b, "used", func(_ *event.Event, d *event.KeyUsed) { f(d) }) }
	}
	read := func(f func(d *event.PersonalDataRead)) func(*book) {
		return func(b *book) { edit(b, "read", func(_ *event.Event, d *event.PersonalDataRead) { f(d) }) }
	}
	asked := func(f func(d *event.ExportAsked)) func(*book) {
		return func(b *book) {
			b.drop("x.asked copy")
			edit(b, "x.asked", func(_ *event.Event, d *event.ExportAsked) { f(d) })
		}
	}
	ended := func(f func(d *event.ExportEnded)) func(*book) {
		return func(b *book) { edit(b, "y.ended", func(_ *event.Event, d *event.ExportEnded) { f(d) }) }
	}
	for _, c := range []struct {
		name, want string
		wreck      func(b *book)
	}{
		{"a control event", "misplaced@x", func(b *book) { b.before("read", "x", &event.Event{Data: &event.Resumed{Reason: "x", By: "op"}}) }},
		{"a recipient's event", "misplaced@x", func(b *book) {
			b.before("read", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Data: &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "web", By: "key"}})
		}},
		{"its event among recipients", "misplaced@x", func(b *book) {
			b.before("a.receipt", "x", &event.Event{Tenant: "acme", Data: &event.KeyUsed{Key: "k1", From: b.now, Until: b.now, Calls: []event.KeyCalls{{Scope: "x", Times: 1}}}})
		}},
		{"its event in control", "misplaced@x", func(b *book) {
			b.control("x", "acme", &event.ExportDeleted{Export: b.names["x.asked"].ID})
		}},
		{"its event in the inbox", "misplaced@x", func(b *book) {
			b.add(event.InboxPartition, "x", &event.Event{Tenant: "acme", Data: &event.ExportDeleted{Export: b.names["x.asked"].ID}})
		}},
		{"a gap", "gap@x.deleted", func(b *book) { b.skip[b.names["x.deleted"]] = 2 }},
		{"bytes are cut", "unreadable@x.deleted", func(b *book) {
			raw := encoded(b, "x.deleted")
			b.raws[b.names["x.deleted"]] = raw[:len(raw)-1]
		}},
		{"another ledger's event", "foreign_source@read", func(b *book) { b.names["read"].Source = "/other" }},
		{"a stream", "envelope@used", func(b *book) { b.names["used"].Subject = subject(0, 1) }},
		{"a message", "envelope@used", func(b *book) { b.names["used"].Message = b.names["a.submit"].ID }},
		{"no time", "time_insane@read", func(b *book) { b.names["read"].Time = time.Time{} }},
		{"late by more than a day", "time_insane@x.deleted", func(b *book) {
			b.drop("x.asked copy", "x.ended copy")
			b.names["x.downloaded"].Time = b.now.Add(49 * time.Hour)
		}},

		{"a key that is used for more than an hour", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Until = d.Until.Add(time.Millisecond) })},
		{"a key that is used backwards", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Until = d.From.Add(-1 * time.Millisecond) })},
		{"a key that is used at no time", "audit_impossible@used", used(func(d *event.KeyUsed) { d.From, d.Until = time.Time{}, time.Time{} })},
		{"a key without a name", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Key = "" })},
		{"no calls", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Calls = nil })},
		{"0 calls", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Calls[0].Times = 0 })},
		{"more refusals than calls", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Calls[1].Refused = 3 })},
		{"calls of no scope", "audit_impossible@used", used(func(d *event.KeyUsed) { d.Calls[1].Scope = "" })},
		{"no reads", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reads = nil })},
		{"500 reads", "", read(func(d *event.PersonalDataRead) { d.Reads = many(d.Reads[1], 500) })},
		{"501 reads", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reads = many(d.Reads[1], 501) })},
		{"200 events", "", read(func(d *event.PersonalDataRead) { d.Reads[0].Events = many(d.Reads[0].Events[0], 200) })},
		{"201 events", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reads[0].Events = many(d.Reads[0].Events[0], 201) })},
		{"a read of nothing", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reads[0].Shown = nil })},
		{"a read that did not happen", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reads[0].Times = 0 })},
		{"a read by no call", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reads[0].Call = "" })},
		{"a read by no key", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Key = "" })},
		{"reads backwards", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.From, d.Until = d.Until, d.From })},
		{"a short reason to read", "audit_impossible@read", read(func(d *event.PersonalDataRead) { d.Reason = "ok" })},
		{"no reason to read", "", read(func(d *event.PersonalDataRead) { d.Reason = "" })},

		{"an export without a reason", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Reason = "" })},
		{"a reason of 500 characters", "", asked(func(d *event.ExportAsked) { d.Reason = strings.Repeat("é", 500) })},
		{"a reason of 501 characters", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Reason = strings.Repeat("é", 501) })},
		{"an export that nobody asked for", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.By = "" })},
		{"a scope that is no object", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Scope = `"all"` })},
		{"a scope that is not JSON", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Scope = "{" })},
		{"no heads", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Heads = nil })},
		{"two heads of a partition", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Heads = append(d.Heads, "00-18") })},
		{"a head that is no position", "audit_impossible@x.asked", asked(func(d *event.ExportAsked) { d.Heads[0] = "0-18" })},
		{"an end that is none", "audit_impossible@y.ended", ended(func(d *event.ExportEnded) { d.As = "lost" })},
		{"a finished export without a file", "audit_impossible@y.ended", ended(func(d *event.ExportEnded) { d.As = event.ExportFinished })},
		{"fewer than no events", "audit_impossible@y.ended", ended(func(d *event.ExportEnded) { d.Events = -1 })},
		{"a download by no key", "audit_impossible@x.downloaded", func(b *book) {
			edit(b, "x.downloaded", func(_ *event.Event, d *event.ExportDownloaded) { d.By = "" })
		}},
		{"a webhook added by no key", "audit_impossible@webhook", func(b *book) {
			edit(b, "webhook", func(_ *event.Event, d *event.WebhookChanged) { d.By = "" })
		}},
		{"a change of a webhook that is none", "audit_impossible@webhook", func(b *book) {
			edit(b, "webhook", func(_ *event.Event, d *event.WebhookChanged) { d.As = "sold" })
		}},
		{"a download of no file", "audit_impossible@x.downloaded", func(b *book) {
			edit(b, "x.downloaded", func(_ *event.Event, d *event.ExportDownloaded) { d.SHA256 = "" })
		}},

		{"an export that was not asked for", "export_unknown@y.ended", func(b *book) { b.drop("y.asked") }},
		{"an export asked for too late", "export_unknown@y.ended", func(b *book) { b.move("y.asked", "x.downloaded") }},
		{"another export is downloaded", "export_unknown@x.downloaded", func(b *book) {
			edit(b, "x.downloaded", func(_ *event.Event, d *event.ExportDownloaded) { d.Export = b.names["a.submit"].ID })
		}},
		{"another tenant downloads", "export_unknown@x.downloaded", func(b *book) { b.names["x.downloaded"].Tenant = "bank" }},
		{"another tenant deletes", "export_unknown@x.deleted", func(b *book) { b.names["x.deleted"].Tenant = "" }},
		{"another tenant ends it", "export_unknown@y.ended", func(b *book) { b.names["y.ended"].Tenant = "acme" }},
		{"it ends twice", "export_ended_twice@x", func(b *book) {
			b.before("x.deleted", "x", &event.Event{Tenant: "bank", Data: &event.ExportEnded{Export: b.names["y.asked"].ID, As: event.ExportFailed, Why: "the disk is full"}})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := watched(t)
			c.wreck(b)
			r := b.verify()
			if got := b.list(r); got != c.want {
				t.Errorf("found %q, want %q: %+v", got, c.want, r.Findings)
			}
		})
	}
}

// many are n of one.
func many[T any](one T, n int) []T {
	out := make([]T, n)
	for i := range out {
		out[i] = one
	}
	return out
}

// What is held of an audit log grows with its exports alone.
func TestAuditLogIsNotHeld(t *testing.T) {
	b := watched(t)
	for range 1000 {
		b.trail("", "acme", &event.KeyUsed{Key: "k1", From: b.now, Until: b.now, Calls: []event.KeyCalls{{Scope: "x", Times: 1}}})
		b.trail("", "acme", &event.ExportDownloaded{Export: b.names["x.asked"].ID, By: "k1", SHA256: digest})
	}
	v := New(required...)
	b.read(v)
	if len(v.exports) != 2 {
		t.Errorf("%d exports are held", len(v.exports))
	}
	if r := v.Finish(); !r.OK() {
		t.Error(b.list(r))
	}
}

// The audit log is read after the inbox and before the recipients.
func TestAuditLogComesInTurn(t *testing.T) {
	b := watched(t)
	v := New(required...)
	for _, p := range []event.Partition{event.ControlPartition, event.InboxPartition, 0, event.AuditPartition, 1} {
		for i, e := range b.parts[p] {
			raw, err := event.Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			v.Take(p, int64(i), raw)
		}
	}
	if got := b.list(v.Finish()); got != "unordered@used" {
		t.Error(got)
	}
}
