package client

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// outcome sorts what came of one submit.
type outcome uint8

const (
	unknown outcome = iota
	taken
	retry
	final
	notCalled
)

// result is what is said of one submit, once.
type result struct {
	outcome outcome
	id      string
	code    string
	reason  string
}

// submit is one submit_sm on its way.
type submit struct {
	// octets is the encoded PDU; its sequence_number is written by the session.
	octets []byte
	// callBy is when it must no longer be written, answerBy when the caller gives up.
	callBy, answerBy time.Time
	done             func(result)

	sequence int32
	written  bool
	deadline time.Time // of the response, once written
	end      int       // where it ends in the batch that carries it
}

// settled is a result and whom it is told to.
type settled struct {
	done   func(result)
	result result
}

// delivery is a deliver_sm or data_sm for the inbox; ack names it.
type delivery struct {
	ack     uint64
	message *wire.Message
}

// effects is what a step wants done; whoever steps does it, outside the lock.
type effects struct {
	settled    []settled
	deliveries []delivery
	// flush: there is something to write.
	flush bool
	// changed: Free may answer otherwise than before.
	changed bool
	// close: the connection is of no more use once what is queued is written.
	close bool
	notes []note
}

// note is a line for the log.
type note struct {
	warn bool
	text string
	args []any
}

// phase is where the session stands.
type phase uint8

const (
	// down: no connection. Left by connected.
	down phase = iota
	// binding: bind_transceiver is out. Left by its response, or by lost.
	binding
	// bound: submits go out. Left by drain, by share, by an unbind or by lost.
	bound
	// draining: no new submits; responses and acknowledgements are awaited, until
	// drainBy. Left by unbind, by share or by lost.
	draining
	// unbinding: our unbind is out. Left by its response, or by lost.
	unbinding
	// closing: what is queued is written, then the connection is closed. Left by lost.
	closing
)

var (
	errStopped = errors.New("the session has ended")
	// errWithheld: the account's binds are other nodes' for now.
	errWithheld = errors.New("this node has no share of the account")
)

// session is one account's SMPP session over all its connections: pure, without
// clock, goroutine or socket. Each method is a step; what it wants done is in
// effects, taken with take.
type session struct {
	cfg   Config
	phase phase
	since time.Time // when the bind came or went
	err   error     // why it went
	// stop: drain was asked for; there will be no further bind.
	stop bool
	// withheld: share took the bind away; there will be none until it gives one.
	withheld bool
	drainBy  time.Time

	sequence int32
	rate     rate
	// window has every submit that is not settled, written or not, by sequence.
	// It is entered before anything is written, so that no response can outrun it.
	window map[int32]*submit
	// queue has the window's submits that are not written yet, in order.
	queue []*submit
	// batch has those that are being written.
	batch []*submit
	// answers are responses and session PDUs to write, ahead of submits.
	answers []byte

	// gone remembers the latest sequences that timed out, to know a late response.
	gone     map[int32]struct{}
	goneRing []int32
	goneNext int

	// unacked has the deliveries that the inbox holds; its keys are never used again.
	unacked map[uint64]request
	nextAck uint64

	received time.Time // the last PDU of any kind
	// bindSeq, enquireSeq and unbindSeq are our open requests; 0 is none.
	bindSeq, enquireSeq, unbindSeq int32
	requestBy                      time.Time // when the open request is late

	stats Stats
	out   effects
}

type request struct {
	command  data.CommandIDType
	sequence int32
}

func newSession(cfg Config) *session {
	return &session{
		cfg:      cfg,
		rate:     newRate(cfg.TPS),
		window:   make(map[int32]*submit, cfg.Window),
		gone:     make(map[int32]struct{}, 4*cfg.Window),
		goneRing: make([]int32, 4*cfg.Window),
		unacked:  make(map[uint64]request),
	}
}

func (s *session) take() effects {
	out := s.out
	s.out = effects{}
	return out
}

func (s *session) note(warn bool, text string, args ...any) {
	s.out.notes = append(s.out.notes, note{warn, text, args})
}

// next returns the next sequence_number, 1 to 0x7FFFFFFF (SMPP 3.4 §5.1.4), and
// steps over those that are still open.
func (s *session) next() int32 {
	for {
		s.sequence++
		if s.sequence <= 0 {
			s.sequence = 1
		}
		if _, open := s.window[s.sequence]; !open {
			return s.sequence
		}
	}
}

// answer queues a PDU of the session itself.
func (s *session) answer(id data.CommandIDType, status data.CommandStatusType, sequence int32) {
	s.answers = wire.AppendHeader(s.answers, id, status, sequence)
	s.out.flush = true
}

// connected begins a bind on a fresh connection (SMPP 3.4 §4.1.5).
func (s *session) connected(now time.Time) {
	s.phase, s.received = binding, now
	if s.withheld {
		s.quit(errWithheld, now)
		return
	}
	s.bindSeq = s.next()
	s.requestBy = now.Add(s.cfg.ResponseTimeout)
	b := pdu.NewBindRequest(pdu.Transceiver)
	b.SystemID, b.Password, b.SystemType = s.cfg.SystemID, s.cfg.Password, s.cfg.SystemType
	b.SetSequenceNumber(s.bindSeq)
	s.answers = wire.Append(s.answers, b)
	s.out.flush = true
}

// lost ends the connection: what was written may have arrived and is unknown,
// what was not is not called.
func (s *session) lost(err error, now time.Time) {
	if s.phase == down {
		return
	}
	s.leave(err, now)
	s.phase = down
	for _, p := range s.pending(func(*submit) bool { return true }) {
		if p.written {
			s.settle(p, result{outcome: unknown, reason: "the connection was lost before the carrier answered"})
		} else {
			s.settle(p, result{outcome: notCalled, reason: "the connection was lost before the message was written"})
		}
	}
	s.queue, s.batch, s.answers = nil, nil, nil
	clear(s.unacked)
	s.bindSeq, s.enquireSeq, s.unbindSeq = 0, 0, 0
}

// pending lists what is in the window, in order of sequence, so that the same
// inputs always give the same outputs in the same order.
func (s *session) pending(which func(*submit) bool) (list []*submit) {
	for _, p := range s.window {
		if which(p) {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *submit) int { return cmp.Compare(a.sequence, b.sequence) })
	return list
}

// leave records why and when the bind went; the first reason stands.
func (s *session) leave(err error, now time.Time) {
	if s.phase == closing || s.phase == down {
		return
	}
	if (s.phase == bound || s.phase == draining) && !errors.Is(err, errStopped) {
		s.stats.ConnectionsLost++
	}
	s.err, s.since = err, now
	s.out.changed = true
}

// quit ends the connection from our side, after the answers that are queued have
// been written; submits no longer are.
func (s *session) quit(err error, now time.Time) {
	if s.phase == down {
		return
	}
	s.leave(err, now)
	s.phase = closing
	s.out.close, s.out.flush = true, true
}

func (s *session) settle(p *submit, r result) {
	delete(s.window, p.sequence)
	switch r.outcome {
	case taken:
		s.stats.Taken++
	case retry:
		s.stats.Retry++
	case final:
		s.stats.Final++
	case unknown:
		s.stats.Unknown++
	case notCalled:
		s.stats.NotCalled++
	}
	s.out.settled = append(s.out.settled, settled{p.done, r})
	s.out.changed = true
}

// free answers Carrier.Free.
func (s *session) free(now time.Time) (int, time.Time) {
	if s.phase != bound {
		return 0, time.Time{}
	}
	slots := s.cfg.Window - len(s.window)
	if slots <= 0 {
		return 0, time.Time{}
	}
	n, again := s.rate.free(now)
	return min(slots, n), again
}

// submit takes a slot and queues the PDU, or says at once that it did not.
func (s *session) submit(p *submit, now time.Time) {
	refuse := ""
	switch {
	case s.phase != bound:
		refuse = "there is no bind to the carrier"
	case len(s.window) >= s.cfg.Window:
		refuse = "the carrier's window is full"
	case now.After(p.callBy):
		refuse = "the time to call the carrier was over"
	case !s.rate.take(now):
		refuse = "the carrier's rate is used up"
	}
	if refuse != "" {
		s.stats.NotCalled++
		s.out.settled = append(s.out.settled, settled{p.done, result{outcome: notCalled, reason: refuse}})
		return
	}
	p.sequence = s.next()
	putSequence(p.octets, p.sequence)
	s.window[p.sequence] = p
	s.queue = append(s.queue, p)
	s.out.flush = true
}

// callMargin is how near to its callBy a submit is no longer begun: the write
// itself takes a moment.
const callMargin = 5 * time.Millisecond

// maxBatch bounds one write, in octets, so that what waits behind a slow peer is
// in our queue, where callBy still counts, and not in a system call.
const maxBatch = 32 << 10

// flush appends to buf what is to be written now and says by when the write must
// be over: past that, a submit in it could leave after its callBy. wrote must
// follow. Nothing appended means nothing to do.
func (s *session) flush(buf []byte, now time.Time) ([]byte, time.Time) {
	by := now.Add(s.cfg.ResponseTimeout)
	buf = append(buf, s.answers...)
	s.answers = s.answers[:0]
	if s.phase == closing {
		return buf, by
	}
	n := 0
	for _, p := range s.queue {
		if len(buf) > 0 && len(buf)+len(p.octets) > maxBatch {
			break
		}
		n++
		if s.window[p.sequence] != p {
			continue // settled meanwhile
		}
		if now.Add(callMargin).After(p.callBy) {
			s.settle(p, result{outcome: notCalled, reason: "the time to call the carrier was over"})
			continue
		}
		p.written = true
		p.deadline = now.Add(s.cfg.ResponseTimeout)
		if last := p.answerBy.Add(-answerLead); !p.answerBy.IsZero() && last.Before(p.deadline) {
			p.deadline = last
		}
		if p.callBy.Before(by) {
			by = p.callBy
		}
		buf = append(buf, p.octets...)
		p.end = len(buf)
		s.batch = append(s.batch, p)
		s.stats.Submits++
	}
	s.queue = s.queue[:copy(s.queue, s.queue[n:])]
	return buf, by
}

// answerLead is how long before answerBy a submit is given up as unknown.
const answerLead = 200 * time.Millisecond

// wrote says how many octets of the flushed batch went to the kernel. A submit
// of which not one octet did was not called; one cut in two is unknown.
func (s *session) wrote(n int, err error, now time.Time) {
	if err != nil {
		for _, p := range s.batch {
			if p.end-len(p.octets) >= n && s.window[p.sequence] == p {
				s.stats.Submits--
				s.settle(p, result{outcome: notCalled, reason: "the connection was lost before the message was written"})
			}
		}
	}
	s.batch = s.batch[:0]
	if err != nil {
		s.quit(fmt.Errorf("write: %w", err), now)
		return
	}
	if len(s.queue) > 0 {
		s.out.flush = true
	}
}

// tick looks at the clock: late responses, a silent peer, a drain that is over.
func (s *session) tick(now time.Time) {
	if s.phase == down || s.phase == closing {
		return
	}
	for _, p := range s.pending(func(p *submit) bool { return p.written && !now.Before(p.deadline) }) {
		s.forget(p.sequence)
		s.settle(p, result{outcome: unknown, reason: "the carrier did not answer in time"})
		s.stats.TimedOut++
	}
	for _, p := range s.pending(func(p *submit) bool { return !p.written && now.After(p.callBy) }) {
		s.settle(p, result{outcome: notCalled, reason: "the time to call the carrier was over"})
	}
	switch s.phase {
	case binding:
		if !now.Before(s.requestBy) {
			s.quit(errors.New("the carrier did not answer the bind in time"), now)
		}
		return
	case draining:
		if len(s.window) == 0 && len(s.unacked) == 0 || !now.Before(s.drainBy) {
			s.phase = unbinding
			for _, p := range s.queue {
				if s.window[p.sequence] == p {
					s.settle(p, result{outcome: notCalled, reason: "the session is unbinding"})
				}
			}
			s.queue = s.queue[:0]
			s.unbindSeq, s.enquireSeq = s.next(), 0
			s.requestBy = now.Add(s.cfg.ResponseTimeout)
			if s.requestBy.After(s.drainBy) {
				s.requestBy = s.drainBy.Add(unbindWait)
			}
			s.answer(data.UNBIND, data.ESME_ROK, s.unbindSeq)
			return
		}
	case unbinding:
		if !now.Before(s.requestBy) {
			s.quit(s.why(), now)
		}
		return
	}
	switch {
	case s.enquireSeq != 0 && !now.Before(s.requestBy):
		s.quit(errors.New("the carrier did not answer enquire_link in time"), now)
	case s.enquireSeq == 0 && now.Sub(s.received) >= s.cfg.EnquireLink:
		s.enquireSeq = s.next()
		s.requestBy = now.Add(s.cfg.ResponseTimeout)
		s.stats.EnquireLinks++
		s.answer(data.ENQUIRE_LINK, data.ESME_ROK, s.enquireSeq)
	}
}

// unbindWait bounds the wait for unbind_resp when the drain used up its time.
const unbindWait = 500 * time.Millisecond

// forget remembers a sequence whose response did not come in time.
func (s *session) forget(sequence int32) {
	if old := s.goneRing[s.goneNext]; old != 0 {
		delete(s.gone, old)
	}
	s.goneRing[s.goneNext] = sequence
	s.goneNext = (s.goneNext + 1) % len(s.goneRing)
	s.gone[sequence] = struct{}{}
}

// drain takes no more submits, waits until by for what is open, then unbinds.
func (s *session) drain(by, now time.Time) {
	s.stop = true
	s.windUp(by, now)
}

func (s *session) windUp(by, now time.Time) {
	s.drainBy = by
	switch s.phase {
	case bound:
		s.phase, s.since, s.err = draining, now, s.why()
		s.out.changed = true
	case binding:
		s.quit(s.why(), now)
	}
	s.tick(now)
}

// why is why we unbind.
func (s *session) why() error {
	if s.stop {
		return errStopped
	}
	return errWithheld
}

// share changes what this node may use of the account. Without a bind it drains as if
// it were to stop, until by; a drain that has not come to unbind is called off when
// the bind comes back.
func (s *session) share(bind bool, tps float64, by, now time.Time) {
	was := s.withheld
	s.withheld = !bind
	switch {
	case s.stop:
	case !bind && !was:
		if s.phase == down {
			s.err = errWithheld
		} else {
			s.note(false, "smpp: this node has no share of the account any more, unbinding")
		}
		s.windUp(by, now)
	case bind && was:
		if s.phase == draining {
			s.phase, s.since = bound, now
		}
		if errors.Is(s.err, errWithheld) {
			s.err = nil
		}
		s.out.changed = true
	}
	if bind && s.rate.set(tps, now) {
		s.out.changed = true
	}
}

// acked answers a delivery that the inbox has made durable (nil) or could not.
// A second ack, or one for a connection that is gone, does nothing: the carrier
// delivers again.
func (s *session) acked(ack uint64, err error) {
	q, ok := s.unacked[ack]
	if !ok {
		return
	}
	delete(s.unacked, ack)
	status := data.ESME_ROK
	if err != nil {
		status = data.ESME_RX_T_APPN
		s.stats.DeliveriesRefused++
	} else {
		s.stats.DeliveriesAcked++
	}
	s.answers = wire.AppendResponse(s.answers, q.command, status, q.sequence, "")
	s.out.flush = true
}

// unframed is a command_length that cannot be right: say so and close, because
// nothing after it can be read (SMPP 3.4 §4.3.1).
func (s *session) unframed(sequence int32, now time.Time) {
	s.stats.Malformed++
	s.answer(data.GENERIC_NACK, data.ESME_RINVCMDLEN, sequence)
	s.quit(wire.ErrLength, now)
}

// maxAnswers bounds the answers that wait for a peer that does not read, in octets.
const maxAnswers = 1 << 20

// receive takes one PDU, or why it could not be decoded; its header is valid either way.
func (s *session) receive(p wire.PDU, err error, now time.Time) {
	if s.phase == down || s.phase == closing {
		return
	}
	s.received = now
	if len(s.answers) > maxAnswers {
		s.quit(errors.New("the carrier sends requests and does not read the answers"), now)
		return
	}
	if err != nil {
		s.malformed(p, err, now)
		return
	}
	switch p.CommandID {
	case data.SUBMIT_SM_RESP:
		s.submitted(p, now)
	case data.GENERIC_NACK:
		s.nacked(p, now)
	case data.DELIVER_SM, data.DATA_SM:
		s.delivered(p)
	case data.ENQUIRE_LINK:
		s.answer(data.ENQUIRE_LINK_RESP, data.ESME_ROK, p.SequenceNumber)
	case data.ENQUIRE_LINK_RESP:
		if p.SequenceNumber != s.enquireSeq {
			s.stats.Unexpected++
			return
		}
		s.enquireSeq = 0
	case data.BIND_TRANSCEIVER_RESP:
		if s.phase != binding || p.SequenceNumber != s.bindSeq {
			s.stats.Unexpected++
			return
		}
		s.bindAnswered(p.CommandStatus, now)
	case data.UNBIND:
		s.answer(data.UNBIND_RESP, data.ESME_ROK, p.SequenceNumber)
		s.quit(errors.New("the carrier unbound"), now)
	case data.UNBIND_RESP:
		if s.phase != unbinding || p.SequenceNumber != s.unbindSeq {
			s.stats.Unexpected++
			return
		}
		s.quit(s.why(), now)
	case data.ALERT_NOTIFICATION, data.OUTBIND:
		s.stats.Unexpected++ // these have no response (SMPP 3.4 §4.12.1, §4.1.7)
	default:
		s.stats.Unexpected++
		if !wire.IsResponse(p.CommandID) {
			s.answer(data.GENERIC_NACK, data.ESME_RINVCMDID, p.SequenceNumber)
		}
	}
}

// malformed answers what could not be decoded. A response that cannot be read
// still ends the wait for it: what it said is unknown.
func (s *session) malformed(p wire.PDU, err error, now time.Time) {
	s.stats.Malformed++
	s.note(true, "smpp: a PDU could not be decoded", "command", wire.CommandName(p.CommandID), "cause", err)
	if !wire.IsResponse(p.CommandID) {
		status := data.ESME_RSYSERR
		var m *wire.Malformed
		if errors.As(err, &m) {
			status = m.Status
		}
		s.answer(data.GENERIC_NACK, status, p.SequenceNumber)
		return
	}
	switch {
	case p.CommandID == data.SUBMIT_SM_RESP:
		if w, ok := s.open(p.SequenceNumber); ok {
			s.settle(w, result{outcome: unknown, code: wire.StatusCode(p.CommandStatus), reason: "the carrier's answer could not be read"})
		}
	case p.CommandID == data.BIND_TRANSCEIVER_RESP && s.phase == binding && p.SequenceNumber == s.bindSeq:
		// system_id tells us nothing; the status does.
		s.bindAnswered(p.CommandStatus, now)
	}
}

// open finds the written submit that a response is for, and counts those that
// are for none.
func (s *session) open(sequence int32) (*submit, bool) {
	p, ok := s.window[sequence]
	if ok && p.written {
		return p, true
	}
	if _, late := s.gone[sequence]; late {
		delete(s.gone, sequence)
		s.stats.Late++
		s.note(false, "smpp: a response came after its time-out", "sequence", sequence)
	} else {
		s.stats.Unexpected++
	}
	return nil, false
}

func (s *session) submitted(p wire.PDU, now time.Time) {
	w, ok := s.open(p.SequenceNumber)
	if slowDown(p.CommandStatus) {
		s.stats.Throttled++
		if s.rate.throttled(now) {
			s.out.changed = true
			s.note(true, "smpp: the carrier throttles, the rate is cut", "status", wire.StatusName(p.CommandStatus), "tps", s.rate.limit)
		}
	}
	if !ok {
		return
	}
	switch {
	case p.CommandStatus != data.ESME_ROK:
		s.settle(w, judge(p.CommandStatus, s.cfg.RetryStatuses))
	case p.MessageID == "":
		// It was taken, but no receipt could ever be matched by id: leave it in doubt.
		s.settle(w, result{outcome: unknown, code: wire.StatusCode(p.CommandStatus), reason: "the carrier accepted the message without giving an id"})
	default:
		s.settle(w, result{outcome: taken, id: p.MessageID, code: wire.StatusCode(p.CommandStatus), reason: "the carrier accepted the message"})
	}
	if p.CommandStatus == data.ESME_RINVBNDSTS {
		s.quit(errors.New("the carrier says that the session is not bound"), now)
	}
}

// nacked: the peer could not read a PDU of ours, and which one it may not say.
func (s *session) nacked(p wire.PDU, now time.Time) {
	s.stats.Nacked++
	switch seq := p.SequenceNumber; {
	case seq == 0:
		s.stats.Unexpected++
	case seq == s.bindSeq && s.phase == binding:
		s.bindAnswered(p.CommandStatus, now)
	case seq == s.enquireSeq:
		s.enquireSeq = 0 // it is alive
	case seq == s.unbindSeq && s.phase == unbinding:
		s.quit(s.why(), now)
	default:
		if w, ok := s.open(seq); ok {
			s.settle(w, result{outcome: unknown, code: wire.StatusCode(p.CommandStatus),
				reason: "the carrier answered with generic_nack (" + wire.StatusName(p.CommandStatus) + "), which does not say whether it took the message"})
		}
	}
}

func (s *session) bindAnswered(status data.CommandStatusType, now time.Time) {
	s.bindSeq = 0
	if status == data.ESME_ROK {
		s.phase, s.since, s.err = bound, now, nil
		s.stats.Binds++
		s.out.changed = true
		s.note(false, "smpp: bound")
		return
	}
	s.stats.BindsRefused++
	s.quit(&bindRefused{status}, now)
}

// bindRefused is a bind_transceiver_resp with an error.
type bindRefused struct{ status data.CommandStatusType }

func (b *bindRefused) Error() string {
	hint := "see the carrier's documentation for this status"
	switch b.status {
	case data.ESME_RINVPASWD, data.ESME_RINVSYSID, data.ESME_RBINDFAIL:
		hint = "check system_id, password and the addresses that the carrier allows"
	case data.ESME_RALYBND:
		hint = "an earlier connection may still be open at the carrier, or another process uses this account"
	case data.ESME_RINVSYSTYP:
		hint = "check system_type"
	}
	return "the carrier refused the bind with " + wire.StatusName(b.status) + ": " + hint
}

// delivered hands a deliver_sm or data_sm on, unless as many as are allowed wait
// for the inbox already. Reading goes on all the same, because the responses
// to our submits come over the same connection.
func (s *session) delivered(p wire.PDU) {
	switch {
	case s.phase == binding:
		s.answers = wire.AppendResponse(s.answers, p.CommandID, data.ESME_RINVBNDSTS, p.SequenceNumber, "")
		s.out.flush = true
		return
	case len(s.unacked) >= s.cfg.Deliveries:
		s.stats.DeliveriesOverflowed++
		s.answers = wire.AppendResponse(s.answers, p.CommandID, data.ESME_RX_T_APPN, p.SequenceNumber, "")
		s.out.flush = true
		return
	}
	s.nextAck++
	s.unacked[s.nextAck] = request{p.CommandID, p.SequenceNumber}
	s.stats.Deliveries++
	s.out.deliveries = append(s.out.deliveries, delivery{s.nextAck, p.Message})
}
