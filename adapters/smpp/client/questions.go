package client

import (
	"slices"
	"strings"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// maxQuestions bounds the questions of a bind that have no answer yet.
const maxQuestions = 64

// questions are a session's query_sm and cancel_sm that have no answer yet, by sequence.
type questions map[int32]question

type question struct {
	ledger.Asked
	command  data.CommandIDType
	deadline time.Time
}

// report is what the carrier answered to a question, as a receipt.
type report struct {
	receipt  sms.Receipt
	from, to string
	raw      []byte
}

// canAsk reports whether a part can be asked about by its id: the id is the one that the carrier gave.
// An id that was escaped or replaced by its digest (see wire.Text) is not, and it may be missing.
func canAsk(id string) bool {
	return id != "" && !strings.Contains(id, `\x`) && !strings.Contains(id, "sha256:")
}

// ask writes query_sm (SMPP 3.4 §4.8.1) or cancel_sm (§4.9.1) over a bind that sends; false if there
// is none, or too many questions have no answer.
func (a *account) ask(command data.CommandIDType, x ledger.Asked, now time.Time) bool {
	supported := command == data.QUERY_SM && a.cfg.QuerySM || command == data.CANCEL_SM && a.cfg.CancelSM
	if !supported || !canAsk(x.CarrierID) {
		return false
	}
	i := slices.IndexFunc(a.sessions, func(s *session) bool {
		return s.sends() && s.phase == bound && len(s.questions) < maxQuestions
	})
	if i < 0 {
		return false
	}
	s := a.sessions[i]
	seq := s.next()
	var p pdu.PDU
	from, to := addresses(a.cfg, x.From, x.To)
	if command == data.QUERY_SM {
		q := pdu.NewQuerySM().(*pdu.QuerySM)
		q.MessageID, q.SourceAddr = x.CarrierID, from
		p = q
	} else {
		c := pdu.NewCancelSM().(*pdu.CancelSM)
		c.ServiceType, c.MessageID, c.SourceAddr, c.DestAddr = a.cfg.ServiceType, x.CarrierID, from, to
		p = c
	}
	p.SetSequenceNumber(seq)
	s.pdus = wire.Append(s.pdus, p)
	s.wake = true
	s.questions[seq] = question{Asked: x, command: command, deadline: now.Add(a.cfg.ResponseTimeout)}
	return true
}

// asked reports whether a question has that sequence.
func (q questions) asked(sequence int32) bool {
	_, ok := q[sequence]
	return ok
}

// told deals with the answer to a question. What says how the message stands becomes a report; a
// refusal is logged, and says nothing about the message.
func (s *session) told(p wire.PDU) {
	q, ok := s.questions[p.SequenceNumber]
	if !ok {
		s.stats.Unexpected++
		return
	}
	delete(s.questions, p.SequenceNumber)
	if p.CommandStatus != data.ESME_ROK || p.CommandID != wire.Response(q.command) {
		s.note(false, "smpp: the carrier did not do what it was asked", "command", wire.CommandName(q.command), "status", wire.StatusName(p.CommandStatus))
		return
	}
	r := sms.Receipt{ID: q.CarrierID, State: sms.StateDeleted}
	if q.command == data.QUERY_SM {
		if p.State == nil {
			s.note(false, "smpp: the answer to query_sm has no message_state")
			return
		}
		if r.State = sms.StateUnknown; p.State.State <= byte(sms.StateSkipped) {
			r.State = sms.MessageState(p.State.State)
		}
		r.Error = p.State.Error
	}
	r.Final = r.State.Final()
	s.out.deliveries = append(s.out.deliveries, delivery{session: s.index, report: &report{receipt: r,
		from: strings.TrimPrefix(string(q.To), "+"), to: strings.TrimPrefix(string(q.From), "+"), raw: p.Body}})
}

// giveUp forgets the questions that have no answer in time. They may be asked once more.
func (s *session) giveUp(now time.Time) {
	for seq, q := range s.questions {
		if !now.Before(q.deadline) {
			delete(s.questions, seq)
		}
	}
}
