package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

func TestMain(m *testing.M) {
	// A run of the session costs 50 µs, and a rare order is what it is there to find.
	for name, value := range map[string]string{"rapid.checks": "20000", "rapid.steps": "50", "rapid.nofailfile": "true"} {
		if err := flag.Set(name, value); err != nil {
			panic(err)
		}
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait in these tests; none passes or fails by a shorter time.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// inbox keeps what was delivered and acknowledges with err, as often as refuse
// says, and then with nil.
type inbox struct {
	mu     sync.Mutex
	got    []ledger.Delivery
	refuse int
	more   chan struct{}
}

func newInbox() *inbox { return &inbox{more: make(chan struct{}, 1)} }

func (i *inbox) Deliver(d ledger.Delivery, ack func(error)) {
	i.mu.Lock()
	refused := i.refuse > 0
	if refused {
		i.refuse--
	} else {
		i.got = append(i.got, d)
	}
	i.mu.Unlock()
	if refused {
		ack(io.ErrShortWrite)
		return
	}
	ack(nil)
	signal(i.more)
}

// wait returns what was delivered once enough says so.
func (i *inbox) wait(t testing.TB, enough func([]ledger.Delivery) bool) []ledger.Delivery {
	t.Helper()
	ctx := within(t)
	for {
		i.mu.Lock()
		got := i.got[:len(i.got):len(i.got)]
		i.mu.Unlock()
		if enough(got) {
			return got
		}
		select {
		case <-i.more:
		case <-ctx.Done():
			t.Fatalf("gave up waiting after %d deliveries", len(got))
		}
	}
}

func count(n int) func([]ledger.Delivery) bool {
	return func(got []ledger.Delivery) bool { return len(got) >= n }
}

// pair is a client bound to a centre over loopback TCP.
type pair struct {
	*Client
	centre *smsc.Server
	inbox  *inbox
	stop   func()
}

func start(t testing.TB, cfg Config, centre smsc.Config) *pair {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if centre.FirstID == 0 {
		centre.FirstID = 4096
	}
	if centre.RedeliverAfter == 0 {
		centre.RedeliverAfter = 2 * patience // a slow machine is not a lost acknowledgement
	}
	cfg.Account, cfg.Addr = "test", l.Addr().String()
	if cfg.SystemID == "" {
		cfg.SystemID = "esme"
	}
	if cfg.ReconnectMin == 0 {
		cfg.ReconnectMin, cfg.ReconnectMax = time.Millisecond, 10*time.Millisecond
	}
	p := &pair{centre: smsc.New(centre), inbox: newInbox()}
	if p.Client, err = New(cfg, p.inbox, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	serveCtx, stopServe := context.WithCancel(context.Background())
	runCtx, stopRun := context.WithCancel(context.Background())
	served, ran := make(chan error, 1), make(chan error, 1)
	go func() { served <- p.centre.Serve(serveCtx, l) }()
	go func() { ran <- p.Run(runCtx) }()
	p.stop = sync.OnceFunc(func() {
		stopRun()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
		stopServe()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(p.stop)
	return p
}

// bound waits for a bind.
func (p *pair) bound(t testing.TB) {
	t.Helper()
	p.until(t, func() bool { return p.State().Bound })
}

// until waits for something that Changed announces.
func (p *pair) until(t testing.TB, ok func() bool) {
	t.Helper()
	ctx := within(t)
	for !ok() {
		select {
		case <-p.Changed():
		case <-ctx.Done():
			t.Fatalf("gave up waiting; state %+v, stats %+v", p.State(), p.Stats())
		}
	}
}

func handoff(n int) ledger.Handoff {
	now := time.Now()
	return ledger.Handoff{
		Part: 1, Parts: 1, Reference: uint16(n),
		To: "+14155550123", From: "+14155550100",
		Segment: sms.Segment{Encoding: sms.GSM7, Octets: []byte("Your code is 123456")},
		CallBy:  now.Add(patience), AnswerBy: now.Add(2 * patience),
	}
}

// send submits n parts, never more than are free, and returns how each ended.
func (p *pair) send(t testing.TB, n int) []ledger.HandoffResult {
	t.Helper()
	results := make([]ledger.HandoffResult, n)
	told := make([]int, n)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := 0; i < n; {
		free := 0
		p.until(t, func() bool {
			var again time.Time
			if free, again = p.free(time.Now()); free == 0 && !again.IsZero() {
				timer := time.NewTimer(time.Until(again))
				<-timer.C
				free, _ = p.free(time.Now())
			}
			return free > 0
		})
		for ; free > 0 && i < n; free, i = free-1, i+1 {
			wg.Add(1)
			h := handoff(i)
			p.Submit(h, func(r ledger.HandoffResult) {
				mu.Lock()
				defer mu.Unlock()
				results[h.Reference] = r
				if told[h.Reference]++; told[h.Reference] == 1 {
					wg.Done()
				}
			})
		}
	}
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	for i, n := range told {
		if n != 1 {
			t.Errorf("done of submit %d was called %d times", i, n)
		}
	}
	return append([]ledger.HandoffResult(nil), results...)
}

func tally(rs []ledger.HandoffResult) (n [5]int) {
	for _, r := range rs {
		n[r.Status]++
	}
	return n
}

func TestSubmitAndReceipt(t *testing.T) {
	p := start(t, Config{}, smsc.Config{})
	rs := p.send(t, 200)
	if n := tally(rs); n[ledger.HandoffTaken] != 200 {
		t.Fatalf("results by status: %v", n)
	}
	got := p.inbox.wait(t, count(200))
	for _, d := range got {
		if d.Receipt == nil || d.Account != "test" || d.From != "14155550123" || d.To != "14155550100" || len(d.Raw) == 0 {
			t.Fatalf("not a receipt: %+v", d)
		}
		r := d.Receipt
		if r.ID != rs[d.Reference].CarrierID || r.State != sms.StateDelivered || !r.Final || r.Error != "" || r.Intermediate {
			t.Fatalf("receipt %+v for %+v", r, rs[d.Reference])
		}
	}
	p.stop()
	st := p.Stats()
	if st.DeliveriesAcked != 200 || st.ConnectionsLost != 0 || st.Open != 0 || st.Unacked != 0 {
		t.Errorf("after a drain: %+v", st)
	}
	if slots, _ := p.free(time.Now()); slots != 0 {
		t.Errorf("%d slots free after Run returned", slots)
	}
	var r ledger.HandoffResult
	p.Submit(handoff(1), func(got ledger.HandoffResult) { r = got })
	if r.Status != ledger.HandoffNotCalled {
		t.Errorf("a submit after Run returned: %+v", r)
	}
}

// lines is a record that can be read after the centre has stopped.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) read(t *testing.T) (out []smsc.Line) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	d := json.NewDecoder(&l.b)
	for d.More() {
		var line smsc.Line
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		out = append(out, line)
	}
	return out
}

// TestCentre drives the client against the centre under each of its flags.
func TestCentre(t *testing.T) {
	const n = 50 // within one window
	status := func(t *testing.T, rs []ledger.HandoffResult, want ledger.HandoffStatus) {
		t.Helper()
		if got := tally(rs); got[want] != len(rs) {
			t.Fatalf("results by status: %v", got)
		}
	}
	cases := []struct {
		name   string
		client Config
		centre smsc.Config
		// deliveries to wait for
		deliveries int
		check      func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery)
	}{
		{name: "receipt delay", centre: smsc.Config{ReceiptDelay: 5 * time.Millisecond}, deliveries: n},
		{name: "no receipts", centre: smsc.Config{NoReceipts: 1}},
		{name: "early receipts", centre: smsc.Config{EarlyReceipts: 1}, deliveries: n},
		{name: "duplicate receipts", centre: smsc.Config{DuplicateReceipts: 1}, deliveries: 2 * n},
		{name: "text receipts", centre: smsc.Config{TextReceipts: true}, deliveries: n,
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				for _, d := range got {
					if d.Receipt.ID == "" || d.Receipt.State != sms.StateDelivered || !d.Receipt.Final || d.Reference != 0 || d.Receipt.Submitted.IsZero() {
						t.Fatalf("%+v", d.Receipt)
					}
				}
			}},
		{name: "hex ids", centre: smsc.Config{HexIDs: true, FirstID: 0xabc0}, client: Config{HexIDs: true}, deliveries: n,
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				for _, d := range got {
					id, err := strconv.ParseUint(d.Receipt.ID, 10, 64)
					if err != nil || strconv.FormatUint(id, 16) != rs[d.Reference].CarrierID {
						t.Fatalf("%q for %q", d.Receipt.ID, rs[d.Reference].CarrierID)
					}
				}
			}},
		{name: "masked numbers", centre: smsc.Config{MaskedNumbers: true}, deliveries: n,
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				if d := got[0]; d.From != "1415555****" || d.To != "1415555****" {
					t.Fatalf("from %s to %s", d.From, d.To)
				}
			}},
		{name: "undeliverable", centre: smsc.Config{Undeliverable: 1}, deliveries: n,
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				for _, d := range got {
					if d.Receipt.State != sms.StateUndeliverable || !d.Receipt.Final || d.Receipt.Error != "27" {
						t.Fatalf("%+v", d.Receipt)
					}
				}
			}},
		{name: "reject", centre: smsc.Config{Reject: 1},
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				status(t, rs, ledger.HandoffFinal)
			}},
		{name: "throttle", centre: smsc.Config{Throttle: 1},
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				// The cut may come while submits are still on their way in.
				n2 := tally(rs)
				if st := p.Stats(); st.TPS == 0 || st.Throttled == 0 || n2[ledger.HandoffRetry]+n2[ledger.HandoffNotCalled] != n {
					t.Fatalf("not slowed down: %+v %v", st, n2)
				}
			}},
		{name: "silent", client: Config{ResponseTimeout: 50 * time.Millisecond}, centre: smsc.Config{Silent: 1}, deliveries: n,
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				status(t, rs, ledger.HandoffUnknown)
				if st := p.Stats(); st.TimedOut != n || st.Open != 0 {
					t.Fatalf("%+v", st)
				}
			}},
		{name: "answers", centre: smsc.Config{NoReceipts: 1, MO: 1, MOTexts: []string{"STOP"}}, deliveries: n,
			check: func(t *testing.T, p *pair, rs []ledger.HandoffResult, got []ledger.Delivery) {
				for _, d := range got {
					if d.Receipt != nil || d.Text() != "STOP" || d.From != "14155550123" || d.To != "14155550100" || d.Concat != nil {
						t.Fatalf("%+v", d)
					}
				}
			}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var record lines
			c.centre.Record = &record
			p := start(t, c.client, c.centre)
			p.bound(t)
			rs := p.send(t, n)
			got := p.inbox.wait(t, count(c.deliveries))
			p.stop()
			if len(p.inbox.got) != c.deliveries {
				t.Fatalf("%d deliveries, not %d", len(p.inbox.got), c.deliveries)
			}
			if c.check == nil {
				status(t, rs, ledger.HandoffTaken)
			} else {
				c.check(t, p, rs, got)
			}
			// Nothing was delivered without an acknowledgement, and early means early.
			acked, answered := 0, map[string]bool{}
			for _, l := range record.read(t) {
				switch {
				case l.Direction == "in" && l.Command == "deliver_sm_resp" && l.Status == "ESME_ROK":
					acked++
				case l.Direction == "out" && l.Command == "submit_sm_resp":
					answered[l.MessageID] = true
				case l.Direction == "out" && l.Command == "deliver_sm" && l.TLVs["0x001e"] != "" && c.centre.Silent == 0 && !c.centre.HexIDs:
					id, _ := hex.DecodeString(l.TLVs["0x001e"])
					if early := !answered[string(bytes.TrimRight(id, "\x00"))]; early != (c.centre.EarlyReceipts == 1) {
						t.Errorf("early is %v", early)
					}
				}
			}
			if acked != c.deliveries {
				t.Errorf("%d of %d acknowledged", acked, c.deliveries)
			}
		})
	}
}

// TestDrop cuts the connection in the middle of submits, again and again: what is
// said of each agrees with the centre's own record.
func TestDrop(t *testing.T) {
	var record lines
	p := start(t, Config{}, smsc.Config{Drop: 0.02, NoReceipts: 0.5, Seed: 7, Record: &record})
	rs := p.send(t, 1000)
	if p.Stats().ConnectionsLost < 5 {
		t.Errorf("the connection was lost %d times only", p.Stats().ConnectionsLost)
	}
	p.stop()
	arrived := make([]int, len(rs))
	ids := map[string]bool{}
	for _, l := range record.read(t) {
		if l.Direction == "in" && l.Command == "submit_sm" {
			arrived[*l.Reference]++
		}
	}
	for i, r := range rs {
		switch r.Status {
		case ledger.HandoffTaken:
			if arrived[i] != 1 || ids[r.CarrierID] {
				t.Errorf("submit %d: taken as %s, arrived %d times", i, r.CarrierID, arrived[i])
			}
			ids[r.CarrierID] = true
		case ledger.HandoffNotCalled:
			if arrived[i] != 0 {
				t.Errorf("submit %d: not called, arrived %d times", i, arrived[i])
			}
		case ledger.HandoffUnknown:
			if arrived[i] > 1 {
				t.Errorf("submit %d: unknown, arrived %d times", i, arrived[i])
			}
		default:
			t.Errorf("submit %d: %+v", i, r)
		}
	}
	n := tally(rs)
	if n[ledger.HandoffTaken] < 100 || n[ledger.HandoffUnknown] < 5 {
		t.Errorf("results by status: %v", n)
	}
}

// TestWindow: a centre that answers nothing gets one window and no more, and the
// drain is bounded.
func TestWindow(t *testing.T) {
	var record lines
	p := start(t, Config{Window: 12, ResponseTimeout: patience, DrainTimeout: time.Millisecond}, smsc.Config{Silent: 1, NoReceipts: 1, Record: &record})
	p.bound(t)
	var mu sync.Mutex
	var rs []ledger.HandoffResult
	for i := range 20 {
		if free, again := p.free(time.Now()); free != max(12-i, 0) || !again.IsZero() {
			t.Errorf("%d free after %d submits, again %v", free, i, again)
		}
		p.Submit(handoff(i), func(r ledger.HandoffResult) {
			mu.Lock()
			defer mu.Unlock()
			rs = append(rs, r)
		})
	}
	for p.Stats().Submits < 12 { // until they are written
		runtime.Gosched()
	}
	p.stop()
	if n := tally(rs); n[ledger.HandoffNotCalled] != 8 || n[ledger.HandoffUnknown] != 12 {
		t.Errorf("results by status: %v", n)
	}
	arrived := 0
	for _, l := range record.read(t) {
		if l.Command == "submit_sm" {
			arrived++
		}
	}
	if arrived != 12 {
		t.Errorf("%d submits arrived", arrived)
	}
}

// TestSetShare: without a share the client waits for its answers, unbinds, and stays
// away until it has one again.
func TestSetShare(t *testing.T) {
	var record lines
	arrived, answer := make(chan struct{}, 100), make(chan struct{})
	p := start(t, Config{}, smsc.Config{NoReceipts: 1, Record: &record, OnMessage: func(smsc.Message) {
		arrived <- struct{}{}
		<-answer
	}})
	p.bound(t)
	told := make(chan ledger.HandoffResult, 2)
	p.Submit(handoff(1), func(r ledger.HandoffResult) { told <- r })
	<-arrived // and not answered
	p.SetShare(false, 0)
	if free, again := p.free(time.Now()); free != 0 || !again.IsZero() || p.State().Bound {
		t.Errorf("%d free, again %v, %+v", free, again, p.State())
	}
	p.Submit(handoff(2), func(r ledger.HandoffResult) { told <- r })
	if r := <-told; r.Status != ledger.HandoffNotCalled {
		t.Errorf("a submit without a share: %+v", r)
	}
	close(answer)
	if r := <-told; r.Status != ledger.HandoffTaken {
		t.Errorf("what was open when the share ended: %+v", r)
	}
	// The client takes note of a share only while it waits for one.
	p.SetShare(false, 0)
	ctx := within(t)
	for !p.isDown() {
		if ctx.Err() != nil {
			t.Fatal("the client does not wait for its share")
		}
		runtime.Gosched()
	}
	if st := p.State(); st.Bound || !strings.Contains(st.LastError, "no share") || p.Stats().ConnectionsLost != 0 {
		t.Errorf("%+v, %+v", st, p.Stats())
	}
	p.SetShare(true, 50)
	p.bound(t)
	if st := p.Stats(); st.Binds != 2 || st.TPS != 50 {
		t.Errorf("%+v", st)
	}
	if n := tally(p.send(t, 20)); n[ledger.HandoffTaken] != 20 {
		t.Errorf("results by status: %v", n)
	}
	p.SetShare(true, 0)
	if p.Stats().TPS != 0 {
		t.Errorf("no limit, and %+v", p.Stats())
	}
	p.stop()
	var commands []string
	for _, l := range record.read(t) {
		if l.Direction == "in" && l.Command != "submit_sm" && l.Command != "enquire_link" {
			commands = append(commands, l.Command)
		}
	}
	if got := strings.Join(commands, " "); got != "bind_transceiver unbind bind_transceiver unbind" {
		t.Errorf("the client sent %s", got)
	}
}

// isDown reports whether the first bind's connection has ended.
func (p *pair) isDown() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.a.sessions[0].phase == down
}

// TestStopWithoutShare: Run ends when it is told to, also while it may not bind.
func TestStopWithoutShare(t *testing.T) {
	c, err := New(Config{Account: "a", Addr: "127.0.0.1:1", SystemID: "s"}, newInbox(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.SetShare(false, 0)
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- c.Run(ctx) }()
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if st := c.State(); st.Bound || !strings.Contains(st.LastError, "no share") {
		t.Errorf("%+v", st)
	}
}

// TestNoCentre: Run ends when it is told to, also while there is nobody to bind to.
func TestNoCentre(t *testing.T) {
	c, err := New(Config{Account: "a", Addr: "127.0.0.1:1", SystemID: "s", ReconnectMin: time.Millisecond, ReconnectMax: time.Hour}, newInbox(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error)
	go func() { ran <- c.Run(ctx) }()
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
	if c.State().Bound || c.State().LastError == "" {
		t.Errorf("%+v", c.State())
	}
}

func TestTLS(t *testing.T) {
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() { smsc.New(smsc.Config{}).Serve(ctx, l) })
	roots := certified.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := New(Config{Account: "a", Addr: l.Addr().String(), SystemID: "s", TLS: roots}, newInbox(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { c.Run(ctx) })
	(&pair{Client: c}).bound(t)
}

// TestRedelivery: what the inbox could not keep comes again until it can.
func TestRedelivery(t *testing.T) {
	p := start(t, Config{}, smsc.Config{RedeliverAfter: 10 * time.Millisecond})
	p.bound(t)
	p.inbox.refuse = 3
	p.send(t, 2)
	p.inbox.wait(t, count(2))
	p.stop()
	if st := p.Stats(); st.DeliveriesRefused != 3 || st.DeliveriesAcked < 2 {
		t.Errorf("%+v", st)
	}
}

func TestInbound(t *testing.T) {
	long := strings.Repeat("Please stop sending me these messages. ", 10)
	for _, text := range []string{"STOP", "Olá, não quero mais {mensagens}", "停止", long, long + "停止"} {
		p := start(t, Config{}, smsc.Config{})
		if err := p.centre.Bound(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := p.centre.Inject("+14155550123", "+14155550100", text); err != nil {
			t.Fatal(err)
		}
		got := p.inbox.wait(t, func(ds []ledger.Delivery) bool {
			return len(ds) > 0 && (ds[0].Concat == nil || len(ds) == ds[0].Concat.Parts)
		})
		parts := make([]string, len(got))
		for i, d := range got {
			if d.Receipt != nil || d.From != "14155550123" || d.To != "14155550100" {
				t.Fatalf("%+v", d)
			}
			if (d.Concat != nil) != (len(text) > 160) {
				t.Fatalf("concat %+v for %d octets", d.Concat, len(text))
			}
			if d.Concat != nil {
				i = d.Concat.Part - 1
				if d.Concat.Reference != got[0].Concat.Reference {
					t.Errorf("parts of one message have references %d and %d", d.Concat.Reference, got[0].Concat.Reference)
				}
			}
			parts[i] = d.Text()
		}
		if joined := strings.Join(parts, ""); joined != text {
			t.Errorf("%q came as %q", text, joined)
		}
		p.stop()
	}
	if err := smsc.New(smsc.Config{}).Inject("+14155550123", "+14155550100", "STOP"); !errors.Is(err, smsc.ErrNoBind) {
		t.Errorf("nobody bound: %v", err)
	}
}

func TestWrongPassword(t *testing.T) {
	p := start(t, Config{Password: "wrong"}, smsc.Config{Password: "right"})
	p.until(t, func() bool { return strings.Contains(p.State().LastError, "ESME_RINVPASWD") })
	p.until(t, func() bool { return p.Stats().BindsRefused >= 3 })
	if st := p.State(); st.Bound || p.Stats().Binds != 0 {
		t.Errorf("%+v", st)
	}
	if slots, again := p.free(time.Now()); slots != 0 || !again.IsZero() {
		t.Errorf("%d free without a bind, again %v", slots, again)
	}
}

// peer is a message centre made of one goroutine, for what the simulated one does not do.
func peer(t *testing.T, cfg Config, serve func(nc net.Conn, r *wire.Reader)) *Client {
	t.Helper()
	return peerWith(t, cfg, newInbox(), serve)
}

// peerWith is peer with an inbox.
func peerWith(t *testing.T, cfg Config, in ledger.Inbox, serve func(nc net.Conn, r *wire.Reader)) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Account, cfg.Addr, cfg.SystemID = "test", l.Addr().String(), "esme"
	cfg.ReconnectMin, cfg.ReconnectMax = time.Millisecond, time.Millisecond
	c, err := New(cfg, in, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			serve(nc, wire.NewReader(nc))
			nc.Close()
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	return c
}

// accept answers the bind.
func accept(nc net.Conn, r *wire.Reader) bool {
	frame, err := r.Next()
	if err != nil {
		return false
	}
	_, err = nc.Write(wire.AppendHeader(nil, data.BIND_TRANSCEIVER_RESP, data.ESME_ROK, int32(binary.BigEndian.Uint32(frame[12:]))))
	return err == nil
}

// TestBadLength: after a command_length that cannot be right, generic_nack and a new connection.
func TestBadLength(t *testing.T) {
	got := make(chan wire.PDU, 100)
	c := peer(t, Config{}, func(nc net.Conn, r *wire.Reader) {
		if !accept(nc, r) {
			return
		}
		bad := wire.AppendHeader(nil, data.DELIVER_SM, 0, 77)
		binary.BigEndian.PutUint32(bad, wire.MaxPDU+1)
		nc.Write(bad)
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			if p, _ := wire.Parse(frame); p.CommandID == data.GENERIC_NACK {
				select {
				case got <- p:
				default:
				}
			}
		}
	})
	ctx := within(t)
	for range 2 {
		select {
		case p := <-got:
			if p.CommandStatus != data.ESME_RINVCMDLEN || p.SequenceNumber != 77 {
				t.Fatalf("%+v", p)
			}
		case <-ctx.Done():
			t.Fatal("no generic_nack")
		}
	}
	if c.Stats().Malformed < 2 {
		t.Errorf("%+v", c.Stats())
	}
}

// TestSilentPeer: a centre that never answers the bind does not hold the client.
func TestSilentPeer(t *testing.T) {
	c := peer(t, Config{ResponseTimeout: 20 * time.Millisecond}, func(nc net.Conn, r *wire.Reader) {
		for {
			if _, err := r.Next(); err != nil {
				return
			}
		}
	})
	ctx := within(t)
	for !strings.Contains(c.State().LastError, "did not answer the bind") {
		select {
		case <-c.Changed():
		case <-ctx.Done():
			t.Fatalf("%+v", c.State())
		}
	}
}

func TestBackoff(t *testing.T) {
	jitter := 0.0
	c, err := New(Config{Account: "a", Addr: "a:1", SystemID: "s", ReconnectMin: time.Second, ReconnectMax: 10 * time.Second,
		Jitter: func() float64 { return jitter }}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for fails, want := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 3: 8 * time.Second, 4: 10 * time.Second, 1000: 10 * time.Second} {
		jitter = 0
		low := (&keeper{c, 0}).backoff(fails)
		jitter = 0.999999
		if high := (&keeper{c, 0}).backoff(fails); low != want/2 || high <= low || high > want {
			t.Errorf("after %d failures: %v to %v, not within %v", fails, low, high, want)
		}
	}
}

func TestConfig(t *testing.T) {
	good := Config{Account: "a", Addr: "a:1", SystemID: "s"}
	for name, spoil := range map[string]func(*Config){
		"account": func(c *Config) { c.Account = "" }, "addr": func(c *Config) { c.Addr = "" },
		"system_id": func(c *Config) { c.SystemID = strings.Repeat("x", 16) }, "password": func(c *Config) { c.Password = strings.Repeat("x", MaxPassword+1) },
		"system_type": func(c *Config) { c.SystemType = strings.Repeat("x", 13) }, "negative": func(c *Config) { c.Window = -1 },
		"alphabet": func(c *Config) { c.Alphabet = "ebcdic" }, "reconnect_min": func(c *Config) { c.ReconnectMin, c.ReconnectMax = 2, 1 },
	} {
		c := good
		spoil(&c)
		if _, err := New(c, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
