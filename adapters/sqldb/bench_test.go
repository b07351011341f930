package sqldb_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/projections"
)

const benchPartitions = 16

// bench makes whole messages to new recipients, of the size that real ones have.
type bench struct {
	next             [benchPartitions]int64
	parts            [benchPartitions]recipient.PartitionState
	now              time.Time
	keys, references bool
	// bytes: the folds are in bytes and not JSON.
	bytes bool
}

// life is one message's six events, judged, and its stream after each.
type life struct {
	judged [6]ledger.Judged
	state  *recipient.State
}

func (g *bench) message(p int) *life {
	g.now = g.now.Add(100 * time.Microsecond)
	now := event.Millis(g.now)
	var subject event.Pseudonym
	rand.Read(subject[:])
	s := recipient.New("bank", subject)
	box := make([]byte, 260)
	rand.Read(box)
	id := event.NewMessageID(now, p)
	submit := &event.MessageSubmitted{Program: "account", Purpose: "account", Priority: 1, From: "12025550100", Country: "US",
		Places: []event.Place{"US-NY America/New_York"}, Encoding: "gsm7", Segments: 1, ValidUntil: now.Add(24 * time.Hour),
		By: "01932c07-9f3a-7003", Sealed: event.Sealed{SubjectKey: event.NewID(now), ClassKey: "message/2026-11", Box: box}}
	if g.keys {
		submit.Key, submit.Input = hex.EncodeToString(box[:16]), hex.EncodeToString(box[16:32])
		submit.Referenced = g.references
	}
	check := func(name, rule string) event.Check {
		return event.Check{Check: name, Outcome: "allow", Rules: []string{rule}}
	}
	l := &life{state: s}
	for i, d := range []event.Data{
		submit,
		&event.MessageDecided{Outcome: "allow", Until: now.Add(time.Hour), Senders: []string{"12025550100"},
			Checks: []event.Check{check("opt_outs", "opt_outs.none"), check("quiet_hours", "us.federal.hours"), check("countries", "countries.allowed"), check("senders", "senders.own")},
			Clocks: []event.Clock{"America/New_York 2026-11-24T08:40"}, ZoneData: "2026b", Revision: "2026-11-20", Digest: hex.EncodeToString(box[:16])},
		&event.MessageRouted{Rule: "default", Table: 3, Carrier: "simulated", From: "12025550100", Encoding: "gsm7", Parts: 1},
		&event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: hex.EncodeToString(box[:16])}}, CallBy: now.Add(2 * time.Second), AnswerBy: now.Add(30 * time.Second), Reference: 7},
		&event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "simulated", CarrierID: strconv.FormatUint(uint64(box[0])<<32|uint64(now.UnixNano()), 10)},
		&event.ReceiptReceived{Account: "simulated", CarrierID: "x", Attempt: 1, Part: 1, State: "delivered", Final: true, Error: "000", Grade: "network", Match: "id", Sealed: submit.Sealed},
	} {
		e := &event.Event{ID: id, Source: "/ledger", Subject: subject, Time: now, Tenant: "bank", Node: "n1", Data: d}
		if i > 0 {
			e.ID, e.Message = event.NewID(now), id
		}
		if d.Type().Kind() == event.Outcome {
			e.After, e.Control = s.Last, g.parts[p].Control
		}
		why := s.Evolve(&g.parts[p], 0, e)
		if why != "" {
			panic(why)
		}
		l.judged[i] = ledger.Judged{Record: ledger.Record{Event: e}, Why: why, Status: s.Message(id).Status}
	}
	return l
}

// batch has the events from one number to another of each message.
func (g *bench) batch(p int, lives []*life, from, to int) *ledger.Batch {
	b := &ledger.Batch{Partition: event.Partition(p)}
	for _, l := range lives {
		for _, j := range l.judged[from:to] {
			j.Index = g.next[p]
			g.next[p]++
			b.Judged = append(b.Judged, j)
		}
		state := l.state.AppendEncoded(nil)
		if !g.bytes {
			var err error
			if state, err = json.Marshal(l.state); err != nil {
				panic(err)
			}
		}
		b.Streams = append(b.Streams, ledger.Folded{Subject: l.state.Subject, State: state})
	}
	b.Mark = ledger.Mark{Next: g.next[p], Partition: g.parts[p]}
	return b
}

func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// serverCPU is what all processes of the PostgreSQL at url have used, where it runs
// on this machine.
func serverCPU(b *testing.B, conn *pgx.Conn) (used time.Duration) {
	rows, err := conn.Query(b.Context(), `SELECT pid FROM pg_stat_activity`)
	if err != nil {
		b.Fatal(err)
	}
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		b.Fatal(err)
	}
	for _, pid := range pids {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		// proc(5): after the name in brackets, utime and stime are the 12th and 13th, in
		// hundredths of a second.
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, f := range fields[11:13] {
			n, _ := strconv.Atoi(f)
			used += time.Duration(n) * 10 * time.Millisecond
		}
	}
	return used
}

// BenchmarkWrite measures CPU a message, all rows included, 500 messages a batch,
// every recipient new. "whole": the six events come in one batch. "receipts
// later": the receipts come in a batch of their own. "keys": each message has an
// idempotency key, which is a second entry under a random key; "references": and a
// reference of its own, a third. "two a batch": what a transaction costs, however
// little it has.
func BenchmarkWrite(b *testing.B) {
	o := sqldb.Options{Partitions: benchPartitions,
		Reference: func(e *event.Event) (string, error) { return e.Data.(*event.MessageSubmitted).Key, nil }}
	b.Run("sqlite", func(b *testing.B) {
		benchmarkWrite(b, func(b *testing.B) (*sqldb.DB, func() time.Duration) {
			db, err := sqldb.OpenSQLite(filepath.Join(b.TempDir(), "views.db"), o)
			if err != nil {
				b.Fatal(err)
			}
			return db, nil
		})
	})
	b.Run("postgres", func(b *testing.B) {
		benchmarkWrite(b, func(b *testing.B) (*sqldb.DB, func() time.Duration) {
			url := database(b)
			db, err := sqldb.OpenPostgres(b.Context(), url, o)
			if err != nil {
				b.Fatal(err)
			}
			conn, err := pgx.Connect(b.Context(), url)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { conn.Close(context.Background()) })
			return db, func() time.Duration { return serverCPU(b, conn) }
		})
	})
}

func benchmarkWrite(b *testing.B, open func(b *testing.B) (*sqldb.DB, func() time.Duration)) {
	for _, c := range []struct {
		name             string
		cuts             []int
		keys, references bool
		batch            int
	}{
		{name: "whole", cuts: []int{0, 6}},
		{name: "receipts later", cuts: []int{0, 5, 6}},
		{name: "keys", cuts: []int{0, 6}, keys: true},
		{name: "keys and references", cuts: []int{0, 6}, keys: true, references: true},
		{name: "two a batch", cuts: []int{0, 6}, batch: 2},
	} {
		if c.batch == 0 {
			c.batch = 500
		}
		b.Run(c.name, func(b *testing.B) {
			db, server := open(b)
			defer db.Close()
			g := &bench{now: time.Now(), keys: c.keys, references: c.references, bytes: db.KeepsRows()}
			var used, longest, took, served time.Duration
			var doc []byte
			state := 0
			if server != nil {
				served = server()
			}
			done := make(chan error, 1)
			messages := (b.N + c.batch - 1) / c.batch * c.batch
			for n, p := 0, 0; n < b.N; n, p = n+c.batch, (p+1)%benchPartitions {
				var lives []*life
				for range c.batch {
					lives = append(lives, g.message(p))
				}
				var batches []*ledger.Batch
				for i := 1; i < len(c.cuts); i++ {
					batches = append(batches, g.batch(p, lives, c.cuts[i-1], c.cuts[i]))
				}
				was := cpu()
				for _, batch := range batches {
					at := time.Now()
					db.Write(batch, func(err error) { done <- err })
					if err := <-done; err != nil {
						b.Fatal(err)
					}
					took += time.Since(at)
					longest = max(longest, time.Since(at))
					state = len(batch.Streams[0].State)
				}
				used += cpu() - was
				if doc == nil {
					m, err := db.Message(b.Context(), "bank", lives[0].judged[0].Event.ID)
					if err != nil || m.Status != recipient.Delivered {
						b.Fatal(m, err)
					}
					doc = projections.AppendMessage(nil, m)
				}
			}
			b.ReportMetric(float64(used.Microseconds())/float64(messages), "cpu-µs/message")
			if server != nil {
				b.ReportMetric(float64((server()-served).Microseconds())/float64(messages), "server-cpu-µs/message")
			}
			b.ReportMetric(float64(took.Microseconds())/float64(messages), "µs/message")
			b.ReportMetric(float64(longest.Milliseconds()), "longest-ms/batch")
			b.ReportMetric(float64(len(doc)), "doc-bytes")
			b.ReportMetric(float64(state), "state-bytes")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkSearch measures pages of 50 over 50,000 messages, and loading 20 streams.
func BenchmarkSearch(b *testing.B) {
	o := sqldb.Options{Partitions: benchPartitions}
	b.Run("sqlite", func(b *testing.B) {
		db, err := sqldb.OpenSQLite(filepath.Join(b.TempDir(), "views.db"), o)
		if err != nil {
			b.Fatal(err)
		}
		benchmarkSearch(b, db)
	})
	b.Run("postgres", func(b *testing.B) {
		db, err := sqldb.OpenPostgres(b.Context(), database(b), o)
		if err != nil {
			b.Fatal(err)
		}
		benchmarkSearch(b, db)
	})
}

func benchmarkSearch(b *testing.B, db *sqldb.DB) {
	defer db.Close()
	g := &bench{now: time.Now()}
	var last *life
	done := make(chan error, 1)
	for n := range 100 {
		p := n % benchPartitions
		var lives []*life
		for range 500 {
			last = g.message(p)
			lives = append(lives, last)
		}
		db.Write(g.batch(p, lives, 0, 6), func(err error) { done <- err })
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name string
		f    reading.Filter
	}{
		{"all", reading.Filter{Limit: 50}},
		{"status", reading.Filter{Limit: 50, Status: recipient.Delivered}},
		{"rare status", reading.Filter{Limit: 50, Status: recipient.Held}},
		{"recipient", reading.Filter{Limit: 50, Subject: last.state.Subject}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for range b.N {
				if _, err := db.Search(b.Context(), "bank", c.f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("streams", func(b *testing.B) {
		subjects := []event.Pseudonym{last.state.Subject}
		for len(subjects) < 20 {
			subjects = append(subjects, event.Pseudonym{byte(len(subjects))})
		}
		for range b.N {
			if folds, _, err := db.Streams(b.Context(), 3, subjects); err != nil || len(folds) != 1 {
				b.Fatal(len(folds), err)
			}
		}
	})
	b.Run("opt-outs of 10000", func(b *testing.B) {
		subjects := make([]event.Pseudonym, 10000)
		for i := range subjects {
			rand.Read(subjects[i][:])
		}
		for range b.N {
			if _, _, err := db.OptOuts(b.Context(), "bank", subjects); err != nil {
				b.Fatal(err)
			}
		}
	})
}
