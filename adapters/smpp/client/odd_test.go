package client

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/linxGnu/gosmpp/data"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/domain/sms"
)

// pack writes septets as they are on the air, behind some fill bits (3GPP TS 23.038 §6.1.2.1).
func pack(septets string, fill int) []byte {
	out := make([]byte, (fill+7*len(septets)+7)/8)
	for i := range len(septets) {
		v := uint16(septets[i]) << ((fill + 7*i) % 8)
		out[(fill+7*i)/8] |= byte(v)
		if v > 0xff {
			out[(fill+7*i)/8+1] |= byte(v >> 8)
		}
	}
	return out
}

func utf16Octets(text string, order binary.AppendByteOrder) (b []byte) {
	for _, u := range utf16.Encode([]rune(text)) {
		b = order.AppendUint16(b, u)
	}
	return b
}

// waysOfStop are the ways in which a carrier may write STOP, whatever its data_coding says.
var waysOfStop = [][]byte{
	[]byte("STOP"), []byte("STOP\x00"), []byte("\xef\xbb\xbfSTOP"), utf16Octets("STOP", binary.BigEndian), utf16Octets("\ufeffSTOP", binary.BigEndian),
	utf16Octets("STOP", binary.LittleEndian), utf16Octets("\ufeffSTOP", binary.LittleEndian), pack("STOP", 0),
}

// headers are user data headers, with how many fill bits packed septets have behind them.
var headers = []struct {
	octets string
	fill   int
}{
	{"\x00", 6}, {"\x05\x00\x03\x07\x02\x01", 1}, {"\x06\x08\x04\x01\x07\x03\x03", 0}, {"\x05\x00\x03\x07\x00\x09", 1}, {"\x02\x70\x00", 4},
}

// draw makes choices, of octets or by chance.
type draw struct {
	octets []byte
	rng    *rand.Rand
}

// n is a number below most.
func (d *draw) n(most int) int {
	if d.rng != nil {
		return d.rng.IntN(most)
	}
	if len(d.octets) == 0 {
		return 0
	}
	v := int(d.octets[0])
	d.octets = d.octets[1:]
	if most > 256 && len(d.octets) > 0 {
		v = v<<8 | int(d.octets[0])
		d.octets = d.octets[1:]
	}
	return v % most
}

func (d *draw) some(most int) []byte {
	b := make([]byte, d.n(most))
	for i := range b {
		b[i] = byte(d.n(256))
	}
	return b
}

func (d *draw) pick(from ...string) string { return from[d.n(len(from))] }

// address appends the type of number, the numbering plan and an address.
func (d *draw) address(b []byte) []byte {
	b = append(b, byte(d.n(256)), byte(d.n(256)))
	switch d.n(8) {
	case 0:
		// An octet below 8 may be a type of number after an address without its NUL.
		for _, c := range d.some(40) {
			b = append(b, max(c, 8))
		}
	case 1:
		b = append(b, strings.Repeat("7", d.n(90))...)
	default:
		b = append(b, d.pick("14155550123", "+447700900123", "07700900123", "caf\xe9", "24273", "", "MyBank\t")...)
	}
	return append(b, 0)
}

// deliver makes a deliver_sm in which every field may be anything. stop says that its whole text
// is the word STOP and that all its fields are where SMPP 3.4 §4.6.1 has them.
func (d *draw) deliver() (frame []byte, stop bool) {
	b := make([]byte, wire.HeaderLen, 256)
	b = append(append(b, d.pick("", "CMT", "WAP\xff")...), 0)
	b = d.address(d.address(b))
	esm := byte(d.n(256))
	b = append(b, esm, byte(d.n(256)), byte(d.n(256)))
	b = append(b, d.pick("\x00", "261124120000000+\x00")...)
	b = append(b, d.pick("\x00", "000001000000000R\x00", "x\x00")...)
	b = append(b, byte(d.n(256)), byte(d.n(2)), byte(d.n(256)), byte(d.n(256)))

	var text []byte
	switch d.n(8) {
	case 0:
		text = d.some(140)
	case 1:
		text = []byte(d.pick("hello", "id:7 stat:DELIVRD err:000 text:STOP", "id:\xe9 err:\xe9", "停止", "<<<<", "\x01\x02"))
	default:
		text, stop = slices.Clone(waysOfStop[d.n(len(waysOfStop))]), true
	}
	if esm&data.SM_UDH_GSM != 0 && d.n(8) > 0 {
		h := headers[d.n(len(headers))]
		if stop && d.n(4) == 0 {
			text = pack("STOP", h.fill)
		}
		text = append([]byte(h.octets), text...)
	}
	field := []byte{0x04, 0x24, byte(len(text) >> 8), byte(len(text))}
	switch payload := append(field, text...); d.n(6) {
	case 0:
		b = append(append(b, 0), payload...)
	case 1:
		b = append(append(append(b, byte(len(text))), text...), payload...)
	case 2:
		b = append(append(b, byte(d.n(256))), text...)
		stop = false
	default:
		b = append(append(b, byte(len(text))), text...)
	}
	for range d.n(3) {
		b = append(b, d.pick("\x00\x1e\x00\x027\x00", "\x04\x27\x00\x01\x02", "\x02\x0c\x00\x02\x00\x01\x02\x0e\x00\x01\x02\x02\x0f\x00\x01\x01",
			"\x14\x01\x00\x03abc", "\x02\x04\x00\x02\xbe\xef", "\x04\x23\x00\x03\x03\x00\x1b")...)
	}
	switch d.n(8) {
	case 0:
		b = append(b, 0)
	case 1:
		b = append(b, 0x14, 0x02, 0x9c, 0x40, 1, 2, 3)
	case 2:
		b = append(b, d.some(12)...)
	case 3:
		b, stop = b[:min(len(b), wire.HeaderLen+d.n(len(b)))], false
	case 4:
		if at := wire.HeaderLen + d.n(len(b)); at < len(b) {
			b[at], stop = byte(d.n(256)), false
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	binary.BigEndian.PutUint32(b[4:], uint32(data.DELIVER_SM))
	binary.BigEndian.PutUint32(b[12:], 7)
	return b, stop
}

// checkDelivery holds what is true of every deliver_sm: it gives a delivery with its exact octets,
// all texts in it can be in an event, a STOP is read, and what is not read is said to be unreadable.
func checkDelivery(t testing.TB, frame []byte, stop, sniff bool, alphabet sms.Encoding) {
	p, err := wire.Parse(frame)
	if err != nil || p.Message == nil {
		t.Fatalf("%x: %v", frame, err)
	}
	m := p.Message
	d := readDelivery(m, Config{Alphabet: alphabet, SniffReceipts: sniff})
	if !bytes.Equal(d.Raw, frame[wire.HeaderLen:]) {
		t.Fatalf("%x: the body is not what came", frame)
	}
	names := []string{d.From, d.To}
	if d.Receipt != nil {
		names = append(names, d.Receipt.ID, d.Receipt.Error)
	}
	for _, n := range names {
		if len(n) > 64 || strings.ContainsFunc(n, func(r rune) bool { return r < 0x20 || r > 0x7e }) {
			t.Fatalf("%x: %q", frame, n)
		}
	}
	if len(d.Texts) > maxTexts+maxHidden {
		t.Fatalf("%x: %d readings", frame, len(d.Texts))
	}
	octets := 0
	for i, text := range d.Texts {
		octets += len(text)
		if !utf8.ValidString(text) || strings.Trim(text, "\x00\x01\x02\x03\t\r\n") == "" || slices.Contains(d.Texts[:i], text) {
			t.Fatalf("%x: %q", frame, d.Texts)
		}
	}
	if octets > 60<<10 {
		t.Fatalf("%x: %d octets of text", frame, octets)
	}
	if c := d.Concat; c != nil && (c.Part < 1 || c.Part > c.Parts || c.Parts > 255) {
		t.Fatalf("%x: %+v", frame, c)
	}
	kind := m.EsmClass & typeMask
	receipt := kind == typeReceipt || kind == typeIntermediate || kind == typeReceipt|typeIntermediate
	switch {
	case receipt && d.Receipt == nil, (kind == typeDeliveryAck || kind == typeManualAck) && d.Receipt == nil, kind == 0 && !sniff && d.Receipt != nil:
		t.Fatalf("%x: receipt %+v", frame, d.Receipt)
	case stop && !slices.Contains(d.Texts, "STOP") && !(receipt && (d.Receipt.ID != "" || d.Receipt.State != sms.StateUnknown)):
		t.Fatalf("%x: STOP is read as %q", frame, d.Texts)
	case d.Receipt == nil && len(d.Texts) == 0 && !d.Unreadable && len(m.Octets) > 0:
		if r := sms.ReadOctets(m.DataCoding, m.Octets, m.EsmClass&data.SM_UDH_GSM != 0, alphabet); r.Damaged || len(m.Octets) != 1+int(m.Octets[0]) {
			t.Fatalf("%x: nothing is read, and nothing says so", frame)
		}
	case d.Receipt == nil && m.Cut && !d.Unreadable:
		t.Fatalf("%x: a field is cut, and nothing says so", frame)
	}
}

// FuzzDelivery varies every field of a deliver_sm, and its octets. See checkDelivery.
func FuzzDelivery(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		b := make([]byte, 60)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		f.Add(b, byte(rng.IntN(8)))
	}
	for _, way := range waysOfStop {
		f.Add(way, byte(4))
	}
	f.Fuzz(func(t *testing.T, octets []byte, flags byte) {
		alphabet := []sms.Encoding{sms.GSM7, sms.Latin1}[flags&1]
		if flags&4 != 0 { // the body as it is
			frame := wire.AppendHeader(nil, data.DELIVER_SM, 0, 7)
			frame = append(frame, octets[:min(len(octets), wire.MaxPDU-wire.HeaderLen)]...)
			binary.BigEndian.PutUint32(frame, uint32(len(frame)))
			checkDelivery(t, frame, false, flags&2 != 0, alphabet)
			return
		}
		frame, stop := (&draw{octets: octets}).deliver()
		checkDelivery(t, frame, stop, flags&2 != 0, alphabet)
	})
}

// TestOddDeliveries is FuzzDelivery by chance, without its search. For more of it:
//
//	CHIROGRAPH_ODD_DELIVERIES=10000000 go test -run TestOddDeliveries ./adapters/smpp/client
func TestOddDeliveries(t *testing.T) {
	runs, seed := 40_000, uint64(1)
	if s := os.Getenv("CHIROGRAPH_ODD_DELIVERIES"); s != "" {
		var err error
		if runs, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
		seed = rand.Uint64()
		t.Logf("seed %d", seed)
	}
	workers := runtime.GOMAXPROCS(0)
	var all sync.WaitGroup
	stops := make([]int, workers)
	for w := range workers {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(w)))
			d := draw{rng: rng}
			for i := w; i < runs && !t.Failed(); i += workers {
				frame, stop := d.deliver()
				if stop {
					stops[w]++
				}
				checkDelivery(failing{t}, frame, stop, rng.IntN(2) == 0, []sms.Encoding{sms.GSM7, sms.Latin1}[rng.IntN(2)])
			}
		})
	}
	all.Wait()
	n := 0
	for _, s := range stops {
		n += s
	}
	if n < runs/4 {
		t.Errorf("%d of %d messages were a STOP", n, runs)
	}
}

// failing is a test that other goroutines may fail: the first failure ends the goroutine.
type failing struct{ testing.TB }

func (f failing) Fatalf(format string, args ...any) {
	f.Errorf(format, args...)
	runtime.Goexit()
}

func BenchmarkReadDelivery(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	d := draw{rng: rng}
	frames := make([][]byte, 1000)
	for i := range frames {
		frames[i], _ = d.deliver()
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		p, _ := wire.Parse(frames[i%len(frames)])
		readDelivery(p.Message, Config{Alphabet: sms.GSM7})
	}
}
