package witness

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chirograph/chirograph/adapters/memlog"
	"github.com/chirograph/chirograph/domain/audit"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// What the witness writes passes the verifier: in peace, while the audit log cannot be written for hours, and
// while the clock is set back and forth. No use is lost or counted twice.
func TestWhatIsWrittenPassesTheVerifier(t *testing.T) {
	hours := func(n int, r *rig, use func()) {
		for range 6 * n {
			use()
			after(10 * time.Minute)
		}
	}
	for name, script := range map[string]func(t *testing.T, r *rig, use func(), step func(time.Duration)){
		"peace": func(t *testing.T, r *rig, use func(), step func(time.Duration)) { hours(5, r, use) },
		"an outage": func(t *testing.T, r *rig, use func(), step func(time.Duration)) {
			hours(1, r, use)
			if err := r.log.Close(); err != nil {
				t.Fatal(err)
			}
			hours(5, r, use)
			r.log.Reopen(false)
			hours(1, r, use)
		},
		"a clock that is set back": func(t *testing.T, r *rig, use func(), step func(time.Duration)) {
			hours(1, r, use)
			use()
			step(-20 * time.Minute)
			hours(2, r, use)
			use()
			step(-30 * time.Hour)
			hours(2, r, use)
		},
		"a clock that leaps": func(t *testing.T, r *rig, use func(), step func(time.Duration)) {
			use()
			step(30 * time.Hour)
			hours(2, r, use)
			use()
			step(59*time.Minute + 58*time.Second)
			hours(2, r, use)
		},
		"a clock that is set in an outage": func(t *testing.T, r *rig, use func(), step func(time.Duration)) {
			use()
			if err := r.log.Close(); err != nil {
				t.Fatal(err)
			}
			hours(2, r, use)
			step(-5 * time.Hour)
			hours(2, r, use)
			step(9 * time.Hour)
			hours(2, r, use)
			r.log.Reopen(false)
			after(2 * flushEvery)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var offset atomic.Int64
				clock := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
				log := memlog.New(memlog.Options{})
				w := New(ledger.NewWriter(ledger.Author{Source: "/l", Node: "n"}, log, nil, nil, clock, time.Minute), clock, slog.New(slog.NewTextHandler(io.Discard, nil)))
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- w.Run(ctx) }()
				r := &rig{w, log, nil}
				uses, begun := int64(0), time.Now()
				script(t, r, func() {
					uses += 2
					r.KeyUsed(officer, "messages:read", false)
					r.KeyUsed(ledger.Caller{Key: "operator"}, "operate", true)
					if err := r.read(event.ShownBody, int(uses)); err != nil {
						t.Fatal(err)
					}
				}, func(d time.Duration) { offset.Add(int64(d)) })
				cancel()
				if err := <-ended; err != nil {
					t.Fatal(err)
				}
				v := audit.New()
				counted, reads, events := int64(0), int64(0), 0
				for i, e := range r.events(t) {
					raw, err := event.Encode(e)
					if err != nil {
						t.Fatal(err)
					}
					v.Take(event.AuditPartition, int64(i), raw)
					switch d := e.Data.(type) {
					case *event.KeyUsed:
						events++
						for _, c := range d.Calls {
							counted += c.Times
						}
					case *event.PersonalDataRead:
						reads += int64(len(d.Reads))
					}
				}
				report := v.Finish()
				for _, f := range report.First {
					if f.Code == audit.AuditImpossible || f.Code == audit.Unreadable || f.Code == audit.NotCanonical || f.Code == audit.Misplaced {
						t.Errorf("%s %s: %s", f.Position, f.Code, f.Text)
					}
				}
				if report.Codes[audit.AuditImpossible] > 0 || report.Audit == nil {
					t.Errorf("%d findings of %v", report.Codes[audit.AuditImpossible], report.Audit)
				}
				if counted != uses || reads != uses/2 {
					t.Errorf("%d uses and %d reads are recorded; there were %d and %d", counted, reads, uses, uses/2)
				}
				if least := 2 * int(time.Since(begun)/time.Hour); events < least {
					t.Errorf("%d events of uses in %v, want at least %d", events, time.Since(begun), least)
				}
			})
		})
	}
}

// While the audit log cannot be written, the events of uses that wait have a bound.
func TestUsesAreBounded(t *testing.T) {
	log := memlog.New(memlog.Options{})
	w := New(ledger.NewWriter(ledger.Author{Source: "/l", Node: "n"}, log, nil, nil, func() time.Time { return now }, time.Minute), func() time.Time { return now }, slog.New(slog.NewTextHandler(io.Discard, nil)))
	for i := range mostUses + 2 {
		w.KeyUsed(officer, "messages:read", false)
		w.cutUses(now.Add(time.Duration(i)*time.Hour), true)
	}
	if len(w.pending) != mostUses || w.pendingUses != mostUses {
		t.Errorf("%d events wait, %d by the count", len(w.pending), w.pendingUses)
	}
	if err := w.flush(t.Context(), now, true); err != nil || w.pendingUses != 0 || len(w.pending) != 0 {
		t.Errorf("%v; %d events wait, %d by the count", err, len(w.pending), w.pendingUses)
	}
}
