package audit

import (
	"bytes"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

func TestNothingIsWrong(t *testing.T) {
	b := good(t)
	r := b.verify()
	for _, f := range r.Findings {
		t.Errorf("%s %s: %s", b.at(f), f.Code, f.Text)
	}
	if !r.OK() || r.First != nil {
		t.Error("a good ledger is not called good")
	}
	var events int64
	for _, l := range b.parts {
		events += int64(len(l))
	}
	void := int64(0)
	for _, n := range r.Void {
		void += n
	}
	if r.Events != events || r.Effective+void != events || void != 0 {
		t.Errorf("%d events are counted as %d, %d effective, void %v", events, r.Events, r.Effective, r.Void)
	}
	if r.Streams != 5 || r.Calls != 8 {
		t.Errorf("streams %d, calls %d", r.Streams, r.Calls)
	}
	want := map[recipient.Status]int64{recipient.Delivered: 1, recipient.Sent: 5, recipient.Denied: 1, recipient.Cancelled: 1}
	for s, n := range want {
		if r.Messages[s] != n {
			t.Errorf("%d messages are %s, not %d", r.Messages[s], s, n)
		}
	}
	if len(r.Messages) != len(want) {
		t.Errorf("messages %v", r.Messages)
	}
}

// One thing is broken at a time; what is found, and where, is the whole list.
func TestWhatIsBrokenIsFound(t *testing.T) {
	tests := []struct {
		name    string
		promise int // of the first finding
		want    string
		let     []string
		wreck   func(b *book)
	}{
		// The structure.
		{"a position is left out", 0, "gap@a.receipt", nil, func(b *book) { b.skip[b.names["a.receipt"]] = 3 }},
		{"bytes are altered", 0, "not_canonical@a.submit", nil, func(b *book) {
			b.raws[b.names["a.submit"]] = bytes.Replace(encoded(b, "a.submit"), []byte(`"node"`), []byte(` "node"`), 1)
		}},
		{"bytes are cut", 0, "unreadable@a.receipt", nil, func(b *book) {
			raw := encoded(b, "a.receipt")
			b.raws[b.names["a.receipt"]] = raw[:len(raw)-3]
		}},
		{"a field that no event has", 0, "unreadable@a.receipt", nil, func(b *book) {
			b.raws[b.names["a.receipt"]] = bytes.Replace(encoded(b, "a.receipt"), []byte(`"account"`), []byte(`"Konto"`), 1)
		}},
		{"a type from the future", 0, "unknown_type@a.receipt", nil, func(b *book) {
			b.raws[b.names["a.receipt"]] = bytes.Replace(encoded(b, "a.receipt"), []byte("ReceiptReceived.v1"), []byte("ReceiptReceived.v9"), 1)
		}},
		{"another ledger's event", 0, "foreign_source@c.stop", nil, func(b *book) { b.names["c.stop"].Source = "/other" }},
		{"the ledger's first event is gone", 0, "not_created@routes control_unknown@applied0 route_not_in_force@a.route start_while_paused@a.start " +
			"route_not_in_force@c.route2 start_while_paused@c.start2 route_not_in_force@c.route3 start_while_paused@c.start3 " +
			"control_unknown@applied1 route_not_in_force@d.route start_while_paused@d.start route_not_in_force@d.route2 start_while_paused@d.start2 " +
			"route_not_in_force@e.route start_while_paused@e.start route_not_in_force@e.route2 start_while_paused@e.start2 " +
			"control_unknown@applied1.paused control_unknown@applied1.resumed control_unknown@f.allow2 control_unknown@f.route2 route_not_in_force@f.route2 control_unknown@f.start2", nil,
			func(b *book) { b.drop("created") }},
		{"created twice", 0, "not_created@second", nil, func(b *book) {
			b.control("second", "", &event.LedgerCreated{Ledger: "book", Partitions: partitions, NumberForms: 1})
		}},
		{"a control event among recipients", 0, "misplaced@x", nil, func(b *book) {
			b.before("a.receipt", "x", &event.Event{Data: &event.Resumed{Reason: "x", By: "op"}})
		}},
		{"a recipient's event in control", 0, "misplaced@x", nil, func(b *book) {
			b.add(event.ControlPartition, "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Data: &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "web", By: "key"}})
		}},
		{"a stream in the wrong partition", 0, "misplaced@x", nil, func(b *book) {
			b.before("a.receipt", "x", &event.Event{Subject: subject(1, 40), Tenant: "acme", Data: &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}, Source: "web", By: "key"}})
		}},
		{"a message id of another partition", 0, "misplaced@x", nil, func(b *book) {
			b.before("a.receipt", "x", &event.Event{Subject: subject(0, 40), Tenant: "acme", Message: b.names["d.submit"].ID, Data: &event.CancelRequested{By: "key"}})
		}},
		{"a fact with an after", 0, "envelope@a.receipt", nil, func(b *book) { b.names["a.receipt"].After = b.names["a.start"].ID }},
		{"a receipt of no message", 0, "envelope@a.receipt", nil, func(b *book) { b.names["a.receipt"].Message = event.ID{} }},
		{"no stream", 0, "envelope@a.receipt", nil, func(b *book) { b.names["a.receipt"].Subject = event.Pseudonym{} }},
		{"a stream changes hands", 0, "tenant_changed@a.receipt", nil, func(b *book) { b.names["a.receipt"].Tenant = "bank" }},
		{"no time", 0, "time_insane@a.receipt", nil, func(b *book) { b.names["a.receipt"].Time = time.Time{} }},
		{"a time from before the ledger", 0, "time_insane@a.receipt", nil, func(b *book) { b.names["a.receipt"].Time = b.now.Add(-49 * time.Hour) }},
		{"control that there is not", 0, "control_unknown@applied1.resumed called_for_void_start@f.accept2", nil,
			func(b *book) {
				edit(b, "applied1.resumed", func(_ *event.Event, d *event.ControlApplied) { d.Position = 99 })
			}},
		{"control applied as another event", 0, "control_unknown@applied1.paused", nil, func(b *book) {
			edit(b, "applied1.paused", func(_ *event.Event, d *event.ControlApplied) { d.Event = b.names["routes"].ID })
		}},
		{"control in another order", 0, "control_unknown@applied1.paused control_unknown@applied1.resumed start_while_paused@f.start2", nil, func(b *book) { b.move("resumed", "paused") }},
		{"a dropped ControlApplied", 0, "control_ahead@f.allow2 control_ahead@f.route2 control_ahead@f.start2 called_for_void_start@f.accept2", nil,
			func(b *book) { b.drop("applied1.resumed") }},
		{"a dropped opt-out", 0, "after_unknown@c.allow2 called_for_void_start@c.accept1 called_for_void_start@c.refuse2 called_for_void_start@c.accept2", nil,
			func(b *book) { b.drop("c.stop") }},
		{"a dropped start", 2, "called_without_start@a.accept", nil, func(b *book) { b.drop("a.start") }},
		{"a dropped allow", 0, "after_unknown@a.route called_for_void_start@a.accept", nil, func(b *book) { b.drop("a.allow") }},
		{"a dropped submit", 2, "called_without_start@a.accept", nil, func(b *book) { b.drop("a.submit") }},

		// Promise 2, as a log can break it.
		{"an opt-out put before a start", 2, "called_for_void_start@a.accept", nil, func(b *book) { b.before("a.start", "x", optOut1(subject(0, 1))) }},
		{"an opt-out that the decision did not know", 2, "opt_outs_differ@a.allow start_after_opt_out@a.start", nil, func(b *book) {
			o := b.before("a.allow", "x", optOut1(subject(0, 1)))
			b.names["a.allow"].After = o.ID
		}},
		{"an opt-out that the decision knew and let pass", 2, "start_after_opt_out@a.start", nil, func(b *book) {
			o := b.before("a.allow", "x", optOut1(subject(0, 1)))
			b.names["a.allow"].After = o.ID
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.OptOuts = []event.ID{o.ID} })
		}},
		{"an opt-out whose lift is gone", 0, "after_unknown@d.defer2 called_for_void_start@d.accept2", nil, func(b *book) { b.drop("d.lift") }},
		{"a confirmation of another opt-out", 2, "start_after_opt_out@d.start", nil, func(b *book) {
			edit(b, "d.reply", func(_ *event.Event, d *event.MessageSubmitted) { d.Answers = b.names["c.stop"].ID })
		}},
		{"marketing that says it answers", 2, "start_after_opt_out@d.start", nil, func(b *book) {
			edit(b, "d.reply", func(_ *event.Event, d *event.MessageSubmitted) { d.Purpose = "marketing" })
		}},
		{"an opt-out of the legal entity that a program has moved to", 2, "start_after_opt_out@c.start2 start_after_opt_out@c.start3", nil, func(b *book) {
			edit(b, "c.stop", func(_ *event.Event, d *event.OptedOut) {
				d.Reach = event.Reach{Scope: event.ScopeLegalEntity, Name: "Acme Holding"}
			})
			edit(b, "account", func(_ *event.Event, d *event.ProgramChanged) { d.LegalEntity = "Acme Holding" })
		}},
		{"an opt-out of the sender", 2, "start_after_opt_out@c.start2 start_after_opt_out@c.start3", nil, func(b *book) {
			edit(b, "c.stop", func(_ *event.Event, d *event.OptedOut) {
				d.Reach = event.Reach{Scope: event.ScopeSender, Name: "ACME"}
			})
		}},
		{"an opt-out of a scope that nobody knows", 2, "start_after_opt_out@c.start2 start_after_opt_out@c.start3", nil, func(b *book) {
			edit(b, "c.stop", func(_ *event.Event, d *event.OptedOut) { d.Reach.Scope = "planet" })
		}},
		{"accepted before its start", 2, "called_without_start@a.accept", nil, func(b *book) { b.move("a.accept", "a.start") }},
		{"a start that was late", 2, "called_for_void_start@a.accept", nil, func(b *book) {
			edit(b, "a.start", func(e *event.Event, _ *event.HandoffStarted) { e.Time = e.Time.Add(2 * time.Hour) })
		}},
		{"a refusal by a carrier that was called for a void start", 2, "called_for_void_start@c.accept1 called_for_void_start@c.refuse2 called_for_void_start@c.accept2", nil, func(b *book) {
			b.names["c.start2"].Control = 4
		}},
		{"another carrier answers", 2, "called_elsewhere@a.accept", nil, func(b *book) {
			edit(b, "a.accept", func(_ *event.Event, d *event.HandoffAccepted) { d.Carrier = "south" })
		}},
		{"a part that was never started is accepted", 2, "called_without_start@a.accept", nil, func(b *book) {
			edit(b, "a.accept", func(_ *event.Event, d *event.HandoffAccepted) { d.Part = 2 })
		}},
		{"the pause was never resumed", 2, "start_while_paused@f.start2", nil, func(b *book) {
			edit(b, "resumed", func(_ *event.Event, d *event.Resumed) { d.Program = "offers" })
		}},
		{"an operator's pause of the carrier", 2, "start_while_paused@f.start2", nil, func(b *book) {
			edit(b, "paused", func(e *event.Event, d *event.Paused) { e.Tenant, d.Program, d.Carrier = "", "", "north" })
		}},
		{"the program was not registered", 2, "program_unknown@a.start program_unknown@c.start2 program_unknown@c.start3 program_unknown@d.start program_unknown@d.start2 program_unknown@e.start program_unknown@e.start2 program_unknown@f.start2", nil, func(b *book) {
			edit(b, "account", func(_ *event.Event, d *event.ProgramChanged) { d.Name = "accounts" })
		}},
		{"a route that is not in the table", 2, "route_not_in_force@a.route", nil, func(b *book) {
			edit(b, "a.route", func(_ *event.Event, d *event.MessageRouted) { d.Rule = "mine" })
		}},
		{"a route of another table", 2, "route_not_in_force@a.route", nil, func(b *book) {
			edit(b, "a.route", func(_ *event.Event, d *event.MessageRouted) { d.Table = 3 })
		}},

		// Promise 2, with a rule that lets the event through: the checks see it all the same.
		{"a start without an allow", 2, "start_without_allow@x", []string{"x"}, func(b *book) { b.again("a", "x", 2, 2) }},
		{"an opt-out between allow and start", 2, "allow_taken_back@a.start start_after_opt_out@a.start", []string{"a.start"}, func(b *book) { b.before("a.start", "x", optOut1(subject(0, 1))) }},
		{"a lift between allow and start", 2, "allow_taken_back@a.start", []string{"a.start"}, func(b *book) {
			b.before("a.start", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Data: &event.SuppressionLifted{Lifts: []event.ID{{9}}, Source: "web", By: "key"}})
		}},
		{"a part of a message between allow and start", 2, "allow_taken_back@a.start start_after_opt_out@a.start", []string{"a.start"}, func(b *book) {
			b.before("a.start", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Data: &event.InboundReceived{Account: "north", To: "ACME", Ask: "part",
				Concat: &event.Concat{Reference: 1, Part: 1, Parts: 2}, Holds: &event.Reach{Scope: event.ScopeTenant}}})
		}},
		{"a cancel between allow and start", 2, "start_after_cancel@a.start", []string{"a.start"}, func(b *book) {
			b.before("a.start", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Message: b.names["a.submit"].ID, Data: &event.CancelRequested{By: "key"}})
		}},
		{"a cancel before the submit", 2, "start_after_cancel@a.start", []string{"a.allow", "a.route", "a.start"}, func(b *book) {
			b.before("a.submit", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Message: b.names["a.submit"].ID, Data: &event.CancelRequested{By: "key"}})
		}},
		{"control between allow and start", 2, "allow_under_other_control@f.start2", []string{"f.allow2", "f.route2", "f.start2"}, func(b *book) {
			b.move("applied1.resumed", "f.start2")
			for _, n := range []string{"f.allow2", "f.route2", "f.start2"} {
				b.names[n].Control = 6
			}
			b.names["f.start2"].Control = 7
		}},
		{"an expiry between allow and start", 2, "start_after_expiry@a.start", []string{"x", "a.start"}, func(b *book) {
			b.before("a.start", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Message: b.names["a.submit"].ID, Control: 5, After: b.names["a.route"].ID, Data: &event.MessageExpired{}})
		}},
		{"past the validity", 4, "allow_without_time@a.allow start_after_expiry@a.start", []string{"a.allow", "a.route", "a.start"}, func(b *book) {
			edit(b, "a.submit", func(e *event.Event, d *event.MessageSubmitted) { d.ValidUntil = e.Time.Add(time.Second) })
		}},
		{"before the sender's time", 2, "start_before_send_at@a.start", []string{"a.allow", "a.route", "a.start"}, func(b *book) {
			edit(b, "a.submit", func(e *event.Event, d *event.MessageSubmitted) { d.SendAt = e.Time.Add(time.Hour) })
		}},
		{"an allow past its until", 2, "start_late@a.start", []string{"a.start"}, func(b *book) {
			edit(b, "a.allow", func(e *event.Event, d *event.MessageDecided) { d.Until = e.Time.Add(2 * time.Second) })
		}},
		{"a call_by past the allow", 2, "start_late@a.start", []string{"a.start"}, func(b *book) {
			edit(b, "a.start", func(_ *event.Event, d *event.HandoffStarted) {
				d.CallBy, d.AnswerBy = d.CallBy.Add(2*time.Hour), d.AnswerBy.Add(2*time.Hour)
			})
		}},
		{"an answer_by before call_by", 2, "start_late@a.start", []string{"a.start"}, func(b *book) {
			edit(b, "a.start", func(_ *event.Event, d *event.HandoffStarted) { d.AnswerBy = d.CallBy })
		}},
		{"no route", 2, "start_without_route@a.start called_elsewhere@a.accept", []string{"a.start"}, func(b *book) {
			b.drop("a.route")
			b.names["a.start"].After = b.names["a.allow"].ID
		}},
		{"a sender that was not allowed", 2, "sender_not_allowed@a.start", []string{"a.route", "a.start"}, func(b *book) {
			edit(b, "a.route", func(_ *event.Event, d *event.MessageRouted) { d.From = "OTHER" })
		}},

		// Promise 3.
		{"accepted under two ids", 3, "accepted_twice@x", nil, func(b *book) {
			b.before("a.receipt", "x", &event.Event{Subject: subject(0, 1), Tenant: "acme", Message: b.names["a.submit"].ID,
				Data: &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "north", CarrierID: "another"}})
		}},
		{"a second attempt after accepted", 3, "resent_accepted@x", []string{"xd", "xr", "x"}, func(b *book) { b.again("a", "x", 2, 1) }},
		{"a second attempt of a part that was not answered", 3, "resent_unanswered@c.start3", []string{"c.allow3", "c.route3", "c.start3"}, func(b *book) { b.drop("c.refuse2") }},
		{"a second attempt after a final refusal", 3, "resent_refused@c.start3", []string{"c.allow3", "c.route3", "c.start3"}, func(b *book) {
			edit(b, "c.refuse2", func(_ *event.Event, d *event.HandoffRefused) { d.Retry = false })
		}},
		{"a duplicate that nobody preferred", 3, "resent_in_doubt@e.start2", []string{"e.allow2", "e.route2", "e.start2"}, func(b *book) {
			edit(b, "e.submit", func(_ *event.Event, d *event.MessageSubmitted) { d.PrefersDuplicate = false })
		}},
		{"a duplicate that does not say so", 3, "resent_in_doubt@e.start2", []string{"e.start2"}, func(b *book) {
			edit(b, "e.start2", func(_ *event.Event, d *event.HandoffStarted) { d.Duplicate = false })
		}},
		{"an attempt is skipped", 3, "attempt_order@c.start3", []string{"c.start3"}, func(b *book) {
			edit(b, "c.start3", func(_ *event.Event, d *event.HandoffStarted) { d.Attempt = 3 })
		}},
		{"a part that the message has not", 3, "part_unknown@c.start3 called_without_start@c.accept2", []string{"c.start3"}, func(b *book) {
			edit(b, "c.start3", func(_ *event.Event, d *event.HandoffStarted) { d.Parts[0].Part = 3 })
		}},
		{"in doubt too early", 3, "in_doubt_early@e.doubt", []string{"e.doubt", "e.allow2", "e.route2", "e.start2"}, func(b *book) {
			edit(b, "e.start", func(_ *event.Event, d *event.HandoffStarted) { d.AnswerBy = b.names["e.doubt"].Time.Add(time.Second) })
		}},

		// Promise 4.
		{"a missing check", 4, "check_missing@a.allow", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Checks = d.Checks[:3] })
		}},
		{"a check twice", 4, "check_missing@a.allow", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Checks = append(d.Checks, d.Checks[0]) })
		}},
		{"a check that denies", 4, "check_not_allow@a.allow", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Checks[1].Outcome = "deny" })
		}},
		{"a check without a rule", 4, "check_without_rule@a.allow", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Checks[2].Rules = nil })
		}},
		{"a fault that allows", 4, "fault_allowed@a.allow", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Fault = "zone_data" })
		}},
		{"no sender", 4, "allow_without_sender@a.allow called_for_void_start@a.accept", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Senders = nil })
		}},
		{"an allow that is over at once", 4, "allow_without_time@a.allow start_late@a.start", []string{"a.allow", "a.route", "a.start"}, func(b *book) {
			edit(b, "a.allow", func(e *event.Event, d *event.MessageDecided) { d.Until = e.Time })
		}},
		{"other policies", 4, "policy_not_in_force@a.allow", nil, func(b *book) {
			edit(b, "a.allow", func(_ *event.Event, d *event.MessageDecided) { d.Digest = digest[1:33] })
		}},
		{"another revision", 4, "policy_not_in_force@d.deny", nil, func(b *book) {
			edit(b, "d.deny", func(_ *event.Event, d *event.MessageDecided) { d.Revision = "r2" })
		}},
		{"policies that came later", 4, "policy_not_in_force@a.allow policy_not_in_force@c.allow1 policy_not_in_force@c.allow2 policy_not_in_force@c.allow3 " +
			"policy_not_in_force@d.allow policy_not_in_force@d.deny policy_not_in_force@d.defer2 policy_not_in_force@d.allow2 policy_not_in_force@e.allow policy_not_in_force@e.allow2 policy_not_in_force@f.allow policy_not_in_force@f.allow2", nil, func(b *book) {
			edit(b, "policy", func(_ *event.Event, d *event.PolicyActivated) { d.Digest = "ff" + digest[2:] })
		}},
		{"a denial without a reason", 4, "no_reason@d.deny", nil, func(b *book) {
			edit(b, "d.deny", func(_ *event.Event, d *event.MessageDecided) { d.Checks = nil })
		}},
		{"a deferral without an end", 4, "no_reason@d.defer2", nil, func(b *book) {
			edit(b, "d.defer2", func(_ *event.Event, d *event.MessageDecided) { d.Until = time.Time{} })
		}},
		{"a hold without a fault", 4, "no_reason@c.hold", nil, func(b *book) {
			edit(b, "c.hold", func(_ *event.Event, d *event.MessageDecided) { d.Fault = "" })
		}},
		{"a decision of another kind", 4, "outcome_unknown@c.hold", nil, func(b *book) {
			edit(b, "c.hold", func(_ *event.Event, d *event.MessageDecided) { d.Outcome = "maybe" })
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := good(t)
			tt.wreck(b)
			r := b.verify(tt.let...)
			if got := b.list(r); got != tt.want {
				t.Errorf("found\n\t%s\nnot\n\t%s", got, tt.want)
				for _, f := range r.Findings {
					t.Logf("%s: %s", b.at(f), f.Text)
				}
			}
			if r.OK() || len(r.First) == 0 || r.First[0] != r.Findings[0] || r.Findings[0].Promise != tt.promise {
				t.Errorf("the first finding is %+v", r.First)
			}
		})
	}
}

func encoded(b *book, name string) []byte {
	raw, err := event.Encode(b.names[name])
	if err != nil {
		b.t.Fatal(err)
	}
	return raw
}

func optOut1(s event.Pseudonym) *event.Event {
	return &event.Event{Subject: s, Tenant: "acme", Data: &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "account"}, Source: "web", By: "key"}}
}

// again writes another attempt of a line's message before its receipt: allowed and
// routed first where the part was sent before.
func (b *book) again(of, as string, attempt, part int) {
	first := b.names[of+".start"]
	m := b.names[of+".submit"]
	last := first.ID
	out := func(name string, d event.Data) {
		last = b.before(of+".receipt", name, &event.Event{Subject: m.Subject, Tenant: "acme", Message: m.ID, After: last, Control: 5, Data: d}).ID
	}
	at := b.names[of+".receipt"].Time
	if part == 1 {
		allow := *b.names[of+".allow"].Data.(*event.MessageDecided)
		route := *b.names[of+".route"].Data.(*event.MessageRouted)
		out(as+"d", &allow)
		out(as+"r", &route)
	}
	out(as, &event.HandoffStarted{Attempt: attempt, Parts: []event.StartedPart{{Part: part, Digest: "d"}}, CallBy: at.Add(time.Second), AnswerBy: at.Add(2 * time.Second)})
}

func TestOrderAndNumberOfPartitions(t *testing.T) {
	b := good(t)
	v := New(required...)
	b.read(v)
	v.Take(0, 0, encoded(b, "applied0"))
	v.Take(partitions, 0, encoded(b, "applied0"))
	if got := b.list(v.Finish()); got != "unordered@applied0 misplaced@02-0" {
		t.Errorf("found %s", got)
	}
}

func TestNoLedger(t *testing.T) {
	if r := New().Finish(); r.OK() || r.First[0].Code != NotCreated || r.First[0].Position.String() != "control-0" {
		t.Errorf("nothing at all is called good: %+v", r)
	}
}

func TestFindingsAreBoundedAndCounted(t *testing.T) {
	v := New()
	for i := range int64(3 * maxFindings) {
		v.Take(event.ControlPartition, i, []byte("{"))
	}
	v.Take(0, 0, []byte("{"))
	r := v.Finish()
	if len(r.Findings) != maxFindings || r.Codes[Unreadable] != 3*maxFindings+1 || r.Total != 3*maxFindings+2 {
		t.Errorf("%d kept, %d counted, %v", len(r.Findings), r.Total, r.Codes)
	}
	if len(r.First) != 2 || r.First[1].Position.String() != "00-0" {
		t.Errorf("first %+v", r.First)
	}
}
