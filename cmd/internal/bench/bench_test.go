package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/sms"
)

// The number rules take every recipient of a mixture, and outside the United States no operator has the number.
func TestMixedNumbers(t *testing.T) {
	want := []string{"US", "DE", "IE", "NL", "ES"}
	seen := map[string]bool{}
	for i := range 5000 {
		n := i * 997
		s := number(n)
		if seen[s] {
			t.Fatalf("%s is the number of two recipients", s)
		}
		seen[s] = true
		parsed, err := sms.ParseNumber(s, "")
		if err != nil || string(parsed) != s {
			t.Fatalf("recipient %d: %s is read as %q, %v", n, s, parsed, err)
		}
		if c := places.BuiltIn().Country(parsed); c != want[n%5] || parsed.Known() != (c == "US") {
			t.Fatalf("%s is in %s, known: %v", s, c, parsed.Known())
		}
	}
}

func TestMixture(t *testing.T) {
	const n = 20_000
	mix := func(dir string, seed uint64) (all []message, tr *traffic) {
		tr, err := newTraffic(&Cmd{Mix: true, Seed: seed}, dir)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			all = append(all, tr.next(nil))
		}
		return all, tr
	}
	dir := t.TempDir()
	all, tr := mix(dir, 7)
	counts := map[string]int{}
	texted := map[string]bool{}
	for _, m := range all {
		counts[m.program]++
		if texted[m.to] {
			counts["known"]++
		}
		texted[m.to] = true
		if m.key != "" {
			counts["keyed"]++
		}
		if _, parts, err := sms.Count(m.body, sms.SegmentOptions{}); err != nil || parts != 1 && (parts != 2 || m.program == "otp") {
			t.Fatalf("%q has %d parts, %v", m.body, parts, err)
		} else if parts == 2 {
			counts["two"]++
		}
		var r struct{ To, Program, Body string }
		if err := json.Unmarshal(m.request(), &r); err != nil || r.To != m.to || r.Program != m.program || r.Body != m.body {
			t.Fatalf("the request %s says %+v, %v", m.request(), r, err)
		}
	}
	for what, percent := range map[string]int{"otp": 20, "marketing": 80, "known": knownShare, "keyed": keyedShare, "two": longShare * 8 / 10} {
		if got := 100 * counts[what] / n; got < percent-2 || got > percent+2 {
			t.Errorf("%d %% are %s, not %d %%", got, what, percent)
		}
	}
	if same, _ := mix(dir, 7); fmt.Sprint(same) != fmt.Sprint(all) {
		t.Error("the same seed makes other traffic")
	}
	if other, _ := mix(dir, 8); fmt.Sprint(other) == fmt.Sprint(all) {
		t.Error("another seed makes the same traffic")
	}
	if err := tr.remember(dir); err != nil {
		t.Fatal(err)
	}
	later, _ := mix(dir, 7)
	known := 0
	for _, m := range later[:1000] {
		if texted[m.to] {
			known++
		}
	}
	if known < 250 || known > 350 {
		t.Errorf("after a restart %d of 1000 recipients were texted before it", known)
	}
	plain, err := newTraffic(&Cmd{Purpose: "account"}, dir)
	if err != nil || plain.known() != 0 {
		t.Errorf("of no mixture %d recipients are known, %v", plain.known(), err)
	}
	if m := plain.next(nil); m.recipient != tr.newest {
		t.Errorf("the first recipient after %d is %d", tr.newest, m.recipient)
	}
}

// A recipient to whom a message is on its way gets no second one.
func TestBusyRecipients(t *testing.T) {
	tr, err := newTraffic(&Cmd{Mix: true}, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	busy := map[string]bool{}
	for range 2000 {
		m := tr.next(func(to string) bool { return busy[to] })
		if busy[m.to] {
			t.Fatal("a second message to a busy recipient")
		}
		busy[m.to] = true
	}
}

func TestLatencies(t *testing.T) {
	var l, rest latencies
	for i := 1; i <= 1000; i++ {
		d := time.Duration(i) * time.Millisecond
		if i%2 == 0 {
			rest.add(d)
		} else {
			l.add(d)
		}
	}
	l.merge(&rest)
	for q, want := range map[float64]float64{.5: 501, .9: 901, .99: 991, 1: 1000} {
		if got := l.ms(q); got < want || got > want*1.021 && got != 1000 {
			t.Errorf("the quantile %g is %g ms, not %g", q, got, want)
		}
	}
	if got := new(latencies).timings(); got != (timings{}) {
		t.Errorf("nothing has %+v", got)
	}
	var long latencies
	long.add(30 * time.Hour)
	long.add(-time.Second)
	if got := long.timings(); got.Max != 30*3600*1000 || got.Count != 2 {
		t.Errorf("%+v", got)
	}
}

func TestParseMetrics(t *testing.T) {
	m, err := parseMetrics(strings.NewReader("# HELP a A sum.\n# TYPE a gauge\na 1.5e+06\nb{c=\"d\"} 3\ne 4\n"))
	if err != nil || len(m) != 2 || m["a"] != 1.5e6 || m["e"] != 4 {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := parseMetrics(strings.NewReader("a b\n")); err == nil {
		t.Error("a figure that is no number was read")
	}
}

// node is a fake node: it refuses every tenth submit and fails every twentieth, and hands the others to a centre.
func fakeNode(t *testing.T, b *bench) {
	var submits, asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/metrics":
			fmt.Fprintf(w, "process_cpu_seconds_total %d\nprocess_resident_memory_bytes %d\ngo_memstats_heap_alloc_bytes 1048576\nchirograph_views_lag_events 3\n", asked.Add(1), 2<<20)
		case r.Method == http.MethodGet:
			fmt.Fprint(w, `{"status":"delivered"}`)
		default:
			var m struct{ To string }
			if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
				t.Error(err)
			}
			switch n := submits.Add(1); {
			case n%20 == 0:
				w.WriteHeader(http.StatusInternalServerError)
			case n%10 == 0:
				w.WriteHeader(http.StatusServiceUnavailable)
			default:
				(*b.centre.saw.Load())(smsc.Message{Time: time.Now(), To: m.To[1:], Part: 1, Parts: 1})
				w.WriteHeader(http.StatusAccepted)
			}
			fmt.Fprint(w, `{"id":"1"}`)
		}
	}))
	t.Cleanup(server.Close)
	b.urls, b.client = []string{server.URL}, server.Client()
}

func TestSteady(t *testing.T) {
	b := &bench{c: &Cmd{Rate: 1000, For: 2 * time.Second, Every: time.Second, Outstanding: 100}, centre: new(centre), traffic: &traffic{program: "account"}}
	fakeNode(t, b)
	var out bytes.Buffer
	r, err := b.steady(t.Context(), &out)
	if err != nil {
		t.Fatal(err)
	}
	sum := r.Total
	if sum.Accepted+sum.Refused+sum.Failed+r.Unsent != 2000 || sum.Refused != sum.Failed || sum.Refused < 90 && r.Unsent == 0 {
		t.Errorf("%d accepted, %d refused, %d failed, %d not sent, of 2000", sum.Accepted, sum.Refused, sum.Failed, r.Unsent)
	}
	if sum.Answer.Count != sum.Accepted || sum.Sent.Count != sum.Accepted || r.Unseen != 0 {
		t.Errorf("%d answers and %d arrivals of %d were timed; %d were not seen", sum.Answer.Count, sum.Sent.Count, sum.Accepted, r.Unseen)
	}
	if sum.RSS != 2 || sum.Heap != 1 || sum.Lag != 3 || sum.CPU <= 0 || len(r.Rows) < 2 {
		t.Errorf("%+v, %d rows", sum, len(r.Rows))
	}
	rows := 0
	for _, x := range r.Rows {
		rows += x.Accepted
	}
	if lines := strings.Count(out.String(), "\n"); rows != sum.Accepted || lines != 2+len(r.Rows)+7 {
		t.Errorf("the rows have %d of %d accepted; %d lines were printed:\n%s", rows, sum.Accepted, lines, out.String())
	}
}

func TestCompare(t *testing.T) {
	figures := func(perSecond, p99, cpu float64) *Figures {
		return &Figures{Throughput: &ThroughputReport{PerSecond: perSecond, Accepted: 1, CPU: 1, Answer: timings{P50: 1, P99: 1}},
			Steady: &SteadyReport{Rate: 10, Total: Row{Accepted: 100, PerSecond: 10, CPU: cpu, Answer: timings{P50: 1, P99: p99}}}}
	}
	old := figures(1000, 100, 200)
	for _, c := range []struct {
		name  string
		now   *Figures
		worse string
	}{
		{"the same", figures(1000, 100, 200), ""},
		{"within the tolerance", figures(910, 109, 219), ""},
		{"better", figures(2000, 10, 20), ""},
		{"slower", figures(900, 100, 200), "1 figure worse"},
		{"later and dearer", figures(1000, 200, 300), "2 figures worse"},
	} {
		var out bytes.Buffer
		err := compare(&out, old, c.now, 10)
		var exit *terminal.ExitError
		if (err == nil) != (c.worse == "") || err != nil && (!strings.Contains(err.Error(), c.worse) || !errors.As(err, &exit) || exit.Code != 1) {
			t.Errorf("%s: %v\n%s", c.name, err, out.String())
		}
	}
	if err := compare(io.Discard, figures(1, 1.5, 1), figures(1, 6, 1), 10); err != nil {
		t.Errorf("4.5 ms more are what a machine adds: %v", err)
	}
	if err := compare(io.Discard, &Figures{Steady: old.Steady}, &Figures{Throughput: old.Throughput}, 10); err == nil {
		t.Error("runs without a figure in common were compared")
	}
}

// What --json prints is what --against reads.
func TestFiguresAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "figures.json")
	f := &Figures{CPUs: 2, Mix: true, Steady: &SteadyReport{Rate: 5, Rows: []Row{{Accepted: 3, Answer: timings{Count: 3, P99: 2.5}}}}}
	var out bytes.Buffer
	if err := (&terminal.Globals{Stdout: &out}).PrintValue(f); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readFigures(path)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(f)
	if b, _ := json.Marshal(got); string(a) != string(b) {
		t.Errorf("%s was read as %s", a, b)
	}
	if err := os.WriteFile(path, []byte(`{"events":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readFigures(path); err == nil {
		t.Error("a file without figures was read")
	}
}
