package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// TestBinds is every field of each kind of bind, read back.
func TestBinds(t *testing.T) {
	cfg := testConfig()
	cfg.Password, cfg.SystemType, cfg.AddrTON, cfg.AddrNPI, cfg.AddressRange = strings.Repeat("p", MaxPassword), "SMPP", 1, 8, "1415*"
	for apart, want := range map[bool][]data.CommandIDType{
		false: {data.BIND_TRANSCEIVER, data.BIND_TRANSCEIVER},
		true:  {data.BIND_TRANSMITTER, data.BIND_RECEIVER, data.BIND_TRANSMITTER, data.BIND_RECEIVER},
	} {
		cfg.Apart, cfg.Binds = apart, 2
		var got []data.CommandIDType
		for _, s := range newAccount(cfg).sessions {
			s.connected(epoch)
			p := write(s, epoch)[0]
			got = append(got, p.CommandID)
			if b := p.Bind; b.SystemID != "esme" || b.Password != cfg.Password || b.SystemType != "SMPP" || b.InterfaceVersion != 0x34 ||
				b.AddressRange != pdu.NewAddressRangeWithTonNpiAddr(1, 8, "1415*") {
				t.Errorf("%+v", b)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("apart %v: %v", apart, got)
		}
	}
}

// TestApart: nothing is sent without a bind that receives; what is sent goes over the transmitter; and
// what the carrier delivers over either is taken.
func TestApart(t *testing.T) {
	cfg := testConfig()
	cfg.Apart = true
	a := newAccount(cfg)
	up := func(s *session) {
		s.connected(epoch)
		p := write(s, epoch)[0]
		s.receive(response(wire.Response(p.CommandID), 0, p.SequenceNumber, ""), nil, epoch)
	}
	sender, receiver := a.sessions[0], a.sessions[1]
	up(sender)
	if ok, next := a.takes(0, epoch); ok || !next.IsZero() {
		t.Error("takes a submit while no bind receives")
	}
	up(receiver)
	var got []result
	part := func() {
		a.submit(testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) }), epoch)
	}
	settle := func() {
		a.flow(epoch)
		for _, x := range a.take().answers {
			x.done(x.result)
		}
	}
	part()
	settle()
	if out := write(receiver, epoch); len(out) != 0 {
		t.Errorf("over the receiver: %+v", out)
	}
	out := write(sender, epoch)
	if len(out) != 1 || out[0].CommandID != data.SUBMIT_SM {
		t.Fatalf("over the transmitter: %+v", out)
	}
	for _, s := range a.sessions {
		s.receive(wire.PDU{Header: pdu.Header{CommandID: data.DELIVER_SM, SequenceNumber: 5}, Message: &wire.Message{}}, nil, epoch)
		if d := a.take().deliveries; len(d) != 1 || d[0].session != s.index {
			t.Errorf("%+v", d)
		}
	}
	receiver.lost(errors.New("gone"), epoch)
	part()
	settle()
	if len(got) != 1 || got[0].outcome != notCalled {
		t.Errorf("without a receiver: %+v", got)
	}
	sender.receive(response(data.SUBMIT_SM_RESP, 0, out[0].SequenceNumber, "42"), nil, epoch)
	settle()
	if len(got) != 2 || got[1].outcome != accepted {
		t.Errorf("%+v", got)
	}
}

// TestSeveralBinds: each bind has a window; what a lost bind had not written goes over another; the
// account is usable while one is up.
func TestSeveralBinds(t *testing.T) {
	cfg := testConfig()
	cfg.Binds, cfg.Window = 3, 2
	a := boundAccount(t, cfg)
	var got []result
	for range 8 {
		a.submit(testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) }), epoch)
	}
	a.flow(epoch)
	for _, s := range a.sessions {
		if len(s.window) != 2 {
			t.Errorf("bind %d has %d", s.index, len(s.window))
		}
	}
	if ok, _ := a.takes(0, epoch); ok || len(a.queue) != 2 {
		t.Errorf("takes more with %d waiting", len(a.queue))
	}
	written := len(write(a.sessions[0], epoch))
	a.sessions[0].lost(errors.New("gone"), epoch) // two unknown
	a.sessions[1].lost(errors.New("gone"), epoch) // two come back
	a.flow(epoch)
	if len(a.queue) != 4 || written != 2 {
		t.Errorf("%d wait", len(a.queue))
	}
	s := a.sessions[2]
	for range 3 {
		for _, p := range write(s, epoch) {
			s.receive(response(data.SUBMIT_SM_RESP, 0, p.SequenceNumber, "x"), nil, epoch)
		}
		a.flow(epoch)
	}
	for _, x := range a.take().answers {
		x.done(x.result)
	}
	n := map[outcome]int{}
	for _, r := range got {
		n[r.outcome]++
	}
	if n[unknown] != 2 || n[accepted] != 6 {
		t.Errorf("%v", n)
	}
}

// TestSeveralBindsTCP: with four binds over sockets, each submit is answered and each receipt taken.
func TestSeveralBindsTCP(t *testing.T) {
	for _, apart := range []bool{false, true} {
		p := start(t, Config{Binds: 4, Apart: apart, Window: 3}, smsc.Config{})
		p.bound(t)
		if n := tally(p.send(t, 300)); n[ledger.HandoffTaken] != 300 {
			t.Errorf("results by status: %v", n)
		}
		p.inbox.wait(t, count(300))
		p.until(t, func() bool { st := p.State(); return st.BindsUp == st.Binds })
		p.stop()
		if st := p.Stats(); st.DeliveriesAcked != 300 || st.Unacked != 0 || st.ConnectionsLost != 0 {
			t.Errorf("%+v", st)
		}
	}
}

// TestFailover: an address that takes no bind is followed by the next one without a wait, and a lost bind
// begins with the first.
func TestFailover(t *testing.T) {
	var mu sync.Mutex
	var tried []string
	listen := func(name string, refuse *bool) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				tried = append(tried, name)
				no := *refuse
				mu.Unlock()
				r := wire.NewReader(nc)
				frame, err := r.Next()
				if err != nil {
					continue
				}
				p, _ := wire.Parse(frame)
				status := data.ESME_ROK
				if no {
					status = data.ESME_RBINDFAIL
				}
				nc.Write(wire.AppendHeader(nil, data.BIND_TRANSCEIVER_RESP, status, p.SequenceNumber))
				go func() {
					for {
						if _, err := r.Next(); err != nil {
							nc.Close()
							return
						}
						nc.Close() // the first thing after the bind ends it
					}
				}()
			}
		}()
		return l.Addr().String()
	}
	refusing, taking := true, false
	first := listen("first", &refusing)
	second := listen("second", &taking)
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := closed.Addr().String()
	closed.Close()
	c, err := New(Config{Account: "a", Addr: first, Failover: []string{nobody, second}, SystemID: "s", EnquireLink: 20 * time.Millisecond,
		ReconnectMin: time.Millisecond, ReconnectMax: 2 * time.Millisecond}, newInbox(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	p := &pair{Client: c}
	p.until(t, func() bool { return c.Stats().Binds >= 2 })
	mu.Lock()
	refusing = false
	mu.Unlock()
	before := c.Stats().BindsRefused
	p.until(t, func() bool { return c.Stats().Binds >= 5 })
	cancel()
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(tried[:4], []string{"first", "second", "first", "second"}) || tried[len(tried)-1] != "first" || before < 2 {
		t.Errorf("tried %v", tried)
	}
}

// authority makes a certificate authority, and certificates for the given names.
func authority(t *testing.T) (pool *x509.CertPool, issue func(name string) tls.Certificate) {
	t.Helper()
	make := func(template, parent *x509.Certificate, signer *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, key := make(ca, ca, nil)
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(root)
	return pool, func(name string) tls.Certificate {
		leaf, k := make(&x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}, root, key)
		return tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: k}
	}
}

// TestTLSErrors: where TLS is the matter, the account's error says so, and what to do.
func TestTLSErrors(t *testing.T) {
	pool, issue := authority(t)
	other, _ := authority(t)
	server := func(version uint16) *tls.Config {
		return &tls.Config{Certificates: []tls.Certificate{issue("smpp.example.com")}, MaxVersion: version}
	}
	mutual := func(version uint16) *tls.Config {
		c := server(version)
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool
		return c
	}
	ok := &tls.Config{RootCAs: pool, ServerName: "smpp.example.com"}
	certified := &tls.Config{RootCAs: pool, ServerName: "smpp.example.com", Certificates: []tls.Certificate{issue("node")}}
	for name, c := range map[string]struct {
		server, client *tls.Config
		want           string // in the error; "" is a bind
	}{
		"both speak TLS":                      {server(0), ok, ""},
		"TLS 1.2":                             {server(tls.VersionTLS12), ok, ""},
		"with a client certificate":           {mutual(0), certified, ""},
		"TLS to a plain port":                 {nil, ok, "TLS with "},
		"plain to a TLS port":                 {server(0), nil, "set tls: true"},
		"another authority":                   {server(0), &tls.Config{RootCAs: other, ServerName: "smpp.example.com"}, "set ca_file"},
		"another name":                        {server(0), &tls.Config{RootCAs: pool, ServerName: "wrong.example.com"}, "set server_name"},
		"no client certificate":               {mutual(0), ok, "client certificate"},
		"no client certificate, with TLS 1.2": {mutual(tls.VersionTLS12), ok, "client certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			addr := l.Addr().String()
			if c.server != nil {
				l = tls.NewListener(l, c.server)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var wg sync.WaitGroup
			defer wg.Wait()
			defer cancel()
			wg.Go(func() { smsc.New(smsc.Config{}).Serve(ctx, l) })
			cl, err := New(Config{Account: "a", Addr: addr, SystemID: "s", TLS: c.client, ReconnectMin: time.Millisecond, ReconnectMax: time.Millisecond,
				ResponseTimeout: patience}, newInbox(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { cl.Run(ctx) })
			p := &pair{Client: cl}
			if c.want == "" {
				p.bound(t)
				return
			}
			p.until(t, func() bool { return strings.Contains(cl.State().LastError, c.want) })
		})
	}
}

// TestTLSSilence: a port that takes the connection and answers no handshake.
func TestTLSSilence(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := New(Config{Account: "a", Addr: l.Addr().String(), SystemID: "s", TLS: &tls.Config{}, ResponseTimeout: time.Millisecond}, newInbox(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&keeper{c, 0}).dial(context.Background(), l.Addr().String()); err == nil || !strings.Contains(err.Error(), "may not speak TLS") {
		t.Errorf("%v", err)
	}
}

// TestSubmitOptions: what an account adds to its submits.
func TestSubmitOptions(t *testing.T) {
	octet := func(b byte) *byte { return &b }
	cfg := Config{ServiceType: "CMT", SourceTON: octet(0), SourceNPI: octet(9), DestTON: octet(2), DestNPI: octet(8), TLVs: []TLV{
		{Tag: 0x1400, Value: []byte("1101")}, {Tag: 0x1401, Value: []byte("1107\x00"), Programs: []string{"codes"}},
		{Tag: 0x1402, Value: []byte{1}, Programs: []string{"clinic/codes"}}, {Tag: 0x1403, Value: []byte{}}}}
	h := ledger.Handoff{Tenant: "bank", Program: "codes", From: "+14155550100", To: "+14155550123", Segment: sms.Segment{Octets: []byte("hi")}}
	read := func() *wire.Message {
		octets, err := submitSM(h, cfg)
		if err != nil {
			t.Fatal(err)
		}
		p, err := wire.Parse(octets)
		if err != nil || p.Message.Cut {
			t.Fatalf("%+v, %v", p, err)
		}
		return p.Message
	}
	m := read()
	if !strings.HasPrefix(string(m.Body), "CMT\x00") || m.Source != (wire.Address{TON: 0, NPI: 9, Octets: "14155550100"}) ||
		m.Dest != (wire.Address{TON: 2, NPI: 8, Octets: "14155550123"}) {
		t.Errorf("%+v", m)
	}
	if len(m.TLVs) != 4 || string(m.TLVs[0x1400].Data) != "1101" || string(m.TLVs[0x1401].Data) != "1107\x00" || m.TLVs[0x1403].Data == nil {
		t.Errorf("%+v", m.TLVs)
	}
	if h.Tenant = "clinic"; string(read().TLVs[0x1402].Data) != "\x01" {
		t.Error("the TLV of clinic/codes is missing")
	}
	if h.Program = "news"; len(read().TLVs) != 3 {
		t.Error("a TLV of another program")
	}
}

// TestQuestions: query_sm and cancel_sm are asked where the carrier supports them, and what it answers of the
// message is given to the inbox as a receipt.
func TestQuestions(t *testing.T) {
	x := ledger.Asked{CarrierID: "42", From: "MyBank", To: "+14155550123"}
	cfg := testConfig()
	if a := boundAccount(t, cfg); a.ask(data.QUERY_SM, x, epoch) || a.ask(data.CANCEL_SM, x, epoch) {
		t.Error("asked a carrier that does not support it")
	}
	cfg.QuerySM, cfg.CancelSM, cfg.ServiceType = true, true, "CMT"
	if a := newAccount(cfg); a.ask(data.QUERY_SM, x, epoch) {
		t.Error("asked without a bind")
	}
	a := boundAccount(t, cfg)
	s := a.sessions[0]
	for _, id := range []string{"", `caf\xE9`, "sha256:00ff", "head~sha256:00ff"} {
		if a.ask(data.QUERY_SM, ledger.Asked{CarrierID: id}, epoch) {
			t.Errorf("asked about %q, which the carrier did not write so", id)
		}
	}
	ask := func(command data.CommandIDType) int32 {
		t.Helper()
		if !a.ask(command, x, epoch) {
			t.Fatal("not asked")
		}
		buf, _ := s.flush(nil, epoch)
		s.wrote(len(buf), nil, epoch)
		b := pdu.NewBuffer(buf)
		p, err := pdu.Parse(b)
		if err != nil || b.Len() != 0 {
			t.Fatal(err)
		}
		switch p := p.(type) {
		case *pdu.QuerySM:
			if p.MessageID != "42" || p.SourceAddr.Address() != "MyBank" || p.SourceAddr.Ton() != 5 {
				t.Errorf("%+v", p)
			}
		case *pdu.CancelSM:
			if p.MessageID != "42" || p.ServiceType != "CMT" || p.SourceAddr.Address() != "MyBank" || p.DestAddr.Address() != "14155550123" || p.DestAddr.Ton() != 1 {
				t.Errorf("%+v", p)
			}
		default:
			t.Errorf("%T", p)
		}
		return p.GetSequenceNumber()
	}
	answer := func(command data.CommandIDType, status data.CommandStatusType, seq int32, body string) *report {
		p, err := wire.Parse(frameOf(wire.Response(command), status, seq, body))
		s.receive(p, err, epoch)
		out := a.take().deliveries
		if len(out) == 0 {
			return nil
		}
		return out[0].report
	}
	for name, c := range map[string]struct {
		command data.CommandIDType
		status  data.CommandStatusType
		body    string
		want    *sms.Receipt
	}{
		"delivered":          {data.QUERY_SM, 0, "42\x00261124120000000+\x00\x02\x00", &sms.Receipt{ID: "42", State: sms.StateDelivered, Final: true}},
		"on its way":         {data.QUERY_SM, 0, "42\x00\x00\x01\x00", &sms.Receipt{ID: "42", State: sms.StateEnroute}},
		"undeliverable":      {data.QUERY_SM, 0, "42\x00\x00\x05\x1b", &sms.Receipt{ID: "42", State: sms.StateUndeliverable, Final: true, Error: "27"}},
		"no error code":      {data.QUERY_SM, 0, "42\x00\x00\x02", &sms.Receipt{ID: "42", State: sms.StateDelivered, Final: true}},
		"a state of its own": {data.QUERY_SM, 0, "42\x00\x00\x77\x00", &sms.Receipt{ID: "42", State: sms.StateUnknown}},
		"cut":                {data.QUERY_SM, 0, "42\x00\x00", nil},
		"no body":            {data.QUERY_SM, 0, "", nil},
		"unknown to it":      {data.QUERY_SM, data.ESME_RQUERYFAIL, "", nil},
		"cancelled":          {data.CANCEL_SM, 0, "", &sms.Receipt{ID: "42", State: sms.StateDeleted, Final: true}},
		"too late to cancel": {data.CANCEL_SM, data.ESME_RCANCELFAIL, "", nil},
	} {
		r := answer(c.command, c.status, ask(c.command), c.body)
		if (r == nil) != (c.want == nil) || r != nil && (r.receipt != *c.want || r.from != "14155550123" || r.to != "MyBank" || string(r.raw) != c.body) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if answer(data.QUERY_SM, 0, 4711, "42\x00\x00\x02\x00") != nil || s.stats.Unexpected == 0 {
		t.Error("an answer to no question counts")
	}
	seq := ask(data.QUERY_SM)
	s.tick(epoch.Add(cfg.ResponseTimeout))
	if answer(data.QUERY_SM, 0, seq, "42\x00\x00\x02\x00") != nil || s.phase != bound {
		t.Error("an answer after its time counts")
	}
	seq = ask(data.CANCEL_SM)
	s.receive(response(data.GENERIC_NACK, data.ESME_RINVCMDID, seq, ""), nil, epoch)
	if len(s.questions) != 0 || s.phase != bound {
		t.Error("a nack ends no question")
	}
	for range maxQuestions {
		ask(data.QUERY_SM)
	}
	if a.ask(data.QUERY_SM, x, epoch) {
		t.Errorf("more than %d questions", maxQuestions)
	}
}

// TestPeersCommands: what a carrier may send by itself costs no bind, but for unbind.
func TestPeersCommands(t *testing.T) {
	s := boundSession(t, testConfig())
	for _, id := range []data.CommandIDType{data.OUTBIND, data.ALERT_NOTIFICATION, data.BIND_RECEIVER_RESP, data.GENERIC_NACK} {
		s.receive(response(id, 0, 3, ""), nil, epoch)
	}
	if st := s.stats; s.phase != bound || st.Outbinds != 1 || st.Alerts != 1 {
		t.Errorf("phase %d, %+v", s.phase, st)
	}
	// outbind instead of an answer to the bind: the bind is on its way already, and its answer comes.
	s = newTestSession(testConfig())
	s.connected(epoch)
	p := write(s, epoch)[0]
	s.receive(response(data.OUTBIND, 0, 1, ""), nil, epoch)
	s.receive(response(data.BIND_TRANSCEIVER_RESP, 0, p.SequenceNumber, ""), nil, epoch)
	if s.phase != bound {
		t.Errorf("phase %d after outbind", s.phase)
	}
	s.receive(response(data.UNBIND, 0, 9, ""), nil, epoch)
	if out := write(s, epoch); s.phase != closing || len(out) != 1 || out[0].CommandID != data.UNBIND_RESP || out[0].SequenceNumber != 9 {
		t.Errorf("phase %d, %+v", s.phase, out)
	}
}

// TestAlive: after enquire_link whatever the peer sends shows that it is alive; only silence ends the bind.
func TestAlive(t *testing.T) {
	cfg := testConfig()
	s := boundSession(t, cfg)
	now := epoch
	for i := range 5 {
		now = now.Add(cfg.EnquireLink)
		s.tick(now)
		if out := write(s, now); len(out) != 1 || out[0].CommandID != data.ENQUIRE_LINK {
			t.Fatalf("%+v", out)
		}
		s.receive(response(data.ENQUIRE_LINK_RESP, 0, int32(1000+i), ""), nil, now.Add(time.Millisecond)) // not its sequence
		s.tick(now.Add(cfg.ResponseTimeout))
		if s.phase != bound {
			t.Fatal("the bind was given up")
		}
		now = now.Add(cfg.ResponseTimeout)
	}
	now = now.Add(cfg.EnquireLink)
	s.tick(now)
	s.tick(now.Add(cfg.ResponseTimeout))
	if s.phase != closing {
		t.Error("a silent peer is kept")
	}
}

// TestShortBinds: a carrier that ends each bind as soon as it is up is asked ever more rarely.
func TestShortBinds(t *testing.T) {
	c, err := New(Config{Account: "a", Addr: "a:1", SystemID: "s", ReconnectMin: time.Second, ReconnectMax: 8 * time.Second}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for fails, want := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 8 * time.Second} {
		if got := (&keeper{c, 0}).most(fails - 1); got != want {
			t.Errorf("after %d failures a bind must last %v, not %v", fails, got, want)
		}
	}
}

// TestClockSetBack: a part that waits is given up by the time that has passed, not only by the wall clock.
func TestClockSetBack(t *testing.T) {
	p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), nil)
	start := time.Now()
	p.callBy, p.submitted, p.callWithin = start.Add(time.Hour), start, time.Second // the wall clock went back an hour
	if p.expired(start.Add(time.Second/2)) || !p.expired(start.Add(time.Second)) {
		t.Error("the time that has passed does not count")
	}
}

// TestParseStatus: names and numbers.
func TestParseStatus(t *testing.T) {
	for text, want := range map[string]uint32{"ESME_RSYSERR": 8, "8": 8, "0x0400": 0x400, "ESME_RTHROTTLED": 0x58} {
		if got, ok := ParseStatus(text); !ok || got != want {
			t.Errorf("%s: %d, %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "0", "ESME_ROK", "RSYSERR", "0x100000000"} {
		if _, ok := ParseStatus(text); ok {
			t.Errorf("%q is taken", text)
		}
	}
}

// TestLateAnswerTCP: a centre that answers only when the client has given up. What it says then counts, and the
// slots of a window of one are free meanwhile.
func TestLateAnswerTCP(t *testing.T) {
	c := peer(t, Config{Window: 1, ResponseTimeout: 20 * time.Millisecond, EnquireLink: patience}, func(nc net.Conn, r *wire.Reader) {
		if !accept(nc, r) {
			return
		}
		var held []int32
		for {
			frame, err := r.Next()
			if err != nil {
				return
			}
			p, _ := wire.Parse(frame)
			if p.CommandID == data.UNBIND {
				nc.Write(wire.AppendHeader(nil, data.UNBIND_RESP, 0, p.SequenceNumber))
			}
			if p.CommandID != data.SUBMIT_SM {
				continue
			}
			if held = append(held, p.SequenceNumber); len(held) < 3 { // the third one answers all
				continue
			}
			for i, seq := range held {
				nc.Write(wire.AppendResponse(nil, data.SUBMIT_SM, []data.CommandStatusType{0, data.ESME_RINVDSTADR, 0}[i], seq, []string{"a", "", "c"}[i]))
			}
		}
	})
	p := &pair{Client: c}
	p.bound(t)
	var mu sync.Mutex
	told := make([][]ledger.HandoffStatus, 3)
	for i := range told {
		c.Submit(handoff(i), func(r ledger.HandoffResult) {
			mu.Lock()
			defer mu.Unlock()
			told[i] = append(told[i], r.Status)
			signal(c.changed)
		})
	}
	p.until(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(told[0]) == 2 && len(told[1]) == 2 && len(told[2]) > 0
	})
	mu.Lock()
	defer mu.Unlock()
	late := func(want ledger.HandoffStatus) []ledger.HandoffStatus {
		return []ledger.HandoffStatus{ledger.HandoffUnknown, want}
	}
	if !slices.Equal(told[0], late(ledger.HandoffTaken)) || !slices.Equal(told[1], late(ledger.HandoffFinal)) {
		t.Errorf("%v", told)
	}
}

// TestWithdraw: parts that are withdrawn are not written: those that wait for the rate, and those that no connection was given.
func TestWithdraw(t *testing.T) {
	cfg := testConfig()
	cfg.Window = 2
	a := boundAccount(t, cfg)
	s := a.sessions[0]
	var got []result
	part := func(program string) {
		p := testSubmit(epoch.Add(time.Second), epoch.Add(time.Minute), func(r result) { got = append(got, r) })
		p.of = ledger.Queued{Program: program}
		a.submit(p, epoch)
	}
	part("codes")
	part("news")
	part("news")
	part("codes")
	a.flow(epoch) // the first two are in the window
	a.withdraw(func(q ledger.Queued) bool { return q.Program == "news" })
	a.flow(epoch)
	out := write(s, epoch)
	for _, x := range a.take().answers {
		x.done(x.result)
	}
	if len(out) != 2 || len(got) != 2 || got[0].outcome != notCalled || got[1].outcome != notCalled {
		t.Fatalf("wrote %d, told %+v", len(out), got)
	}
	a.withdraw(func(ledger.Queued) bool { return true }) // what is written is not withdrawn
	if len(a.take().answers) != 0 || len(s.window) != 2 {
		t.Error("a part was withdrawn that is written")
	}
}
