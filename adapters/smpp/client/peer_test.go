package client

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
)

// rawWorld is one account in simulated time, its carrier's end of each connection, made of octets alone, and what
// must be true of both. The carrier writes any PDU with any field of any value, late, twice, never and cut.
type rawWorld struct {
	t   testing.TB
	d   *draw
	a   *account
	now time.Time

	ends     []*end
	parts    []*part
	handed   map[uint64]*delivered // what the inbox has and has not answered, by session<<32 | ack
	dead     []uint64              // acks of connections that have ended
	marks    uint32
	accepted int
}

// end is the carrier's end of one session's connection.
type end struct {
	s  *session
	up bool
	// toClient is what the carrier has sent and the client has not read: the rest of a PDU, perhaps.
	toClient []byte
	submits  []arrived // the submits that came, in order
	bindSeq  int32
	enquire  []int32
	// sent are the carrier's requests that have no response, by sequence.
	sent     map[int32]*delivered
	sequence int32
}

type arrived struct {
	sequence int32
	part     *part
}

// part is a submit, and what the carrier did with it.
type part struct {
	*submit
	told    []result
	written int             // how often the carrier got all of it
	begun   bool            // the carrier got an octet of it
	yes     map[string]bool // the ids of the carrier's acceptances, as wire.Text writes them
	no      bool            // the carrier refused it, or nacked it
}

// delivered is a request of the carrier with its own mark.
type delivered struct {
	body   []byte
	handed bool  // the inbox has it
	acked  error // what the inbox said
	said   bool
}

func newRawWorld(t testing.TB, d *draw) *rawWorld {
	cfg := Config{Account: "a", Addr: "a:1", SystemID: "esme", Window: 1 + d.n(4), Binds: 1 + d.n(3), Apart: d.n(3) == 0, ResponseTimeout: time.Second,
		EnquireLink: 4 * time.Second, Deliveries: 1 + d.n(4), DrainTimeout: 2 * time.Second, QuerySM: true, CancelSM: true}
	if d.n(2) == 0 {
		cfg.TPS = float64(1 + d.n(20))
	}
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	w := &rawWorld{t: t, d: d, a: newAccount(cfg), now: epoch, handed: map[uint64]*delivered{}}
	for _, s := range w.a.sessions {
		w.ends = append(w.ends, &end{s: s})
	}
	return w
}

// settle takes what the last step wants, as the client does, and checks it.
func (w *rawWorld) settle() {
	w.a.flow(w.now)
	out := w.a.take()
	for _, x := range out.answers {
		x.done(x.result)
	}
	for _, x := range out.deliveries {
		if x.report != nil {
			continue
		}
		e := w.ends[x.session]
		var of *delivered
		for _, s := range e.sent {
			if !s.handed && bytes.Equal(s.body, x.message.Body) {
				of = s
			}
		}
		if of == nil {
			w.t.Fatalf("the inbox got what the carrier did not send: %x", x.message.Body)
		}
		of.handed = true
		w.handed[uint64(x.session)<<32|x.ack] = of
	}
	for _, s := range w.a.sessions {
		if len(s.window) > w.a.cfg.Window || len(s.unacked) > w.a.cfg.Deliveries {
			w.t.Fatalf("%d in a window of %d, %d deliveries", len(s.window), w.a.cfg.Window, len(s.unacked))
		}
	}
}

func (w *rawWorld) connect(e *end) {
	if e.up || w.a.stop {
		return
	}
	*e = end{s: e.s, up: true, sent: map[int32]*delivered{}, sequence: e.sequence}
	e.s.connected(w.now)
	w.settle()
	w.flush(e, false)
	if e.s.phase == binding && w.d.n(8) != 0 {
		w.feed(e, frameOf([]data.CommandIDType{data.BIND_TRANSCEIVER_RESP, data.BIND_TRANSMITTER_RESP, data.BIND_RECEIVER_RESP}[w.d.n(3)], 0, e.bindSeq,
			w.d.pick("", "centre\x00", "centre", "\xff\xfe\x00", "centre\x00\x02\x10\x00\x01\x34", "centre\x00\x02\x10\x90\x01")))
		if e.s.phase != bound {
			w.t.Fatalf("phase %d after the carrier took the bind", e.s.phase)
		}
	}
}

// drop ends a connection.
func (w *rawWorld) drop(e *end) {
	if !e.up {
		return
	}
	e.s.lost(errors.New("reset"), w.now)
	e.up = false
	for k := range w.handed {
		if k>>32 == uint64(e.s.index) {
			w.dead = append(w.dead, k)
			delete(w.handed, k)
		}
	}
	w.settle()
}

func (w *rawWorld) submit() {
	p := &part{yes: map[string]bool{}}
	h := handoffAt(len(w.parts), w.now)
	octets, err := submitSM(h, w.a.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	p.submit = &submit{octets: octets, callBy: h.CallBy, answerBy: h.AnswerBy, done: func(r result) { p.told = append(p.told, r) }}
	if w.d.n(4) == 0 {
		p.callBy = w.now.Add(time.Duration(w.d.n(3000)) * time.Millisecond)
	}
	w.parts = append(w.parts, p)
	w.a.submit(p.submit, w.now)
	w.settle()
}

func handoffAt(n int, now time.Time) ledger.Handoff {
	h := handoff(n)
	h.CallBy, h.AnswerBy = now.Add(5*time.Second), now.Add(15*time.Second)
	return h
}

// flush writes what a session has to write. The kernel may take a part of it.
func (w *rawWorld) flush(e *end, broken bool) {
	if !e.up {
		return
	}
	buf, _ := e.s.flush(nil, w.now)
	w.settle()
	if len(buf) == 0 {
		if e.s.phase == closing {
			w.drop(e)
		}
		return
	}
	n, err := len(buf), error(nil)
	if broken {
		n, err = w.d.n(len(buf)+1), errors.New("broken pipe")
	}
	w.receive(e, buf, n)
	e.s.wrote(n, err, w.now)
	w.settle()
	if err != nil {
		w.drop(e)
	}
}

// receive takes the first n octets of what the client wrote.
func (w *rawWorld) receive(e *end, octets []byte, n int) {
	for at := 0; at < len(octets); {
		l := int(binary.BigEndian.Uint32(octets[at:]))
		if l < wire.HeaderLen || at+l > len(octets) {
			w.t.Fatalf("the client wrote what cannot be framed: %x", octets[at:])
		}
		frame := octets[at : at+l]
		whole := at+l <= n
		p, err := wire.Parse(frame)
		if err != nil {
			w.t.Fatalf("the client wrote %x: %v", frame, err)
		}
		if p.CommandID == data.SUBMIT_SM && at < n {
			b := p.Message.TLVs[0x0204].Data
			x := w.parts[binary.BigEndian.Uint16(b)]
			if x.begun = true; whole {
				x.written++
				e.submits = append(e.submits, arrived{p.SequenceNumber, x})
			}
			if !w.now.Before(x.callBy) {
				w.t.Fatal("a submit was written after its call_by")
			}
		}
		if whole {
			w.request(e, p)
		}
		at += l
	}
}

// request takes a PDU of the client that is no submit.
func (w *rawWorld) request(e *end, p wire.PDU) {
	switch p.CommandID {
	case data.BIND_TRANSCEIVER, data.BIND_TRANSMITTER, data.BIND_RECEIVER:
		e.bindSeq = p.SequenceNumber
	case data.ENQUIRE_LINK, data.UNBIND, data.QUERY_SM, data.CANCEL_SM:
		e.enquire = append(e.enquire, p.SequenceNumber)
	case data.DELIVER_SM_RESP, data.DATA_SM_RESP:
		x := e.sent[p.SequenceNumber]
		if x == nil {
			w.t.Fatalf("a response to no request, or a second one: %d", p.SequenceNumber)
		}
		delete(e.sent, p.SequenceNumber)
		if ok := p.CommandStatus == data.ESME_ROK; ok != (x.said && x.acked == nil) || x.handed && !x.said {
			w.t.Fatalf("status %#x for what the inbox has (%v), answered (%v) with %v", uint32(p.CommandStatus), x.handed, x.said, x.acked)
		}
	}
}

// feed lets the client read octets, as its reader cuts them.
func (w *rawWorld) feed(e *end, octets []byte) {
	e.toClient = append(e.toClient, octets...)
	for e.up && len(e.toClient) >= wire.HeaderLen {
		n := binary.BigEndian.Uint32(e.toClient)
		if n < wire.HeaderLen || n > wire.MaxPDU {
			e.s.unframed(e.toClient[:wire.HeaderLen], w.now)
			e.toClient = nil
			w.settle()
			w.flush(e, false)
			w.drop(e)
			return
		}
		if len(e.toClient) < int(n) {
			return
		}
		frame := e.toClient[:n]
		p, err := wire.Parse(frame)
		e.toClient = e.toClient[n:]
		before := e.s.phase
		e.s.receive(p, err, w.now)
		ends := p.CommandID == data.UNBIND || before == unbinding || before == binding ||
			p.CommandID == data.SUBMIT_SM_RESP && p.CommandStatus == data.ESME_RINVBNDSTS
		if e.s.phase != before && !ends {
			w.t.Fatalf("%x cost the bind: phase %d after %d", frame, e.s.phase, before)
		}
		w.settle()
	}
}

// next is the sequence_number of the carrier's next request.
func (e *end) next() int32 {
	e.sequence++
	return e.sequence
}

// deliver sends a deliver_sm or data_sm in which every field may be anything, with a mark of its own at its end.
func (w *rawWorld) deliver(e *end) {
	if !e.up || e.s.phase == closing {
		return
	}
	b, _ := w.d.deliver()
	w.marks++
	b = append(b, 0x15, 0x55, 0, 4) // a TLV, if what is before it is one
	b = binary.BigEndian.AppendUint32(b, w.marks)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	if w.d.n(8) == 0 {
		binary.BigEndian.PutUint32(b[4:], uint32(data.DATA_SM))
	}
	seq := e.next()
	binary.BigEndian.PutUint32(b[12:], uint32(seq))
	e.sent[seq] = &delivered{body: b[wire.HeaderLen:]}
	w.split(e, b)
}

// split feeds a PDU whole, or in two pieces.
func (w *rawWorld) split(e *end, b []byte) {
	if w.d.n(4) == 0 {
		at := w.d.n(len(b))
		w.feed(e, b[:at])
		b = b[at:]
	}
	if e.up {
		w.feed(e, b)
	}
}

// respond answers a submit that came, or none, with any status and any body; perhaps twice.
func (w *rawWorld) respond(e *end) {
	if !e.up || e.s.phase == closing {
		return
	}
	status := []data.CommandStatusType{0, 0, 0, data.ESME_RTHROTTLED, data.ESME_RINVDSTADR, data.CommandStatusType(w.d.n(1 << 16)), data.ESME_RINVBNDSTS}[w.d.n(7)]
	body := w.d.pick("id-", "", "\x00", "\xe9\xff", "0", "00000000000000000000000000000000000000000000000000000000000000000000000", "<>")
	w.marks++
	if body != "" && body != "\x00" {
		body += strconv.Itoa(int(w.marks))
	}
	body += w.d.pick("\x00", "", "\x00\x00", "\x00\x04\x25\x00\x01x", "\x00rubbish")
	seq := int32(w.d.n(1 << 16))
	command := data.SUBMIT_SM_RESP
	if w.d.n(10) == 0 {
		command = data.GENERIC_NACK
	}
	if len(e.submits) > 0 && w.d.n(8) != 0 {
		x := e.submits[w.d.n(len(e.submits))]
		seq = x.sequence
		if id, _, _ := bytes.Cut([]byte(body), []byte{0}); status == 0 && command == data.SUBMIT_SM_RESP {
			x.part.yes[wire.Text(string(id))] = true
		} else {
			x.part.no = true
		}
	} else {
		seq = -seq // of no submit of ours
	}
	w.split(e, frameOf(command, status, seq, body))
}

// odd sends a PDU with any command and any body: what can be framed costs no bind, but for unbind.
func (w *rawWorld) odd(e *end) {
	if !e.up || e.s.phase == closing {
		return
	}
	command := []data.CommandIDType{data.ENQUIRE_LINK, data.ENQUIRE_LINK_RESP, data.ALERT_NOTIFICATION, data.OUTBIND, data.SUBMIT_SM, data.QUERY_SM, data.QUERY_SM_RESP,
		data.CANCEL_SM_RESP, data.DELIVER_SM_RESP, data.BIND_TRANSCEIVER, data.BIND_RECEIVER_RESP, data.GENERIC_NACK, data.UNBIND_RESP, data.REPLACE_SM,
		data.CommandIDType(w.d.n(1 << 16)), data.CommandIDType(-(1 << 31) + w.d.n(1<<16)), data.UNBIND}[w.d.n(17)]
	seq := int32(-1 - w.d.n(1<<16))
	if len(e.enquire) > 0 && w.d.n(2) == 0 {
		seq = e.enquire[w.d.n(len(e.enquire))]
	}
	if wire.Response(command) == data.DELIVER_SM_RESP || command == data.DATA_SM {
		return // deliver does that
	}
	w.split(e, frameOf(command, data.CommandStatusType(w.d.n(3)*11), seq, string(w.d.some(40))))
}

// step is one thing that happens.
func (w *rawWorld) step() {
	e := w.ends[w.d.n(len(w.ends))]
	switch w.d.n(16) {
	case 0:
		w.connect(e)
	case 1, 2:
		w.submit()
	case 3, 4:
		w.flush(e, false)
	case 5, 6, 7:
		if w.d.n(2) == 0 {
			w.flush(e, false)
		}
		w.respond(e)
	case 8, 9, 10:
		w.deliver(e)
	case 11:
		w.odd(e)
	case 12:
		w.ack()
	case 13:
		w.now = w.now.Add(time.Duration(1+w.d.n(1500)) * time.Millisecond)
		for _, e := range w.ends {
			e.s.tick(w.now)
			w.settle()
			w.flush(e, false)
		}
	case 14:
		if e.up && e.s.phase == bound && w.a.ask([]data.CommandIDType{data.QUERY_SM, data.CANCEL_SM}[w.d.n(2)], ledger.Asked{CarrierID: "1", From: "1", To: "+1"}, w.now) {
			w.settle()
		}
	case 15:
		switch w.d.n(4) {
		case 0:
			w.flush(e, true)
		case 1:
			w.drop(e)
		case 2: // a length that lies
			if e.up && e.s.phase != closing {
				b := wire.AppendHeader(nil, data.DELIVER_SM, 0, 1)
				binary.BigEndian.PutUint32(b, uint32([]int{0, 15, wire.MaxPDU + 1, -1}[w.d.n(4)]))
				e.toClient = nil
				w.feed(e, b)
				if e.up {
					w.t.Fatal("the connection lives after a length that cannot be")
				}
			}
		case 3:
			if w.d.n(4) == 0 {
				w.a.drain(w.now.Add(time.Second), w.now)
				w.settle()
			}
		}
	}
}

// ack lets the inbox answer a delivery, or one whose connection is gone.
func (w *rawWorld) ack() {
	var err error
	if w.d.n(4) == 0 {
		err = errors.New("disk full")
	}
	if len(w.dead) > 0 && w.d.n(4) == 0 {
		k := w.dead[w.d.n(len(w.dead))]
		w.a.sessions[k>>32].acked(k&0xffffffff, err, w.now)
		w.settle()
		return
	}
	most, n := uint64(0), w.d.n(3)
	for k := range w.handed { // the newest, or some older one: the same each time
		if k > most && (most == 0 || n > 0 || k&1 == 0) {
			most = k
		}
	}
	if most == 0 {
		return
	}
	x := w.handed[most]
	delete(w.handed, most)
	x.said, x.acked = true, err
	w.a.sessions[most>>32].acked(most&0xffffffff, err, w.now)
	w.settle()
}

// end ends all connections, and checks what was said of each part.
func (w *rawWorld) end() {
	for _, e := range w.ends {
		w.flush(e, false)
		w.drop(e)
	}
	w.settle()
	for _, p := range w.parts {
		if len(p.told) == 0 {
			w.t.Fatal("nothing was said of a part")
		}
		if p.written > 1 {
			w.t.Fatalf("a part was written %d times", p.written)
		}
		for i, r := range p.told {
			switch {
			case r.outcome == notCalled && p.begun:
				w.t.Fatal("not called, and the carrier has octets of it")
			case r.outcome == accepted && !p.yes[r.id]:
				w.t.Fatalf("accepted with the id %q, which the carrier did not give it: %v", r.id, p.yes)
			case (r.outcome == retry || r.outcome == final) && !p.no:
				w.t.Fatalf("refused, and the carrier did not: %+v", r)
			case i > 0 && (r.outcome == unknown || r.outcome == notCalled || p.told[i-1].outcome == accepted || p.told[i-1].outcome == notCalled ||
				r.outcome != accepted && p.told[i-1].outcome != unknown):
				w.t.Fatalf("told %+v after %+v", r, p.told[i-1])
			}
		}
		if p.told[len(p.told)-1].outcome == accepted {
			w.accepted++
		}
	}
}

// rawSession is a session of so many steps.
func rawSession(t testing.TB, d *draw, steps int) *rawWorld {
	w := newRawWorld(t, d)
	for _, e := range w.ends {
		w.connect(e)
	}
	for range steps {
		w.step()
	}
	w.end()
	return w
}

// FuzzSession is a whole session with a carrier that writes any octets: see rawWorld. No delivery is acknowledged
// that the inbox does not have, none is answered twice or as another; no bind is lost to a PDU that can be framed;
// no submit is written twice, told twice, or told another's answer.
func FuzzSession(f *testing.F) {
	rng := rand.New(rand.NewPCG(2, 2))
	for range 60 {
		b := make([]byte, 600)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		rawSession(t, &draw{octets: octets}, min(len(octets)/6, 200))
	})
}

// TestRawSessions is FuzzSession by chance, without its search. For more of it:
//
//	CHIROGRAPH_RAW_SESSIONS=100000000 go test -timeout 0 -run TestRawSessions ./adapters/smpp/client
func TestRawSessions(t *testing.T) {
	runs, seed := 30_000, uint64(1)
	if s := os.Getenv("CHIROGRAPH_RAW_SESSIONS"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		seed = rand.Uint64()
		t.Logf("seed %d", seed)
	}
	workers := runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	parts, accepted := make([]int, workers), make([]int, workers)
	for worker := range workers {
		all.Go(func() {
			for i := worker; i < runs && !t.Failed(); i += workers {
				func() {
					defer func() {
						if t.Failed() {
							t.Logf("run %d of seed %d", i, seed)
						}
					}()
					w := rawSession(failing{t}, &draw{rng: rand.New(rand.NewPCG(seed, uint64(i)))}, 24)
					parts[worker] += len(w.parts)
					accepted[worker] += w.accepted
				}()
			}
		})
	}
	all.Wait()
	n, m := 0, 0
	for i := range workers {
		n, m = n+parts[i], m+accepted[i]
	}
	t.Logf("%d sessions, %d parts, %d of them accepted", runs, n, m)
	if m < n/20 {
		t.Errorf("only %d of %d parts were accepted: the sessions try too little", m, n)
	}
}
