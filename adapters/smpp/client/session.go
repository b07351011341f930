package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
)

// outcome is what became of one submit.
type outcome uint8

const (
	unknown outcome = iota
	accepted
	retry
	final
	notCalled
)

// result is what a submit's caller is told, once.
type result struct {
	outcome outcome
	id      string
	code    string
	reason  string
}

// submit is one submit_sm on its way.
type submit struct {
	// octets is the encoded PDU; the session writes its sequence_number.
	octets []byte
	// After callBy, or when callWithin has passed since it was submitted, it must not be written any
	// more: the second holds if the clock is set back. At answerBy the caller gives it up.
	callBy, answerBy time.Time
	submitted        time.Time
	callWithin       time.Duration
	done             func(result)
	of               ledger.Queued

	sequence int32
	written  bool
	at       time.Time // when it was written
	deadline time.Time // of the response, once written
	end      int       // its end in the octets of the batch
	told     outcome   // what its caller was told, once it is among the late ones
}

// expired reports whether the time to write a submit is over, or nearly so.
func (p *submit) expired(now time.Time) bool {
	return now.Add(callMargin).After(p.callBy) || now.Sub(p.submitted)+callMargin > p.callWithin
}

// answer is a result and the callback that gets it.
type answer struct {
	done   func(result)
	result result
}

// delivery is a deliver_sm or data_sm for the inbox; session and ack name it. Or it is what the
// carrier answered to a question of ours: then it has a receipt, and is not acknowledged.
type delivery struct {
	session int
	ack     uint64
	message *wire.Message
	report  *report
}

// effects is what a step wants done. Client does it after the step, outside the lock.
type effects struct {
	answers    []answer
	deliveries []delivery
	// wake has a bit for each session that has something to write, or whose connection is to be closed.
	wake uint64
	// changed: Takes may have another result than before.
	changed bool
	// next is when a step is due although nothing happens; zero: never.
	next  time.Time
	notes []note
}

// note is a line for the log.
type note struct {
	warn bool
	text string
	args []any
}

// session is one bind of an account over all its connections. Each method is a step.
type session struct {
	a     *account
	cfg   Config
	index int // among the account's sessions
	submits
	link
	questions

	// unacked has the deliveries that the inbox has and has not acknowledged. Its keys are
	// used once.
	unacked map[uint64]request
	nextAck uint64
	// refusalNoted is when a refused delivery was last logged.
	refusalNoted time.Time
}

// request names a request of the carrier that needs a response.
type request struct {
	command  data.CommandIDType
	sequence int32
}

func newSession(a *account, index int, kind pdu.BindingType) *session {
	return &session{a: a, cfg: a.cfg, index: index, submits: newSubmits(a.cfg.Window), link: link{output: &a.output, kind: kind},
		questions: questions{}, unacked: make(map[uint64]request)}
}

// connected begins a bind on a new connection (SMPP 3.4 §4.1).
func (s *session) connected(now time.Time) {
	s.phase, s.received, s.lasted = binding, now, 0
	if s.a.withheld || s.a.stop {
		s.quit(s.a.why(), now)
		return
	}
	s.bindSeq = s.next()
	s.requestBy = now.Add(s.cfg.ResponseTimeout)
	b := pdu.NewBindRequest(s.kind)
	b.SystemID, b.Password, b.SystemType = s.cfg.SystemID, s.cfg.Password, s.cfg.SystemType
	b.AddressRange = addressRange(s.cfg)
	b.SetSequenceNumber(s.bindSeq)
	s.pdus = wire.Append(s.pdus, b)
	s.wake = true
}

// lost ends the connection. Submits that were written are answered with unknown, because
// they may have arrived; another bind may take the others.
func (s *session) lost(err error, now time.Time) {
	if s.phase == down {
		return
	}
	s.leave(err, now)
	s.phase = down
	for _, p := range s.pending(func(p *submit) bool { return p.written }) {
		s.settle(p, result{outcome: unknown, reason: "the connection was lost before the carrier answered"})
	}
	s.a.back(s.pending(func(*submit) bool { return true }))
	clear(s.window)
	s.queue, s.batch, s.pdus = nil, nil, nil
	s.forget()
	s.questions = questions{}
	clear(s.unacked)
	s.bindSeq, s.enquireSeq, s.unbindSeq = 0, 0, 0
}

// settle takes a submit out of the window and answers its caller.
func (s *session) settle(p *submit, r result) {
	delete(s.window, p.sequence)
	s.count(r.outcome, 1)
	s.a.answer(p, r)
	if r.outcome == unknown || r.outcome == retry || r.outcome == final {
		p.told = r.outcome
		s.keep(p)
	}
}

// count counts how submits ended.
func (s *session) count(o outcome, n int) {
	switch o {
	case accepted:
		s.stats.Accepted += uint64(n)
	case retry:
		s.stats.Retry += uint64(n)
	case final:
		s.stats.Final += uint64(n)
	case unknown:
		s.stats.Unknown += uint64(n)
	case notCalled:
		s.stats.NotCalled += uint64(n)
	}
}

// assign gives a part a slot of the window, and queues its PDU.
func (s *session) assign(p *submit) {
	p.sequence = s.next()
	putSequence(p.octets, p.sequence)
	s.window[p.sequence] = p
	s.queue = append(s.queue, p)
	s.wake = true
}

// callMargin: a submit is not written any more in the last callMargin before its callBy,
// because the write itself takes a moment.
const callMargin = 5 * time.Millisecond

// maxBatch bounds one write, in octets. So submits that wait for a slow peer are in our
// queue, where callBy still counts, and not in a system call.
const maxBatch = 32 << 10

// flush appends to buf what must be written now, and returns the deadline of that write:
// later, a submit in it could be written after its callBy. wrote must follow, unless
// nothing was appended.
func (s *session) flush(buf []byte, now time.Time) ([]byte, time.Time) {
	by := now.Add(s.cfg.ResponseTimeout)
	buf = append(buf, s.pdus...)
	s.pdus = s.pdus[:0]
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
			continue // it was answered meanwhile
		}
		if p.expired(now) {
			s.settle(p, result{outcome: notCalled, reason: timeOver})
			continue
		}
		p.written, p.at = true, now
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

// answerLead: a submit without a response is answered with unknown this long before its answerBy.
const answerLead = 200 * time.Millisecond

// wrote says how many octets of the flushed batch the kernel took. A submit of which it took
// no octet was not written; one of which it took some is unknown.
func (s *session) wrote(n int, err error, now time.Time) {
	if err != nil {
		for _, p := range s.batch {
			if p.end-len(p.octets) >= n && s.window[p.sequence] == p {
				s.stats.Submits--
				p.written = false // lost gives it to another bind
			}
		}
	}
	s.batch = s.batch[:0]
	if err != nil {
		s.quit(fmt.Errorf("write: %w", err), now)
		return
	}
	if len(s.queue) > 0 {
		s.wake = true
	}
}

// tick deals with what is due: late responses, a silent peer, the end of a drain.
func (s *session) tick(now time.Time) {
	if s.phase == down || s.phase == closing {
		return
	}
	for _, p := range s.pending(func(p *submit) bool { return p.written && !now.Before(p.deadline) }) {
		s.settle(p, result{outcome: unknown, reason: "the carrier did not answer in time"})
		s.stats.TimedOut++
	}
	for _, p := range s.pending(func(p *submit) bool { return !p.written && p.expired(now) }) {
		s.settle(p, result{outcome: notCalled, reason: timeOver})
	}
	s.giveUp(now)
	switch s.phase {
	case binding:
		if !now.Before(s.requestBy) {
			s.quit(errors.New("the carrier did not answer the bind in time"), now)
		}
		return
	case draining:
		if len(s.window) == 0 && len(s.unacked) == 0 || !now.Before(s.drainBy) {
			s.unbind(now)
			return
		}
	case unbinding:
		if !now.Before(s.requestBy) {
			s.quit(s.a.why(), now)
		}
		return
	}
	switch {
	case s.enquireSeq != 0 && !s.received.Before(s.enquired):
		s.enquireSeq = 0 // whatever came since shows that the peer is alive
	case s.enquireSeq != 0 && !now.Before(s.requestBy):
		s.quit(errors.New("the carrier did not answer enquire_link in time"), now)
	case s.enquireSeq == 0 && now.Sub(s.received) >= s.cfg.EnquireLink:
		s.enquireSeq = s.next()
		s.enquired, s.requestBy = now, now.Add(s.cfg.ResponseTimeout)
		s.stats.EnquireLinks++
		s.send(data.ENQUIRE_LINK, data.ESME_ROK, s.enquireSeq)
	}
}

// unbind ends a drain: it sends unbind. Submits that are not written yet are not called.
func (s *session) unbind(now time.Time) {
	s.phase = unbinding
	for _, p := range s.queue {
		if s.window[p.sequence] == p {
			s.settle(p, result{outcome: notCalled, reason: "the bind ends"})
		}
	}
	s.queue = s.queue[:0]
	s.unbindSeq, s.enquireSeq = s.next(), 0
	s.requestBy = now.Add(s.cfg.ResponseTimeout)
	if s.requestBy.After(s.drainBy) {
		s.requestBy = s.drainBy.Add(unbindWait)
	}
	s.send(data.UNBIND, data.ESME_ROK, s.unbindSeq)
}

// unbindWait bounds the wait for unbind_resp where the drain has used up its time.
const unbindWait = 500 * time.Millisecond

// windUp begins to drain, or ends a bind that has no response yet.
func (s *session) windUp(by, now time.Time) {
	s.drainBy = by
	switch s.phase {
	case bound:
		s.phase, s.since, s.err = draining, now, s.a.why()
		s.out.changed = true
	case binding:
		s.quit(s.a.why(), now)
	}
	s.tick(now)
}

// refusalEvery bounds how often a refused delivery is logged.
const refusalEvery = 10 * time.Second

// acked answers a delivery that the inbox has made durable (nil), or could not make durable.
// A second ack, or one for a connection that has ended, does nothing: in the latter case the
// carrier repeats the delivery.
func (s *session) acked(ack uint64, err error, now time.Time) {
	q, ok := s.unacked[ack]
	if !ok {
		return
	}
	delete(s.unacked, ack)
	status := data.ESME_ROK
	if err != nil {
		status = data.ESME_RX_T_APPN
		s.stats.DeliveriesRefused++
		if now.Sub(s.refusalNoted) >= refusalEvery {
			s.refusalNoted = now
			s.note(true, "smpp: a delivery could not be recorded; the carrier is asked to deliver it again", "cause", err)
		}
	} else {
		s.stats.DeliveriesAcked++
	}
	s.respond(q, status)
}

// unframed deals with an impossible command_length: it answers and closes the connection,
// because nothing after it can be read (SMPP 3.4 §4.3.1). head is the PDU's header.
func (s *session) unframed(head []byte, now time.Time) {
	s.stats.Malformed++
	if s.cfg.TLS == nil && s.phase == binding && head[0] == tlsAlert && head[1] == tlsMajor {
		s.quit(errSpeaksTLS, now)
		return
	}
	s.send(data.GENERIC_NACK, data.ESME_RINVCMDLEN, int32(binary.BigEndian.Uint32(head[12:])))
	s.quit(wire.ErrLength, now)
}

// maxAnswers bounds the PDUs that wait for a peer that does not read, in octets.
const maxAnswers = 1 << 20

// receive takes one PDU, or the error of decoding it; its header is valid in both cases.
func (s *session) receive(p wire.PDU, err error, now time.Time) {
	if s.phase == down || s.phase == closing {
		return
	}
	s.received = now
	if len(s.pdus) > maxAnswers {
		s.quit(errors.New("the carrier sends requests and does not read the answers"), now)
		return
	}
	if err != nil {
		s.malformed(p, err)
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
		s.send(data.ENQUIRE_LINK_RESP, data.ESME_ROK, p.SequenceNumber)
	case data.ENQUIRE_LINK_RESP:
		if p.SequenceNumber != s.enquireSeq {
			s.stats.Unexpected++
			return
		}
		s.enquireSeq = 0
	case data.BIND_TRANSCEIVER_RESP, data.BIND_TRANSMITTER_RESP, data.BIND_RECEIVER_RESP:
		if s.phase != binding || p.SequenceNumber != s.bindSeq {
			s.stats.Unexpected++
		}
		if s.phase != binding {
			return
		}
		// There is one bind on a connection, so this is its answer, whatever its sequence_number.
		s.bindAnswered(p.CommandStatus, now)
	case data.QUERY_SM_RESP, data.CANCEL_SM_RESP:
		s.told(p)
	case data.UNBIND:
		s.send(data.UNBIND_RESP, data.ESME_ROK, p.SequenceNumber)
		s.quit(errors.New("the carrier unbound"), now)
	case data.UNBIND_RESP:
		if s.phase != unbinding || p.SequenceNumber != s.unbindSeq {
			s.stats.Unexpected++
			return
		}
		s.quit(s.a.why(), now)
	case data.ALERT_NOTIFICATION:
		s.stats.Alerts++ // it has no response (SMPP 3.4 §4.12.1)
	case data.OUTBIND:
		// It asks for a bind (SMPP 3.4 §4.1.7), which a connection of ours begins with.
		s.stats.Outbinds++
		s.note(false, "smpp: the carrier sent outbind")
	default:
		s.stats.Unexpected++
		if !wire.IsResponse(p.CommandID) {
			s.send(data.GENERIC_NACK, data.ESME_RINVCMDID, p.SequenceNumber)
		}
	}
}

// malformed deals with a PDU that could not be decoded: a command that SMPP 3.4 does not have. A
// request is answered; a response that answers nothing of ours is only counted. See wire.Parse.
func (s *session) malformed(p wire.PDU, err error) {
	s.stats.Malformed++
	s.note(true, "smpp: a PDU could not be decoded", "command", wire.CommandName(p.CommandID), "cause", err)
	if wire.IsResponse(p.CommandID) {
		return
	}
	status := data.ESME_RSYSERR
	var m *wire.Malformed
	if errors.As(err, &m) {
		status = m.Status
	}
	s.send(data.GENERIC_NACK, status, p.SequenceNumber)
}

// submitted deals with submit_sm_resp. A yes is a yes, with whatever id it comes, or with none.
func (s *session) submitted(p wire.PDU, now time.Time) {
	r := result{outcome: accepted, id: p.MessageID, code: wire.StatusCode(p.CommandStatus), reason: "the carrier accepted the message"}
	switch {
	case p.CommandStatus != data.ESME_ROK:
		r = judge(p.CommandStatus, s.cfg.RetryStatuses)
	case p.MessageID == "":
		r.reason = "the carrier accepted the message and gave it no id"
	}
	if slowDown(p.CommandStatus) {
		s.a.throttled(wire.StatusName(p.CommandStatus), now)
	}
	s.settleBy(p.SequenceNumber, r, now)
	if p.CommandStatus == data.ESME_RINVBNDSTS {
		s.quit(errors.New("the carrier says that the session is not bound"), now)
	}
}

// settleBy answers the submit of a response, and counts a response without one. A response that
// comes late counts too. So does an acceptance that contradicts a refusal: the carrier has the
// message, and it must not be sent once more.
func (s *session) settleBy(sequence int32, r result, now time.Time) {
	if p, ok := s.window[sequence]; ok && p.written {
		s.a.answered(now.Sub(p.at))
		s.settle(p, r)
		return
	}
	p := s.late[sequence]
	if p == nil || r.outcome == unknown || r.outcome != accepted && p.told != unknown {
		s.stats.Unexpected++
		return
	}
	s.stats.Late++
	s.note(true, "smpp: the carrier's answer to a submit came late, or contradicts the one before; it counts", "sequence", sequence, "status", r.code)
	s.count(p.told, -1)
	s.count(r.outcome, 1)
	s.a.answer(p, r)
	if p.told = r.outcome; r.outcome == accepted {
		delete(s.late, sequence)
	}
}

// nacked deals with generic_nack: the peer could not read a PDU of ours, and may not say which.
func (s *session) nacked(p wire.PDU, now time.Time) {
	s.stats.Nacked++
	switch seq := p.SequenceNumber; {
	case seq == 0:
		s.stats.Unexpected++
	case seq == s.bindSeq && s.phase == binding:
		s.bindAnswered(p.CommandStatus, now)
	case seq == s.enquireSeq:
		s.enquireSeq = 0 // the peer is alive
	case seq == s.unbindSeq && s.phase == unbinding:
		s.quit(s.a.why(), now)
	case s.asked(seq):
		s.told(p)
	default:
		s.settleBy(seq, result{outcome: unknown, code: wire.StatusCode(p.CommandStatus),
			reason: "the carrier answered with generic_nack (" + wire.StatusName(p.CommandStatus) + "), which does not say whether it took the message"}, now)
	}
}

// delivered gives a deliver_sm or data_sm to the inbox, or refuses it where Config.Deliveries
// already wait for the inbox. It goes on reading in both cases, because the responses to our
// submits come over the same connection.
func (s *session) delivered(p wire.PDU) {
	switch {
	case s.phase == binding:
		s.respond(request{p.CommandID, p.SequenceNumber}, data.ESME_RINVBNDSTS)
		return
	case len(s.unacked) >= s.cfg.Deliveries:
		s.stats.DeliveriesOverflowed++
		s.respond(request{p.CommandID, p.SequenceNumber}, data.ESME_RX_T_APPN)
		return
	}
	s.nextAck++
	s.unacked[s.nextAck] = request{p.CommandID, p.SequenceNumber}
	s.stats.Deliveries++
	s.out.deliveries = append(s.out.deliveries, delivery{session: s.index, ack: s.nextAck, message: p.Message})
}
