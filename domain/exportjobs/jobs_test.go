package exportjobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// process is a process of exports over files that outlive it.
type process struct {
	*Jobs
	t      *testing.T
	log    bytes.Buffer
	ledger *fakeLedger
	audit  *fakeAudit
	files  *fakeFiles
	clock  *fakeClock
	rested time.Duration
}

var officer = ledger.Caller{Tenant: "bank", Key: "officer"}

const keep = 7 * 24 * time.Hour

func newProcess(t *testing.T) *process {
	clock := &fakeClock{now: viewtest.Epoch.Add(365 * 24 * time.Hour)}
	p := &process{t: t, ledger: newLedger(7, 1500), clock: clock, audit: &fakeAudit{clock: clock}, files: newFiles()}
	p.start()
	p.write = plainFile
	return p
}

// start begins a new process, as after a kill.
func (p *process) start() {
	p.t.Helper()
	j, err := New(Ports{Log: p.ledger, Views: p.ledger, Desk: p.ledger, Vault: fakeVault{}, Writer: p.audit, Files: p.files, Logger: slog.New(slog.NewTextHandler(&p.log, nil)),
		Rules: noRules{}, Product: "chirograph test", Ledger: "test", Keep: keep, Zones: utcZones{}, TenantZones: map[string]string{"clinic": "Etc/Test"}, Now: p.clock.Now, Rest: func(_ context.Context, d time.Duration) { p.rested += d }})
	if err != nil {
		p.t.Fatal(err)
	}
	if p.Jobs != nil {
		j.write = p.write
	}
	p.Jobs = j
}

func (p *process) ask(q Question) Job {
	p.t.Helper()
	if q.Reason == "" {
		q.Reason = "complaint 4711"
	}
	j, err := p.Ask(context.Background(), officer, &q)
	if err != nil {
		p.t.Fatal(err)
	}
	return j
}

func (p *process) job(id event.ID) Job {
	p.t.Helper()
	j, err := p.Job("bank", id)
	if err != nil {
		p.t.Fatal(err)
	}
	return j
}

// work lets everything happen that is due now.
func (p *process) work() {
	p.t.Helper()
	for range 100 {
		if next := p.step(context.Background()); next.After(p.clock.Now()) {
			return
		}
	}
	p.t.Fatal("there is no end of work")
}

func (p *process) download(id event.ID) string {
	p.t.Helper()
	_, f, err := p.Download(context.Background(), officer, id)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}

func (p *process) said(want ...string) {
	p.t.Helper()
	if got := p.audit.said(); !slices.Equal(got, want) {
		p.t.Errorf("the audit log has %q, want %q", got, want)
	}
}

// record is the record of a job in clear.
func (p *process) record(id event.ID) string {
	p.t.Helper()
	r, _, err := readRecord(fakeVault{}, id, p.files.records[id])
	raw, err2 := json.Marshal(r)
	if err := errors.Join(err, err2); err != nil {
		p.t.Fatal(err)
	}
	return string(raw)
}

func code(err error) string {
	var r *ledger.Refusal
	if errors.As(err, &r) {
		return r.Code + r.Field
	}
	return fmt.Sprint(err)
}

// An export from the question to the end of its file.
func TestLife(t *testing.T) {
	p := newProcess(t)
	asked := p.ask(Question{Program: "otp", Clear: true, May: Shown{Message: true, Evidence: true}})
	p.said("ExportAsked")
	d := p.audit.events[0].Data.(*event.ExportAsked)
	if e := p.audit.events[0]; e.ID != asked.ID || e.Tenant != "bank" || d.By != "officer" || d.Reason != "complaint 4711" || d.Scope != `{"program":"otp"}` || !d.Clear ||
		len(d.Heads) != viewtest.Partitions || d.Heads[1] != fmt.Sprintf("01-%d", len(p.ledger.w.Steps[1])) {
		t.Errorf("%+v, %+v", e, d)
	}
	if j := p.job(asked.ID); j.State != Queued {
		t.Errorf("%+v", j)
	}
	if _, _, err := p.Download(context.Background(), officer, asked.ID); code(err) != "export_not_ready" {
		t.Error(err)
	}
	p.work()
	j := p.job(asked.ID)
	if j.State != Finished || j.SHA256 == "" || j.Size == 0 || j.Done != j.Known || j.Done == 0 || !j.DeleteAfter.Equal(p.clock.Now().Add(keep)) {
		t.Errorf("%+v", j)
	}
	p.said("ExportAsked", "ExportEnded finished")
	if d := p.audit.events[1].Data.(*event.ExportEnded); d.Export != j.ID || d.Events != j.Events || d.SHA256 != j.SHA256 || d.Size != j.Size || !d.DeleteAfter.Equal(j.DeleteAfter) {
		t.Errorf("%+v", d)
	}
	p.download(j.ID)
	p.said("ExportAsked", "ExportEnded finished", "ExportDownloaded")

	// What is not in the audit log is not given out.
	p.audit.err = ledger.Refused(errors.New("full"))
	if _, f, err := p.Download(context.Background(), officer, j.ID); !errors.Is(err, ledger.ErrRefused) || f != nil {
		t.Errorf("%v, %v", f, err)
	}
	p.audit.err = nil

	p.clock.add(keep - time.Second)
	p.work()
	if p.job(j.ID).State != Finished {
		t.Error("the file was deleted early")
	}
	p.start() // the time goes on over a restart
	p.clock.add(time.Second)
	p.work()
	if d := p.job(j.ID); d.State != Deleted || d.DeletedBy != "" || d.Deleted.IsZero() || len(p.files.files) != 0 {
		t.Errorf("%+v", d)
	}
	if r, _, err := readRecord(fakeVault{}, j.ID, p.files.records[j.ID]); err != nil || len(r.Key.Box) != 0 {
		t.Error("the key of a deleted file is still there")
	}
	p.said("ExportAsked", "ExportEnded finished", "ExportDownloaded", "ExportDeleted")
	if _, _, err := p.Download(context.Background(), officer, j.ID); code(err) != "export_without_file" {
		t.Error(err)
	}
	p.clock.add(keepRecords + time.Hour)
	p.work()
	if _, err := p.Job("bank", j.ID); code(err) != "export_not_found" || len(p.files.records) != 0 {
		t.Errorf("%v, %v", err, p.files.records)
	}
}

// Killed five times it makes the same bytes as in peace, with the ledger growing meanwhile.
func TestKilled(t *testing.T) {
	for name, q := range map[string]Question{"wide": {Outcome: "deny"}, "all": {Clear: true, May: Shown{Message: true, Inbound: true}}, "person": {Program: "otp", Outcome: "allow"}} {
		t.Run(name, func(t *testing.T) {
			p := newProcess(t)
			p.write = export.Write
			peace := p.ask(q)
			p.work()
			want := p.download(peace.ID)

			k := newProcess(t)
			k.write = export.Write
			asked := k.ask(q)
			if asked.ID != peace.ID {
				t.Fatalf("the ids differ, which are in the files: %s, %s", asked.ID, peace.ID)
			}
			reads := 0
			for kill := range 5 {
				ctx, cancel := context.WithCancel(context.Background())
				reads = 0
				k.ledger.fail = func() error {
					if reads++; reads > 2+kill*7 {
						cancel()
						return ctx.Err()
					}
					return nil
				}
				k.step(ctx)
				k.ledger.fail = nil
				if len(k.files.files) != 0 || k.job(asked.ID).State != Queued {
					t.Fatalf("kill %d: %+v", kill, k.job(asked.ID))
				}
				k.start()
				for range 200 { // what comes later is not in the file
					k.ledger.w.Grow()
				}
				k.ledger.docs, k.ledger.streams = fold(k.ledger.w, nil)
			}
			k.work()
			got := k.download(asked.ID)
			if got != want || len(got) < 1000 || k.job(asked.ID).Events == 0 {
				t.Errorf("%d bytes, want %d", len(got), len(want))
			}
			k.said("ExportAsked", "ExportEnded finished", "ExportDownloaded")
		})
	}
}

// A process that ended between the file and the audit log tells the end once more, under the same id.
func TestEndIsTold(t *testing.T) {
	p := newProcess(t)
	j := p.ask(Question{})
	p.audit.err = ledger.Unknown(errors.New("no answer"))
	p.work()
	if got := p.job(j.ID); got.State != Running || got.SHA256 != "" {
		t.Errorf("what the audit log does not have is shown: %+v", got)
	}
	r, _, err := readRecord(fakeVault{}, j.ID, p.files.records[j.ID])
	if err != nil || r.State != Finished || r.Event.IsZero() {
		t.Fatalf("%+v, %v", r, err)
	}
	p.start()
	p.audit.err = nil
	p.clock.add(time.Hour)
	p.work()
	p.said("ExportAsked", "ExportEnded finished")
	if e := p.audit.events[1]; e.ID != r.Event || !e.Time.Equal(r.At) {
		t.Errorf("%+v", e)
	}
	p.start()
	p.work()
	p.said("ExportAsked", "ExportEnded finished")
}

func TestCancel(t *testing.T) {
	ctx := context.Background()
	p := newProcess(t)
	waits, runs := p.ask(Question{Outcome: "deny"}), p.ask(Question{})
	if j, err := p.Delete(ctx, officer, waits.ID); err != nil || j.State != Cancelled || j.EndedBy != "officer" {
		t.Fatalf("%+v, %v", j, err)
	}
	// One that runs.
	once := false
	p.ledger.fail = func() error {
		if !once && p.job(runs.ID).State == Running {
			once = true
			if j, err := p.Delete(ctx, officer, runs.ID); err != nil || j.State != Cancelled {
				t.Errorf("%+v, %v", j, err)
			}
		}
		return nil
	}
	p.work()
	p.ledger.fail = nil
	if !once || len(p.files.files) != 0 || p.job(runs.ID).State != Cancelled {
		t.Errorf("%+v", p.job(runs.ID))
	}
	p.said("ExportAsked", "ExportAsked", "ExportEnded cancelled", "ExportEnded cancelled")
	p.start()
	p.work()
	p.said("ExportAsked", "ExportAsked", "ExportEnded cancelled", "ExportEnded cancelled")

	done := p.ask(Question{})
	p.work()
	if j, err := p.Delete(ctx, officer, done.ID); err != nil || j.State != Deleted || j.DeletedBy != "officer" || len(p.files.files) != 0 {
		t.Errorf("%+v, %v", j, err)
	}
	if j, err := p.Delete(ctx, officer, done.ID); err != nil || j.State != Deleted {
		t.Errorf("%+v, %v", j, err)
	}
	p.said("ExportAsked", "ExportAsked", "ExportEnded cancelled", "ExportEnded cancelled", "ExportAsked", "ExportEnded finished", "ExportDeleted")
	// If the audit log takes nothing, the file is gone all the same, and it is told later.
	last := p.ask(Question{})
	p.work()
	p.audit.err = ledger.Refused(errors.New("full"))
	if _, err := p.Delete(ctx, officer, last.ID); !errors.Is(err, ledger.ErrRefused) || len(p.files.files) != 0 {
		t.Error(err)
	}
	p.audit.err = nil
	p.clock.add(tellPause)
	p.work()
	if said := p.audit.said(); said[len(said)-1] != "ExportDeleted" || p.job(last.ID).DeletedBy != "officer" {
		t.Errorf("%q", said)
	}
}

// What fails is begun again later, and in the end it has failed.
func TestFails(t *testing.T) {
	p := newProcess(t)
	j := p.ask(Question{})
	p.ledger.fail = func() error { return errors.New("+14155550123 cannot be read") }
	for attempt := range maxAttempts {
		if got := p.job(j.ID); got.State != Queued {
			t.Fatalf("before attempt %d: %+v", attempt, got)
		}
		p.work()
		reads := p.ledger.reads
		p.work() // not at once
		if p.ledger.reads != reads {
			t.Error("it was tried once more without a pause")
		}
		p.clock.add(firstPause << attempt)
	}
	got := p.job(j.ID)
	if got.State != Failed || got.Why == "" || strings.Contains(got.Why, "+1415") || len(p.files.files) != 0 {
		t.Errorf("%+v", got)
	}
	p.said("ExportAsked", "ExportEnded failed")

	// A record that cannot be written is a failure too, and leaves no finished export.
	p.ledger.fail = nil
	j = p.ask(Question{})
	p.files.err = errors.New("no space left")
	p.work()
	if got := p.job(j.ID); got.State != Queued {
		t.Errorf("%+v", got)
	}
	p.files.err = nil
	p.clock.add(time.Hour)
	p.work()
	if got := p.job(j.ID); got.State != Finished {
		t.Errorf("%+v", got)
	}
}

func TestAskRefuses(t *testing.T) {
	p := newProcess(t)
	stop := p.ledger.streams[slices.IndexFunc(p.ledger.streams, func(e reading.StreamEvent) bool { return e.Tenant == "clinic" && e.Type == "OptedOut.v1" })]
	mine := p.ledger.streams[slices.IndexFunc(p.ledger.streams, func(e reading.StreamEvent) bool { return e.Tenant == "bank" && e.Type == "OptedOut.v1" })]
	var theirs event.ID
	for id, m := range p.ledger.docs {
		if m.Tenant == "clinic" {
			theirs = id
		}
	}
	now := p.clock.Now()
	for _, x := range []struct {
		want string
		q    Question
	}{
		{"reason_required/reason", Question{Reason: " "[:0]}},
		{"invalid_reason/reason", Question{Reason: "ab"}},
		{"invalid_reason/reason", Question{Reason: strings.Repeat("x", 501)}},
		{"reason_has_number/reason", Question{Reason: "call 4155550"}},
		{"invalid_value/outcome", Question{Outcome: "delivered"}},
		{"invalid_value/until", Question{Since: now, Until: now}},
		{"invalid_value/program", Question{Program: strings.Repeat("p", 201)}},
		{"invalid_value/rule", Question{Rule: "a\nb"}},
		{"invalid_value/carrier", Question{Carrier: "\x1b"}},
		{"invalid_reference/reference", Question{Reference: strings.Repeat("r", 201)}},
		{"not_e164/recipient", Question{Recipient: "4155550123"}},
		{"invalid_value/message", Question{Message: "x"}},
		{"message_not_found/message", Question{Message: theirs.String()}},
		{"opt_out_not_found/after_stop", Question{AfterStop: "x"}},
		{"invalid_value/country", Question{Country: "GB"}},
		{"opt_out_not_found/after_stop", Question{AfterStop: stop.ID.String()}},
		{"invalid_value/after_stop", Question{AfterStop: mine.ID.String(), Recipient: "+14155550123"}},
	} {
		if x.q.Reason == "" && !strings.HasPrefix(x.want, "reason_required") {
			x.q.Reason = "complaint"
		}
		if _, err := p.Ask(context.Background(), officer, &x.q); code(err) != x.want {
			t.Errorf("%+v: %v, want %s", x.q, err, x.want)
		}
	}
	p.said()
	j := p.ask(Question{AfterStop: mine.ID.String()})
	if j.Scope.Recipient != mine.Subject || *j.Scope.StopAt != mine.Position {
		t.Errorf("%+v", j.Scope)
	}
	// Nothing personal is in the record, the audit log or the words.
	j = p.ask(Question{Recipient: "+14155550123", Reference: "visit-3107"})
	for _, text := range []string{p.record(j.ID), p.audit.events[1].Data.(*event.ExportAsked).Scope, strings.Join(j.Scope.Words(), " ")} {
		if strings.Contains(text, "4155550123") {
			t.Error(text)
		}
	}
	// What the audit log did not take is not made.
	p.audit.err = ledger.Unknown(errors.New("no answer"))
	if _, err := p.Ask(context.Background(), officer, &Question{Reason: "complaint"}); !errors.Is(err, ledger.ErrUnknown) {
		t.Error(err)
	}
	if n := len(p.List("bank")); n != 2 {
		t.Errorf("%d exports", n)
	}
}

// Another tenant neither sees nor changes an export.
func TestOtherTenant(t *testing.T) {
	p := newProcess(t)
	j := p.ask(Question{})
	p.work()
	other := ledger.Caller{Tenant: "clinic", Key: "k"}
	_, e1 := p.Job("clinic", j.ID)
	_, e2 := p.Delete(context.Background(), other, j.ID)
	_, f, e3 := p.Download(context.Background(), other, j.ID)
	if code(e1) != "export_not_found" || code(e2) != "export_not_found" || code(e3) != "export_not_found" || f != nil || len(p.List("clinic")) != 0 {
		t.Errorf("%v, %v, %v", e1, e2, e3)
	}
	if p.job(j.ID).State != Finished {
		t.Error("another tenant deleted it")
	}
}

// A tenant's queue is bounded, each tenant has its turn, and what is remembered is bounded.
func TestQueue(t *testing.T) {
	p := newProcess(t)
	for range maxQueued {
		p.ask(Question{})
		p.clock.add(time.Millisecond)
	}
	if _, err := p.Ask(context.Background(), officer, &Question{Reason: "complaint"}); code(err) != "too_many_exports" {
		t.Error(err)
	}
	other, err := p.Ask(context.Background(), ledger.Caller{Tenant: "clinic", Key: "k"}, &Question{Reason: "complaint"})
	if err != nil {
		t.Fatal(err)
	}
	p.step(context.Background())
	p.clock.add(time.Millisecond)
	p.step(context.Background())
	if j, err := p.Job("clinic", other.ID); err != nil || j.State != Finished || j.Zone != "Etc/Test" {
		t.Errorf("the other tenant waits: %+v, %v", j, err)
	}
	list := p.List("bank")
	if len(list) != maxQueued || list[maxQueued-1].State != Finished || list[0].State != Queued || list[0].Asked.Before(list[1].Asked) {
		t.Errorf("%+v", list[0])
	}

	// At maxRecords the oldest one without a file makes room.
	p = newProcess(t)
	for i := range maxRecords {
		id := event.NewID(p.clock.Now())
		p.jobs[id] = &entry{record: record{Job: Job{ID: id, Tenant: "bank", Asked: p.clock.Now().Add(time.Duration(i) * time.Second), State: Finished, DeleteAfter: p.clock.Now().Add(keep)}}}
	}
	if _, err := p.Ask(context.Background(), officer, &Question{Reason: "complaint"}); code(err) != "too_many_exports" {
		t.Error(err)
	}
	for _, e := range p.jobs {
		e.State = Cancelled
	}
	p.ask(Question{})
	if len(p.jobs) != maxRecords {
		t.Errorf("%d are remembered", len(p.jobs))
	}
}

// An export rests for a quarter of the time that it worked.
func TestRests(t *testing.T) {
	p := newProcess(t)
	p.ask(Question{})
	began := p.clock.Now()
	p.ledger.fail = func() error { p.clock.add(restAfter); return nil }
	p.work()
	if worked := p.clock.Now().Sub(began); p.rested < worked/8 {
		t.Errorf("it rested for %s of %s", p.rested, worked)
	}
}

// It rests too while the file is put together, and a cancelled one writes nothing more then.
func TestRestsWhileWriting(t *testing.T) {
	p := newProcess(t)
	p.ask(Question{})
	p.write = func(_ context.Context, w io.Writer, _ export.Options, _ iter.Seq2[export.Entry, error]) (export.Result, error) {
		for range 10 {
			p.clock.add(restAfter)
			if _, err := w.Write([]byte("file")); err != nil {
				return export.Result{}, err
			}
		}
		return export.Result{}, nil
	}
	p.work()
	if p.rested < 10*restAfter/4 {
		t.Errorf("it rested for %s", p.rested)
	}
	var room bytes.Buffer
	var stopped error
	w := resting{&room, func() error { return stopped }}
	if n, err := w.Write([]byte("file")); n != 4 || err != nil || room.String() != "file" {
		t.Error(n, err, room.String())
	}
	stopped = context.Canceled
	if n, err := w.Write([]byte("more")); n != 0 || !errors.Is(err, context.Canceled) || room.String() != "file" {
		t.Error(n, err, room.String())
	}
}

// What is sealed is opened only where it is shown, and what is erased is said.
func TestShown(t *testing.T) {
	p := newProcess(t)
	count := func(q Question) (opened, erased int) {
		j := p.ask(q)
		p.work()
		text := p.download(j.ID)
		return strings.Count(text, `"body":"opened `), strings.Count(text, " true {")
	}
	masked, _ := count(Question{May: Shown{true, true, true}}) // it was not asked for
	no, _ := count(Question{Clear: true})
	message, erased := count(Question{Clear: true, May: Shown{Message: true}})
	inbound, _ := count(Question{Clear: true, May: Shown{Inbound: true}})
	evidence, _ := count(Question{Clear: true, May: Shown{Evidence: true}})
	all, _ := count(Question{Clear: true, May: Shown{true, true, true}})
	if masked != 0 || no != 0 || message == 0 || inbound == 0 || all != message+inbound+evidence || erased == 0 {
		t.Error(masked, no, message, inbound, evidence, all, erased)
	}
	j := &Job{Clear: true, Shown: Shown{Message: true}}
	if got, want := j.sentence(), "Asked for: everything. In clear: message. Asked for in clear too, but the key may not see it: words, evidence."; got != want {
		t.Error(got)
	}
}

// A record that cannot be read is left, and does not keep the others from being found.
func TestRecords(t *testing.T) {
	p := newProcess(t)
	j := p.ask(Question{})
	bad := event.NewID(p.clock.Now())
	for _, raw := range []string{"", "{}", `{"version":2}`} {
		p.files.records[bad] = []byte(raw)
		p.start()
		p.job(j.ID)
		if len(p.jobs) != 1 || string(p.files.records[bad]) != raw {
			t.Errorf("%q: %v", raw, p.jobs)
		}
	}
	// One that was cancelled, and whose process ended before its file was deleted.
	if _, err := p.Delete(context.Background(), officer, j.ID); err != nil {
		t.Fatal(err)
	}
	p.files.files[j.ID] = []byte("x")
	p.start()
	if len(p.files.files) != 0 {
		t.Error("the file of a cancelled export stays")
	}
	if r, _, err := readRecord(fakeVault{}, j.ID, p.files.records[j.ID]); err != nil || r.State != Cancelled {
		t.Errorf("%v, %v", r, err)
	}
}

// A damaged file is not given out: the audit log has no download, the job says it, and the log names it.
func TestDamaged(t *testing.T) {
	p := newProcess(t)
	j := p.ask(Question{})
	p.work()
	p.files.damaged = fmt.Errorf("%w: chunk 3", ErrDamaged)
	if _, f, err := p.Download(context.Background(), officer, j.ID); code(err) != "export_damaged" || f != nil {
		t.Errorf("%v, %v", f, err)
	}
	p.said("ExportAsked", "ExportEnded finished")
	if text := p.log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, j.ID.String()) {
		t.Error(text)
	}
	p.start()
	if got := p.job(j.ID); got.Why == "" || got.State != Finished {
		t.Errorf("%+v", got)
	}
	// One that breaks off while it is sent.
	p.log.Reset()
	w := &watched{io.NopCloser(iotest.ErrReader(errors.New("broken"))), nil}
	told := 0
	w.tell = func(error) { told++ }
	if _, err := io.ReadAll(w); err == nil || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
	w.ReadCloser = io.NopCloser(strings.NewReader("whole"))
	if _, err := io.ReadAll(w); err != nil || told != 1 {
		t.Errorf("%v, told %d times", err, told)
	}
}

// What cannot be kept is not asked for; what cannot be kept any more once it was asked for has failed.
func TestUnwritable(t *testing.T) {
	p := newProcess(t)
	for _, err := range []error{errors.New("read-only"), errFull} {
		p.files.err = err
		if _, err := p.Ask(context.Background(), officer, &Question{Reason: "complaint"}); code(err) != "exports_unwritable" {
			t.Error(err)
		}
	}
	p.said()
	p.files.err = nil
	p.audit.before = func() { p.files.err = errors.New("read-only") }
	p.audit.err = nil
	j, err := p.Ask(context.Background(), officer, &Question{Reason: "complaint"})
	if err != nil || j.State != Failed || j.Why == "" {
		t.Errorf("%+v, %v", j, err)
	}
	p.said("ExportAsked", "ExportEnded failed")
	p.audit.before, p.files.err = nil, nil
	// A question that the audit log did not take leaves nothing.
	p = newProcess(t)
	p.audit.err = ledger.Refused(errors.New("full"))
	if _, err := p.Ask(context.Background(), officer, &Question{Reason: "complaint"}); !errors.Is(err, ledger.ErrRefused) || len(p.files.records) != 0 {
		t.Errorf("%v, %d records", err, len(p.files.records))
	}
}

// On a full disk an export waits, says so, and is made once there is room.
func TestFull(t *testing.T) {
	p := newProcess(t)
	j := p.ask(Question{})
	p.files.err = errFull
	for range 2 * maxAttempts {
		p.work()
		if got := p.job(j.ID); got.State != Queued || !strings.Contains(got.Waits, "full") {
			t.Fatalf("%+v", got)
		}
		p.clock.add(fullPause)
	}
	p.files.err = nil
	p.work()
	if got := p.job(j.ID); got.State != Finished || got.Waits != "" {
		t.Errorf("%+v", got)
	}
}

// A record that was altered is not believed, and nothing of it is touched; a file without a record goes.
func TestAlteredRecord(t *testing.T) {
	p := newProcess(t)
	a, b := p.ask(Question{}), p.ask(Question{})
	p.work()
	was := p.files.records[a.ID]
	for name, raw := range map[string][]byte{"another's": p.files.records[b.ID], "in clear": []byte(p.record(a.ID)), "another tenant's": bytes.Replace(was, []byte("bank"), []byte("tank"), 1)} {
		p.files.records[a.ID] = raw
		p.log.Reset()
		p.start()
		if _, err := p.Job("bank", a.ID); code(err) != "export_not_found" || p.files.files[a.ID] == nil || !bytes.Equal(p.files.records[a.ID], raw) {
			t.Errorf("%s: %v", name, err)
		}
		if text := p.log.String(); !strings.Contains(text, "level=ERROR") || !strings.Contains(text, a.ID.String()+".json") {
			t.Errorf("%s: %s", name, text)
		}
	}
	p.job(b.ID)
	delete(p.files.records, a.ID)
	p.start()
	if p.files.files[a.ID] != nil || p.files.files[b.ID] == nil || !strings.Contains(p.log.String(), a.ID.String()+".sealed") {
		t.Error("the file without a record stays, or the other is gone")
	}
}
