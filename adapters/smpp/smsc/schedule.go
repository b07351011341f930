package smsc

import (
	"container/heap"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// item is one deliver_sm: a receipt or a part of an inbound message.
type item struct {
	account  *account
	from, to string
	esm      byte
	coding   byte
	octets   []byte
	receipt  *receipt

	at   time.Time // when it is due, or, after it was sent, when it was sent last
	sent int       // how often it was sent
}

// receipt is the optional parameters of a receipt.
type receipt struct {
	id        string
	state     byte
	errorCode uint16
	reference []byte // user_message_reference of the submit
}

// schedule is a heap of items by the time they are due.
type schedule []*item

func (h schedule) Len() int           { return len(h) }
func (h schedule) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h schedule) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *schedule) Push(x any) { *h = append(*h, x.(*item)) }

// Pop is for container/heap.
func (h *schedule) Pop() any {
	old := *h
	it := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return it
}

func (h *schedule) push(it *item) { heap.Push(h, it) }
func (h *schedule) pop() *item    { return heap.Pop(h).(*item) }

// encode is the item as a deliver_sm (SMPP 3.4 §4.6.1).
func (it *item) encode(dst []byte, sequence int32) []byte {
	d := &pdu.DeliverSM{}
	d.CommandID = data.DELIVER_SM
	d.SetSequenceNumber(sequence)
	d.SourceAddr, d.DestAddr = address(it.from), address(it.to)
	d.EsmClass = it.esm
	_ = d.Message.SetMessageDataWithEncoding(it.octets, wire.Coding(it.coding))
	d.OptionalParameters = map[pdu.Tag]pdu.Field{}
	if r := it.receipt; r != nil {
		put := func(tag pdu.Tag, b []byte) { d.OptionalParameters[tag] = pdu.Field{Tag: tag, Data: b} }
		put(pdu.TagReceiptedMessageID, append([]byte(r.id), 0))
		put(pdu.TagMessageStateOption, []byte{r.state})
		if r.errorCode != 0 {
			put(pdu.TagNetworkErrorCode, binary.BigEndian.AppendUint16([]byte{3}, r.errorCode)) // 3: GSM
		}
		if r.reference != nil {
			put(pdu.TagUserMessageReference, r.reference)
		}
	}
	return wire.Append(dst, d)
}

// address makes an address, with the type of number and numbering plan that a centre would give it.
func address(s string) pdu.Address {
	ton, npi := data.GSM_TON_INTERNATIONAL, data.GSM_NPI_ISDN
	switch {
	case strings.Trim(s, "0123456789*") != "":
		ton, npi = data.GSM_TON_ALPHANUMERIC, data.GSM_NPI_UNKNOWN
	case len(s) < 7:
		ton, npi = data.GSM_TON_NETWORK, data.GSM_NPI_UNKNOWN
	}
	a := pdu.NewAddressWithTonNpi(ton, npi)
	_ = a.SetAddress(s) // one of more than 20 characters stays empty
	return a
}

// receiptText is a receipt as text, in the form that SMPP 3.4 appendix B shows.
func receiptText(id, stat string, errorCode uint16, submitted, done time.Time, text string) []byte {
	delivered := 1
	if stat != "DELIVRD" {
		delivered = 0
	}
	if r := []rune(text); len(r) > 20 {
		text = string(r[:20])
	}
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, text)
	return fmt.Appendf(nil, "id:%s sub:001 dlvrd:%03d submit date:%s done date:%s stat:%s err:%03d text:%s",
		id, delivered, submitted.UTC().Format("0601021504"), done.UTC().Format("0601021504"), stat, errorCode, text)
}

// mask hides an address's last four characters.
func mask(s string) string {
	n := max(0, len(s)-4)
	return s[:n] + strings.Repeat("*", len(s)-n)
}
