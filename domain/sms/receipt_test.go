package sms

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestParseReceipt(t *testing.T) {
	at := func(s string) time.Time {
		if s == "" {
			return time.Time{}
		}
		d, err := time.Parse("2006-01-02 15:04:05", s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, c := range []struct {
		name, text      string
		id              string
		state           MessageState
		final           bool
		code            string
		submitted, done string
	}{
		{"as in Appendix B", "id:0123456789 sub:001 dlvrd:001 submit date:2611241329 done date:2611241330 stat:DELIVRD err:000 text:Hello",
			"0123456789", StateDelivered, true, "000", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"12 digits", "id:1 sub:001 dlvrd:001 submit date:261124132901 done date:261124133002 stat:DELIVRD err:000 text:",
			"1", StateDelivered, true, "000", "2026-11-24 13:29:01", "2026-11-24 13:30:02"},
		{"14 digits", "id:1 sub:001 dlvrd:001 submit date:20261124132901 done date:20261124133002 stat:DELIVRD err:000 text:",
			"1", StateDelivered, true, "000", "2026-11-24 13:29:01", "2026-11-24 13:30:02"},
		{"12 digits with a long year", "id:1 submit date:202611241329 done date:202611241330 stat:DELIVRD",
			"1", StateDelivered, true, "", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"SMPP time", "id:1 submit date:261124132901000+ done date:261124133002004R stat:DELIVRD",
			"1", StateDelivered, true, "", "2026-11-24 13:29:01", "2026-11-24 13:30:02"},
		{"separated date", "id:1 submit date:2026-11-24 13:29:01 done date:2026-11-24T13:30:02Z stat:DELIVRD err:0",
			"1", StateDelivered, true, "0", "2026-11-24 13:29:01", "2026-11-24 13:30:02"},
		{"commas", "id:9f-1, sub:001, dlvrd:001, submit date:2611241329, done date:2611241330, stat:DELIVRD, err:000, text:hi",
			"9f-1", StateDelivered, true, "000", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"commas without spaces", "id:9f-1,sub:001,dlvrd:001,submit date:2611241329,done date:2611241330,stat:UNDELIV,err:034,text:hi",
			"9f-1", StateUndeliverable, true, "034", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"failed", "id:1 sub:001 dlvrd:000 submit date:2611241329 done date:2611241330 stat:FAILED err:001 text:", "1", StateUndeliverable, true, "001", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"upper case", "ID:AB12 SUB:001 DLVRD:001 SUBMIT DATE:2611241329 DONE DATE:2611241330 STAT:DELIVRD ERR:000 TEXT:X", "AB12", StateDelivered, true, "000", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"lower case state", "id:1 stat:delivrd err:000", "1", StateDelivered, true, "000", "", ""},
		{"no text", "id:1 sub:001 dlvrd:001 submit date:2611241329 done date:2611241330 stat:EXPIRED err:27b", "1", StateExpired, true, "27b", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"odd id", "id:a/b_c.d:e=f|g@h-1+2 sub:001 stat:DELIVRD", "a/b_c.d:e=f|g@h-1+2", StateDelivered, true, "", "", ""},
		{"quoted id", `id:"77-1" stat:"DELIVRD"`, "77-1", StateDelivered, true, "", "", ""},
		{"uuid", "id:0f8fad5b-d9cb-469f-a165-70867728950e sub:1 dlvrd:1 stat:ACCEPTD err:", "0f8fad5b-d9cb-469f-a165-70867728950e", StateAccepted, false, "", "", ""},
		{"spaces after colons", "id: 77 sub: 001 submit date: 2611241329 stat: REJECTD err: 12 text: x", "77", StateRejected, true, "12", "2026-11-24 13:29:00", ""},
		{"spaces before colons", "id : 77 stat : DELETED", "77", StateDeleted, true, "", "", ""},
		{"underscores", "id:77 submit_date:2611241329 done_date:2611241330 status:ENROUTE error:0", "77", StateEnroute, false, "0", "2026-11-24 13:29:00", "2026-11-24 13:30:00"},
		{"another order", "stat:DELIVRD id:77 done date:2611241330", "77", StateDelivered, true, "", "", "2026-11-24 13:30:00"},
		{"fields of their own", "id:77 to:447700900000 sub:001 mccmnc:23415 stat:DELIVRD err:000", "77", StateDelivered, true, "000", "", ""},
		{"no id", "sub:001 dlvrd:001 stat:DELIVRD err:000", "", StateDelivered, true, "000", "", ""},
		{"empty id", "id: stat:DELIVRD err:000", "", StateDelivered, true, "000", "", ""},
		{"no state", "id:77 sub:001 dlvrd:001", "77", StateUnknown, false, "", "", ""},
		{"unknown", "id:77 stat:UNKNOWN err:000", "77", StateUnknown, false, "000", "", ""},
		{"a word nobody knows", "id:77 stat:WIBBLE", "77", StateUnknown, false, "", "", ""},
		{"a number for a state", "id:77 stat:2", "77", StateDelivered, true, "", "", ""},
		{"a number too high", "id:77 stat:99", "77", StateUnknown, false, "", "", ""},
		{"bad dates", "id:77 submit date:2613241329 done date:000000000000 stat:DELIVRD", "77", StateDelivered, true, "", "", ""},
		{"other bad dates", "id:77 submit date:n/a done date:26112413290000000 stat:DELIVRD", "77", StateDelivered, true, "", "", ""},
		{"a zone without its quarters", "id:77 submit date:2611241200123+00 done date:2611241330 stat:DELIVRD err:034", "77", StateDelivered, true, "034", "", "2026-11-24 13:30:00"},
		{"a zone in words", "id:77 submit date:2026-11-24T13:29:01+00:00 done date:2611241330 UTC stat:DELIVRD err:034", "77", StateDelivered, true, "034", "", ""},
		{"20 digits", "id:77 submit date:20261124132901000000 done date:20261124133002 stat:UNDELIV err:034", "77", StateUndeliverable, true, "034", "", "2026-11-24 13:30:02"},
		{"dates first", "submit date:202611241329010000000000 done date:x id:77 stat:UNDELIV err:034", "77", StateUndeliverable, true, "034", "", ""},
		{"empty dates", "id:77 submit date: done date: stat:DELIVRD err:034", "77", StateDelivered, true, "034", "", ""},
		{"an octet in a date", "id:77 submit date:26112413\xE929 stat:DELIVRD err:034", "77", StateDelivered, true, "034", "", ""},
		{"an SMPP time that is no date", "id:77 submit date:269924132901000+ stat:DELIVRD err:034", "77", StateDelivered, true, "034", "", ""},
		{"a code in letters", "id:77 stat:UNDELIV err:ABSENT text:x", "77", StateUndeliverable, true, "ABSENT", "", ""},
		{"a code in hexadecimal", "id:77 stat:UNDELIV err:0x22", "77", StateUndeliverable, true, "0x22", "", ""},
		{"an octet for a code", "id:77 stat:UNDELIV err:\xE9 text:x", "77", StateUndeliverable, true, "\xE9", "", ""},
		{"a code of two words", "id:77 stat:UNDELIV err:034 absent text:x", "77", StateUndeliverable, true, "034", "", ""},
		{"30 February", "id:77 submit date:2602301329 stat:DELIVRD", "77", StateDelivered, true, "", "", ""},
		{"state in the text", "id:77 stat:UNDELIV err:001 text:id:78 stat:DELIVRD err:000", "77", StateUndeliverable, true, "001", "", ""},
		{"state in the text only", "id:77 err:001 Text:stat:DELIVRD", "77", StateUnknown, false, "001", "", ""},
		{"twice: the first", "id:77 stat:UNDELIV id:78 stat:DELIVRD", "77", StateUndeliverable, true, "", "", ""},
		{"label inside a word", "grid:5 id:77 substat:EXPIRED stat:DELIVRD", "77", StateDelivered, true, "", "", ""},
		{"NUL at the end", "id:77 stat:DELIVRD\x00", "77", StateDelivered, true, "", "", ""},
		{"lines", "id:77\r\nstat:DELIVRD\r\nerr:000\r\n", "77", StateDelivered, true, "000", "", ""},
	} {
		r, ok := ParseReceipt(c.text)
		want := Receipt{ID: c.id, State: c.state, Final: c.final, Error: c.code, Submitted: at(c.submitted), Done: at(c.done)}
		if !ok || r != want {
			t.Errorf("%s: %+v, %v\nwant %+v", c.name, r, ok, want)
		}
	}
	for _, text := range []string{"", "Hello", "STOP", "text:id:1 stat:DELIVRD", "sub:001 dlvrd:001", "stat", "stat:", "id:", "id", "paid:5 restat:x", ":", "err:000"} {
		if r, ok := ParseReceipt(text); ok {
			t.Errorf("%q is a receipt: %+v", text, r)
		}
	}
}

func TestStateWords(t *testing.T) {
	for word, want := range map[string]MessageState{
		"DELIVRD": StateDelivered, "DELIVERED": StateDelivered, "DELIVERD": StateDelivered, "Delivrd": StateDelivered,
		"EXPIRED": StateExpired, "EXPIRD": StateExpired, "DELETED": StateDeleted, "UNDELIV": StateUndeliverable,
		"UNDELIVERABLE": StateUndeliverable, "UNDELIVERED": StateUndeliverable, "UNDELIVRD": StateUndeliverable, "FAILED": StateUndeliverable,
		"ACCEPTD": StateAccepted, "ACCEPTED": StateAccepted, "UNKNOWN": StateUnknown, "REJECTD": StateRejected, "REJECTED": StateRejected,
		"ENROUTE": StateEnroute, "BUFFERED": StateEnroute, "SCHEDULED": StateScheduled, "SKIPPED": StateSkipped, "": StateUnknown,
		"0": StateScheduled, "8": StateRejected, "9": StateSkipped, "10": StateUnknown, "-1": StateUnknown, "300": StateUnknown,
	} {
		if got := stateOf(word); got != want {
			t.Errorf("%q is %s, want %s", word, got, want)
		}
	}
}

func TestMessageState(t *testing.T) {
	for s, want := range []string{"scheduled", "enroute", "delivered!", "expired!", "deleted!", "undeliverable!", "accepted", "unknown", "rejected!", "skipped!", "10"} {
		got := MessageState(s).String()
		if MessageState(s).Final() {
			got += "!"
		}
		if got != want {
			t.Errorf("%d is %s, want %s", s, got, want)
		}
	}
}

func TestIDKeys(t *testing.T) {
	nines := strings.Repeat("9", 41)
	for _, c := range []struct{ id, key, hex, decimal string }{ // "": it cannot be read so
		{"", "", "", ""},
		{"0", "0", "0", "0"}, {"000", "0", "0", "0"}, {"7", "7", "7", "7"}, {"007", "7", "7", "7"},
		{"1234", "1234", "4d2", "4660"}, {"04D2", "4d2", "", "1234"}, {"0001234", "1234", "4d2", "4660"},
		{"msg-01", "msg-01", "", ""}, {"00Msg", "msg", "", ""}, {"-10", "-10", "", ""}, {"+10", "+10", "", ""}, {"0x10", "x10", "", ""},
		{"1_0", "1_0", "", ""}, {"A ", "a ", "", ""},
		{"4722366482869645213695", "4722366482869645213695", "ffffffffffffffffff", "85995297019735350385391253"}, // past 64 bits
		{"FFFFFFFFFFFFFFFFFF", "ffffffffffffffffff", "", "4722366482869645213695"},
		{nines, nines, "", ""},
	} {
		hex, isNumber := HexID(c.id)
		decimal, isHexadecimal := DecimalID(c.id)
		if key := IDKey(c.id); key != c.key || hex != c.hex || isNumber != (c.hex != "") || decimal != c.decimal || isHexadecimal != (c.decimal != "") {
			t.Errorf("%q has the key %q, %q in hexadecimal (%v) and %q in decimal (%v)", c.id, key, hex, isNumber, decimal, isHexadecimal)
		}
	}
}

// However a number is written, its keys are the same, and one is the other in the other base.
func TestIDKeysOfNumbers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n := rnd.Uint64() >> rnd.IntN(64)
		zeros := strings.Repeat("0", rnd.IntN(3))
		decimal, hexadecimal := strconv.FormatUint(n, 10), strconv.FormatUint(n, 16)
		written := hexadecimal
		if rnd.IntN(2) == 0 {
			written = strings.ToUpper(written)
		}
		hex, ok := HexID(zeros + decimal)
		dec, ok2 := DecimalID(zeros + written)
		if !ok || !ok2 || hex != hexadecimal || dec != decimal || IDKey(zeros+written) != hexadecimal || IDKey(zeros+decimal) != decimal {
			t.Fatalf("%s%s is %q in hexadecimal, %s%s is %q in decimal", zeros, decimal, hex, zeros, written, dec)
		}
	}
}

func FuzzParseReceipt(f *testing.F) {
	f.Add("id:0123456789 sub:001 dlvrd:001 submit date:2611241329 done date:2611241330 stat:DELIVRD err:000 text:Hello")
	f.Add("ID: 9f-1, STAT :FAILED,err:,done_date:20261124133002")
	f.Add("stat:2 id:id:id:")
	f.Add("text:stat:DELIVRD")
	f.Add("id:77 submit date:261124132901000+")
	f.Fuzz(func(t *testing.T, text string) {
		r, ok := ParseReceipt(text)
		if r.Final != r.State.Final() || r.State > StateSkipped || r.Intermediate {
			t.Fatalf("%+v", r)
		}
		if ok == (r.ID == "" && r.State == StateUnknown) && !strings.Contains(strings.ToLower(text), "stat") {
			t.Fatalf("%+v, %v", r, ok)
		}
		if strings.ContainsAny(r.ID+r.Error, " \t\r\n,;") || !strings.Contains(text, r.ID) {
			t.Fatalf("%+v", r)
		}
		if utf8.ValidString(text) && !utf8.ValidString(r.ID+r.Error) {
			t.Fatalf("%+v", r)
		}
		// The message's own text changes nothing.
		if again, ok2 := ParseReceipt(text + " text: id:5 stat:EXPIRED err:9"); ok2 != ok || again != r {
			t.Fatalf("%+v became %+v", r, again)
		}
		if hex, ok := HexID(text); ok {
			if back, ok := DecimalID(hex); len(hex) <= longestID && (!ok || back != IDKey(text)) {
				t.Fatalf("%q is %q in hexadecimal, and that %q in decimal", text, hex, back)
			}
		}
	})
}

func BenchmarkParseReceipt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseReceipt("id:0123456789 sub:001 dlvrd:001 submit date:2611241329 done date:2611241330 stat:DELIVRD err:000 text:Hello")
	}
}
