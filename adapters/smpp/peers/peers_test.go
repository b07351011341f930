// Package peers_test has the SMPP client, and the simulated centre, speak with programs that this project did not
// write: with message centres (node-smpp, ch-smpp), with a gateway (Kannel), and with judges that read what was
// written (smpplib, tshark).
//
// `make peers` fetches the libraries among them. A test without its program is skipped in one line; where CI requires
// the servers, it fails.
package peers_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait in these tests; none passes or fails by a shorter time.
const patience = 30 * time.Second

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// inbox keeps what was delivered, and acknowledges it at once.
type inbox struct {
	deliveries chan ledger.Delivery
}

func (i inbox) Deliver(d ledger.Delivery, ack func(error)) {
	ack(nil)
	i.deliveries <- d
}

// esme is the client under test, bound to a centre.
type esme struct {
	*client.Client
	inbox inbox
	stop  func()
}

// systemID, password and systemType are what the client binds with, each as long as SMPP 3.4 allows.
const (
	systemID   = "chirograph-test"
	password   = "secret08"
	systemType = "peers-system"
)

// bind runs a client until the test ends, or until stop.
func bind(t *testing.T, addr string, enquireLink time.Duration) *esme {
	t.Helper()
	e := &esme{inbox: inbox{make(chan ledger.Delivery, 1000)}}
	var err error
	e.Client, err = client.New(client.Config{Account: "peer", Addr: addr, SystemID: systemID, Password: password, SystemType: systemType,
		EnquireLink: enquireLink, ResponseTimeout: patience, ReconnectMin: time.Millisecond, ReconnectMax: 10 * time.Millisecond,
		// Separate transmitter and receiver binds, several binds and TLS come here when the client has them.
	}, e.inbox, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- e.Run(ctx) }()
	e.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(e.stop)
	return e
}

// until polls for what gives no signal of its own.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("gave up waiting: %s", what)
		}
	}
}

func (e *esme) bound(t testing.TB) {
	t.Helper()
	until(t, "a bind", func() bool { return e.State().Bound })
}

// submit hands one part over and returns the answer. A part that the client did not call, because the centre had asked
// for a lower rate, is handed over once more.
func (e *esme) submit(t testing.TB, h ledger.Handoff) ledger.HandoffResult {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		result := make(chan ledger.HandoffResult, 1)
		e.Submit(h, func(r ledger.HandoffResult) { result <- r })
		select {
		case r := <-result:
			if r.Status != ledger.HandoffNotCalled {
				return r
			}
			<-tick.C
		case <-ctx.Done():
			t.Fatalf("no answer to a submit; %+v, %+v", e.State(), e.Stats())
		}
	}
}

// delivered returns the next delivery.
func (e *esme) delivered(t testing.TB) ledger.Delivery {
	t.Helper()
	select {
	case d := <-e.inbox.deliveries:
		return d
	case <-within(t).Done():
		t.Fatalf("no delivery; %+v, %+v", e.State(), e.Stats())
	}
	panic("not reached")
}

// written is one part to be submitted, and what its submit_sm must say.
type written struct {
	name string
	h    ledger.Handoff
	want fields
}

// fields are those of a submit_sm, as a peer reads them.
type fields struct {
	SourceTON   int    `json:"source_addr_ton"`
	SourceNPI   int    `json:"source_addr_npi"`
	Source      string `json:"source_addr"`
	DestTON     int    `json:"dest_addr_ton"`
	DestNPI     int    `json:"dest_addr_npi"`
	Dest        string `json:"destination_addr"`
	ESMClass    int    `json:"esm_class"`
	Protocol    int    `json:"protocol_id"`
	Priority    int    `json:"priority_flag"`
	Period      string `json:"period"`
	Registered  int    `json:"registered_delivery"`
	Replace     int    `json:"replace_if_present_flag"`
	DataCoding  int    `json:"data_coding"`
	DefaultID   int    `json:"sm_default_msg_id"`
	Reference   int    `json:"user_message_reference"`
	Octets      string `json:"octets"` // in hexadecimal
	ServiceType string `json:"service_type"`
}

// gsmText has characters of the whole GSM alphabet, and of its extension.
const gsmText = "ΔΦΓ Ä£é [€]"

// longText is too long for one SMS.
var longText = "Example Bank: " + strings.Repeat("the statement of your account is ready, ", 9)

// everyPart is a part of every kind that the client writes.
func everyPart(t testing.TB) (out []written) {
	t.Helper()
	add := func(name string, from sms.Sender, body string, o sms.SegmentOptions, change func(*ledger.Handoff, *fields)) {
		segments, err := sms.Segments(body, o)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range segments {
			now := time.Now()
			h := ledger.Handoff{Part: i + 1, Parts: len(segments), Reference: uint16(0x0102 + len(out)), To: "+447400123456", From: from,
				Segment: s, CallBy: now.Add(patience), AnswerBy: now.Add(2 * patience)}
			want := fields{SourceTON: 1, SourceNPI: 1, Source: strings.TrimPrefix(string(from), "+"), DestTON: 1, DestNPI: 1, Dest: "447400123456",
				Registered: 1, DataCoding: int(s.DataCoding), Reference: int(h.Reference), Octets: hexOf(s.Octets)}
			if s.UDH {
				want.ESMClass = 0x40
			}
			if change != nil {
				change(&h, &want)
			}
			out = append(out, written{name, h, want})
		}
	}
	const long = "+12025550123"
	add("GSM 03.38", long, "Your code is 123456", sms.SegmentOptions{}, nil)
	add("the whole GSM alphabet", long, gsmText, sms.SegmentOptions{}, nil)
	add("UCS-2", long, "Ваш код 123456 🙂", sms.SegmentOptions{}, nil)
	add("ISO 8859-1", long, "Votre relevé ©", sms.SegmentOptions{Alphabet: sms.Latin1}, nil)
	add("parts in GSM 03.38", long, longText, sms.SegmentOptions{Reference: 7}, nil)
	add("parts in UCS-2, 16-bit reference", long, strings.Repeat("Выписка готова. ", 10), sms.SegmentOptions{Reference: 0x1234, WideReference: true}, nil)
	add("as long as one SMS may be", long, strings.Repeat("a", 160), sms.SegmentOptions{}, nil)
	add("alphanumeric sender", "Example", "Hello", sms.SegmentOptions{}, func(_ *ledger.Handoff, f *fields) { f.SourceTON, f.SourceNPI = 5, 0 })
	add("short code", "12345", "Hello", sms.SegmentOptions{}, func(_ *ledger.Handoff, f *fields) { f.SourceTON, f.SourceNPI = 3, 0 })
	add("priority and validity", long, "Hello", sms.SegmentOptions{}, func(h *ledger.Handoff, f *fields) {
		// Valid until a time in a zone of its own: the period is in UTC.
		h.Priority, h.ValidUntil = 3, time.Date(2031, 2, 3, 1, 5, 6, 0, time.FixedZone("", -5*3600))
		f.Priority, f.Period = 3, "310203060506000+"
	})
	return out
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}
