package client

import (
	"strconv"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// verdicts is what a command_status in submit_sm_resp means for the part, with
// the reason in words for a person (SMPP 3.4 §5.1.3). Every status except ESME_ROK says
// that the centre did not take the message. A status that is not listed is final, because
// the same message would be refused the next time too.
var verdicts = map[data.CommandStatusType]struct {
	outcome outcome
	reason  string
}{
	data.ESME_RTHROTTLED:       {retry, "the carrier takes no more for now: its rate limit is exceeded"},
	data.ESME_RMSGQFUL:         {retry, "the carrier takes no more for now: its message queue is full"},
	data.ESME_RX_T_APPN:        {retry, "the carrier has a temporary fault and did not take the message"},
	data.ESME_RINVBNDSTS:       {retry, "the carrier says the bind is gone and did not look at the message"},
	data.ESME_RINVMSGLEN:       {final, "the message is too long or too short for the carrier"},
	data.ESME_RINVCMDLEN:       {final, "the carrier could not read the submit: its length is wrong"},
	data.ESME_RINVCMDID:        {final, "the carrier does not accept submits on this bind"},
	data.ESME_RINVPRTFLG:       {final, "the carrier does not accept this priority"},
	data.ESME_RSYSERR:          {final, "the carrier has a system error and did not take the message"},
	data.ESME_RINVSRCADR:       {final, "the carrier does not accept this sender"},
	data.ESME_RINVSRCTON:       {final, "the carrier does not accept this type of sender"},
	data.ESME_RINVSRCNPI:       {final, "the carrier does not accept this type of sender"},
	data.ESME_RINVDSTADR:       {final, "the carrier does not accept this recipient number"},
	data.ESME_RINVDSTTON:       {final, "the carrier does not accept this type of recipient number"},
	data.ESME_RINVDSTNPI:       {final, "the carrier does not accept this type of recipient number"},
	data.ESME_RINVSERTYP:       {final, "the carrier does not accept this service type"},
	data.ESME_RINVESMCLASS:     {final, "the carrier does not accept this kind of message"},
	data.ESME_RSUBMITFAIL:      {final, "the carrier refused the message"},
	data.ESME_RINVEXPIRY:       {final, "the carrier does not accept this validity period"},
	data.ESME_RINVSCHED:        {final, "the carrier does not accept this delivery time"},
	data.ESME_RPROVNOTALLWD:    {final, "the account is not provisioned for this message"},
	data.ESME_RX_P_APPN:        {final, "the carrier refused the message for good"},
	data.ESME_RX_R_APPN:        {final, "the carrier rejected the message"},
	data.ESME_RINVOPTPARSTREAM: {final, "the carrier could not read the submit's optional parameters"},
	data.ESME_ROPTPARNOTALLWD:  {final, "the carrier does not accept one of the optional parameters"},
	data.ESME_RINVPARLEN:       {final, "the carrier does not accept the length of an optional parameter"},
	data.ESME_RMISSINGOPTPARAM: {final, "the carrier misses an optional parameter"},
	data.ESME_RINVOPTPARAMVAL:  {final, "the carrier does not accept the value of an optional parameter"},
	data.ESME_RUNKNOWNERR:      {final, "the carrier refused the message without saying why"},
}

// bindHints is what to do about a refused bind.
var bindHints = map[data.CommandStatusType]string{
	data.ESME_RINVPASWD:     "the password is wrong: check password, and that the account is not locked",
	data.ESME_RINVSYSID:     "the system_id is wrong: check it, and that this machine's address is allowed",
	data.ESME_RBINDFAIL:     "check system_id, password, system_type and the addresses that the carrier allows; some carriers answer so when all binds of the account are in use",
	data.ESME_RALYBND:       "all binds of the account are in use: an earlier connection may still be open at the carrier, another process may use the account, or binds_per_node is too high",
	data.ESME_RINVSYSTYP:    "check system_type",
	data.ESME_RINVCMDID:     "the carrier does not know this kind of bind: try bind_as the other way",
	data.ESME_RINVBNDSTS:    "the carrier does not take this kind of bind: try bind_as the other way",
	data.ESME_RPROVNOTALLWD: "the account is not provisioned for this kind of bind: try bind_as the other way",
	data.ESME_RSYSERR:       "the carrier has a system error",
	data.ESME_RTHROTTLED:    "the carrier refuses binds that come too fast; the next one comes later",
}

// bindRefused is the error of a response to a bind.
type bindRefused struct{ status data.CommandStatusType }

// Error is the status by its name, and what to do.
func (b *bindRefused) Error() string {
	hint, ok := bindHints[b.status]
	if !ok {
		hint = "see the carrier's documentation for this status"
	}
	return "the carrier refused the bind with " + wire.StatusName(b.status) + ": " + hint
}

// judge turns the command_status of a submit_sm_resp into a result. also lists
// the statuses that this carrier documents as "not taken, try later".
func judge(status data.CommandStatusType, also []uint32) result {
	r := result{outcome: final, code: wire.StatusCode(status), reason: "the carrier refused the message with a code of its own"}
	name := wire.StatusName(status)
	if v, ok := verdicts[status]; ok {
		r.outcome, r.reason = v.outcome, v.reason
	} else if name != r.code {
		r.reason = "the carrier refused the message"
	}
	for _, s := range also {
		if uint32(status) == s {
			r.outcome = retry
		}
	}
	r.reason += " (" + name + ")"
	return r
}

// slowDown says which statuses ask for a lower rate.
func slowDown(status data.CommandStatusType) bool {
	return status == data.ESME_RTHROTTLED || status == data.ESME_RMSGQFUL
}

// ParseStatus reads a command_status by its name (ESME_RSYSERR) or number (8, 0x0400); false if it is
// neither.
func ParseStatus(text string) (uint32, bool) {
	if n, err := strconv.ParseUint(text, 0, 32); err == nil {
		return uint32(n), n != 0
	}
	for status := range verdicts {
		if wire.StatusName(status) == text {
			return uint32(status), true
		}
	}
	return 0, false
}
