package witness

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

// rig is a witness over a log whose appends the test answers.
type rig struct {
	*Witness
	log *memlog.Log
	end func() error
}

func newRig(o memlog.Options) *rig {
	log := memlog.New(o)
	w := New(ledger.NewWriter(ledger.Author{Source: "/l", Node: "n"}, log, nil, nil, time.Now, time.Minute), time.Now, slog.New(slog.NewTextHandler(io.Discard, nil)))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return &rig{w, log, func() error { cancel(); return <-ended }}
}

// events are those of the audit log.
func (r *rig) events(t *testing.T) (out []*event.Event) {
	t.Helper()
	_, head, err := r.log.Read(context.Background(), event.AuditPartition, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	if head > 0 {
		records, _, err := r.log.Read(context.Background(), event.AuditPartition, 0, int(head))
		if err != nil {
			t.Fatal(err)
		}
		for _, rec := range records {
			out = append(out, rec.Event)
		}
	}
	return out
}

func (r *rig) read(kind string, i int) error {
	return r.DataShown(context.Background(), officer, "acme", "complaint 4711", event.DataRead{Call: "getMessage", Shown: []string{kind}, Subject: event.Pseudonym{byte(i >> 8), byte(i), 1}, Events: ids(1, i)})
}

// after lets time pass, and waits until nothing is left to do.
func after(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // the bubble's clock
	synctest.Wait()
}

func TestReadsAreAppendedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(memlog.Options{})
		for i := range 10 {
			if err := r.read(event.ShownBody, i); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.DataShown(t.Context(), officer, "acme", "", event.DataRead{Call: "getMessage", Events: ids(1, 0)}); err != nil {
			t.Error("a read that shows nothing in clear:", err)
		}
		after(flushEvery - time.Millisecond)
		if got := r.events(t); len(got) > 0 {
			t.Errorf("%d events before their time", len(got))
		}
		after(time.Millisecond)
		got := r.events(t)
		if len(got) != 1 || got[0].Tenant != "acme" || !got[0].Subject.IsZero() {
			t.Fatalf("%d events after %v: %+v", len(got), flushEvery, got)
		}
		if d := got[0].Data.(*event.PersonalDataRead); d.Key != "officer" || d.Reason != "complaint 4711" || len(d.Reads) != 10 || d.Until.Sub(d.From) != flushEvery {
			t.Errorf("got %+v", d)
		}
		for i := range mostReads { // an event's worth does not wait
			if err := r.read(event.ShownBody, i); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if got := r.events(t); len(got) != 2 {
			t.Errorf("%d events, want the full one at once", len(got))
		}
		if err := r.read(event.ShownNumber, 1); err != nil {
			t.Fatal(err)
		}
		r.KeyUsed(officer, "messages:read", false)
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
		got = r.events(t)
		if len(got) != 4 || got[3].Data.Type().Name() != "KeyUsed" {
			t.Errorf("%d events after the stop, want the last read and the uses", len(got))
		}
		if err := r.read(event.ShownNumber, 1); !errors.Is(err, reading.ErrNotRecorded) {
			t.Errorf("after the stop: %v", err)
		}
	})
}

func TestUsesAreAppendedHourly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(memlog.Options{})
		r.KeyUsed(officer, "messages:read", false)
		after(usesEvery - flushEvery)
		if got := r.events(t); len(got) > 0 {
			t.Errorf("%d events before the hour", len(got))
		}
		after(2 * flushEvery)
		got := r.events(t)
		if len(got) != 1 {
			t.Fatalf("%d events after the hour", len(got))
		}
		if d := got[0].Data.(*event.KeyUsed); d.Until.Sub(d.From) > time.Hour || len(d.Calls) != 1 {
			t.Errorf("got %+v", d)
		}
		if err := r.end(); err != nil || len(r.events(t)) != 1 {
			t.Errorf("after the stop %d events, %v", len(r.events(t)), err)
		}
	})
}

// Words and evidence are shown only when it is durable that they are.
func TestSensitiveReadsAreDurableFirst(t *testing.T) {
	for _, kind := range []string{event.ShownWords, event.ShownEvidence} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(memlog.Options{Manual: true})
			for _, c := range []struct {
				answer func(*memlog.Pending)
				ok     bool
				events int
			}{{(*memlog.Pending).Land, true, 1}, {(*memlog.Pending).Refuse, false, 1}, {(*memlog.Pending).Lose, false, 1}} {
				done := make(chan error, 1)
				go func() { done <- r.read(kind, 1) }()
				synctest.Wait()
				select {
				case err := <-done:
					t.Fatal("shown before it was durable:", err)
				default:
				}
				c.answer(r.log.Pending()[0])
				if err := <-done; (err == nil) != c.ok || !c.ok && !errors.Is(err, reading.ErrNotRecorded) {
					t.Errorf("%s: %v", kind, err)
				}
				if n := len(r.events(t)); n != c.events {
					t.Errorf("%s: %d events", kind, n)
				}
			}
			if err := r.end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// An append that fails is repeated, under the same id; one of which it is not known, as the same event.
func TestFailedAppendsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(memlog.Options{Manual: true})
		if err := r.read(event.ShownBody, 1); err != nil {
			t.Fatal(err)
		}
		pending := func() *memlog.Pending {
			t.Helper()
			synctest.Wait()
			all := r.log.Pending()
			if len(all) == 0 {
				t.Fatal("nothing is appended")
			}
			return all[len(all)-1]
		}
		after(flushEvery)
		first := pending()
		a := first.Events[0]
		first.Refuse()
		after(soon)
		second := pending()
		b := second.Events[0]
		if b.ID != a.ID || !b.Time.After(a.Time) {
			t.Error("a refused append is not made anew under the same id")
		}
		second.Doubt() // it lands later
		after(soon)
		third := pending()
		third.Refuse()
		after(soon)
		fourth := pending()
		x, _ := event.Encode(b)
		y, _ := event.Encode(fourth.Events[0])
		if !bytes.Equal(x, y) {
			t.Error("an append of which it is not known is not repeated as it was")
		}
		fourth.Land()
		second.Land()
		synctest.Wait()
		got := r.events(t)
		if len(got) != 2 || got[0].ID != got[1].ID {
			t.Errorf("%d events, want the same one twice", len(got))
		}
		page, err := NewTrail(r.log).Entries(t.Context(), Query{Tenant: "acme"})
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("the trail shows %d, %v", len(page.Entries), err)
		}
		if err := r.end(); err != nil {
			t.Error(err)
		}
	})
}

// Where the audit log cannot be written, a bounded number of reads waits; then nothing more is shown. When
// it is written once more, all of them are there.
func TestNothingIsShownThatCannotBeRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(memlog.Options{})
		if err := r.log.Close(); err != nil {
			t.Fatal(err)
		}
		shown := 0
		for ; shown <= mostWaiting; shown++ {
			if err := r.read(event.ShownBody, shown); err != nil {
				if !errors.Is(err, reading.ErrNotRecorded) {
					t.Error(err)
				}
				break
			}
			if shown%1000 == 0 {
				after(time.Second)
			}
		}
		if shown != mostWaiting {
			t.Errorf("%d reads were shown, want %d", shown, mostWaiting)
		}
		after(time.Minute)
		if err := r.read(event.ShownBody, 20_000); !errors.Is(err, reading.ErrNotRecorded) {
			t.Errorf("a minute later: %v", err)
		}
		if err := r.read(event.ShownBody, 0); !errors.Is(err, reading.ErrNotRecorded) { // even what waits already: it is another read
			t.Errorf("once more: %v", err)
		}
		r.log.Reopen(false)
		after(2 * flushEvery)
		reads := 0
		for _, e := range r.events(t) {
			reads += len(e.Data.(*event.PersonalDataRead).Reads)
		}
		if reads != shown {
			t.Errorf("%d reads are recorded of %d that were shown", reads, shown)
		}
		if err := r.read(event.ShownBody, 1); err != nil {
			t.Error("after it is written again:", err)
		}
		if err := r.log.Close(); err != nil {
			t.Fatal(err)
		}
		if err := r.end(); err == nil {
			t.Error("a stop that loses a read says nothing")
		}
	})
}
