package wire

import (
	"bytes"
	"strings"
	"testing"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"
)

// BenchmarkParse reads what comes from a centre for a message: the response to its submit_sm, and its receipt.
func BenchmarkParse(b *testing.B) {
	receipt := "id:0123456789 sub:001 dlvrd:001 submit date:2611241340 done date:2611241340 stat:DELIVRD err:000 text:"
	for name, frame := range map[string][]byte{
		"submit_sm_resp": AppendResponse(nil, data.SUBMIT_SM, data.ESME_ROK, 7, "0123456789"),
		"deliver_sm":     message(data.DELIVER_SM, 4, 0, []byte(receipt), 0x02, 0x04, 0, 2, 0x12, 0x34),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkAppend writes what goes to a centre for a message: its submit_sm, and the response to its receipt.
func BenchmarkAppend(b *testing.B) {
	submit, err := pdu.Parse(bytes.NewReader(message(data.SUBMIT_SM, 0, 0, []byte(strings.Repeat("x", 100)), 0x02, 0x04, 0, 2, 0x12, 0x34)))
	if err != nil {
		b.Fatal(err)
	}
	var buf []byte
	b.Run("submit_sm", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = Append(buf[:0], submit)
		}
	})
	b.Run("deliver_sm_resp", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendResponse(buf[:0], data.DELIVER_SM, data.ESME_ROK, 7, "")
		}
	})
}
