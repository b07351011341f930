package export

import (
	"encoding/json"
	"io"
	"iter"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// onDisk is a temporary file on the disk.
type onDisk struct{ *os.File }

func (d onDisk) Rewind() (io.Reader, error) { _, err := d.Seek(0, io.SeekStart); return d, err }
func (d onDisk) Close() error               { return d.File.Close() }

// stream makes n events: messages of seven events each, 1,000 of them under way at a time, with texts. Each event is made
// before it is counted: clock holds how long the making took.
func stream(t *testing.T, n int, peak *uint64, making *time.Duration) iter.Seq2[Entry, error] {
	sealed := event.Sealed{SubjectKey: testID(start, 1), ClassKey: "message/2026-11", Box: make([]byte, 180)}
	open := json.RawMessage(`{"to":"+15005550006","body":"Your parcel comes today between 14:00 and 15:00. Reply STOP to end.","reference":"order-77812"}`)
	from := json.RawMessage(`{"from":"+15005550006"}`)
	checks := []event.Check{}
	for _, c := range []string{"countries", "opt_out", "quiet_hours", "purpose", "content", "frequency", "sender"} {
		checks = append(checks, event.Check{Check: c, Outcome: event.Allow, Rules: []string{c + ".none"}})
	}
	return func(yield func(Entry, error) bool) {
		const flight = 1000
		var m runtime.MemStats
		for i := range n {
			began := time.Now()
			at := start.Add(time.Duration(i) * time.Millisecond)
			message := i/(7*flight)*flight + i%flight // which one; its step is the next line
			step := i / flight % 7
			who := event.NewPseudonym([]byte("key"), "acme", strconv.Itoa(message%50_000))
			id := testID(start.Add(time.Duration(message)*7*time.Millisecond), message)
			e := &event.Event{ID: testID(at, i), Source: "/k3v9", Subject: who, Time: at, Tenant: "acme", Message: id, Node: "a"}
			x := Entry{Position: event.Position{Partition: 3, Index: int64(i)}, Event: e}
			switch step {
			case 0:
				e.ID, e.Message = id, event.ID{}
				e.Data = &event.MessageSubmitted{Program: "delivery", Purpose: "delivery", Priority: 6, From: "+15005550100", Country: "US", Places: []event.Place{"US-FL America/New_York"},
					Encoding: "gsm7", Segments: 1, ValidUntil: at.Add(time.Hour), By: "key-1", Sealed: sealed}
				x.Opened = open
			case 1:
				e.Data = &event.MessageDecided{Outcome: event.Allow, Until: at.Add(time.Hour), Senders: []string{"+15005550100"}, Checks: checks, Clocks: []event.Clock{"America/New_York 2026-11-24T03:00"},
					ZoneData: "2026b", Revision: "2026-11-24", Digest: "5f1d0a9be2c34788a1b2c3d4e5f60718"}
			case 2:
				e.Data = &event.MessageRouted{Rule: "default", Table: 3, Carrier: "smsc-1", From: "+15005550100", Encoding: "gsm7", Parts: 1}
			case 3:
				e.Data = &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "5f1d0a9be2c34788a1b2c3d4e5f60718"}}, CallBy: at.Add(time.Second), AnswerBy: at.Add(2 * time.Second)}
			case 4:
				e.Data = &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "smsc-1", CarrierID: strconv.FormatInt(int64(message)*7919, 16)}
			default:
				e.Data = &event.ReceiptReceived{Account: "smsc-1", CarrierID: strconv.FormatInt(int64(message)*7919, 16), Attempt: 1, Part: 1, State: event.StateDelivered, Final: step == 6,
					Error: "000", Grade: event.GradeNetwork, Match: event.MatchID, Sealed: sealed}
				x.Opened = from
			}
			var err error
			if x.Raw, err = event.Encode(e); err != nil {
				t.Error(err)
			}
			*making += time.Since(began)
			if i%50_000 == 0 {
				runtime.ReadMemStats(&m)
				*peak = max(*peak, m.HeapAlloc)
			}
			if !yield(x, nil) {
				return
			}
		}
	}
}

// A long file: every message is there once and whole, and memory is bounded. CHIROGRAPH_EXPORT_EVENTS sets how
// many events it has; with 1,000,000 it logs the speed.
func TestLongFile(t *testing.T) {
	n := 210_000
	if s := os.Getenv("CHIROGRAPH_EXPORT_EVENTS"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	n -= n % 7000
	o := smallOptions(t)
	dir := t.TempDir()
	o.Temp = func() (Spool, error) { f, err := os.CreateTemp(dir, "x"); return onDisk{f}, err }
	var peak uint64
	var making time.Duration
	began := time.Now()
	r, err := Write(t.Context(), io.Discard, o, stream(t, n, &peak, &making))
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began) - making
	t.Logf("%d events in %v and %v to make them: %.0f a second; %d MB in the heap at most; the file has %d MB", n, took, making, float64(n)/took.Seconds(), peak>>20, r.Size>>20)
	rows := map[string]int64{}
	for _, m := range r.Manifest.Members {
		if m.Rows != nil {
			rows[m.Name] = *m.Rows
		}
		t.Logf("%s: %d MB, %d rows", m.Name, m.Size>>20, rows[m.Name])
	}
	if want := int64(n / 7); rows["tables/messages.csv"] != want || rows["tables/events.csv"] != int64(n) || rows["tables/decisions.csv"] != want || rows["tables/receipts.csv"] != 2*want {
		t.Errorf("the tables have %v rows", rows)
	}
	if peak > 200<<20 {
		t.Errorf("the heap had %d MB", peak>>20)
	}
}
