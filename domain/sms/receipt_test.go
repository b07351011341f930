package sms

import (
	"fmt"
	"math/rand/v2"
	"slices"
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

func TestSameID(t *testing.T) {
	for _, c := range []struct {
		a, b       string
		plain, hex bool
	}{
		{"123", "123", true, true},
		{"0123", "123", true, true},
		{"000", "0", true, true},
		{"0", "00", true, true},
		{"abc-1", "abc-1", true, true},
		{"abc", "ABC", false, false}, // an id of letters may differ by case alone
		{"4D2", "1234", false, true},
		{"4d2", "1234", false, true},
		{"1234", "04D2", false, true},
		{"1234", "1234", true, true},
		{"10", "16", false, true},
		{"16", "10", false, true},
		{"10", "17", false, false},
		{"FFFFFFFFFFFFFFFFFF", "4722366482869645213695", false, true}, // past 64 bits
		{"A", "A ", false, false},
		{"", "", false, false},
		{"", "0", false, false},
		{"-10", "-16", false, false},
		{"+10", "16", false, false},
		{"0x10", "16", false, false},
		{"1_0", "16", false, false},
	} {
		for _, hex := range []bool{false, true} {
			want := c.plain
			if hex {
				want = c.hex
			}
			if sameID(c.a, c.b, hex) != want || sameID(c.b, c.a, hex) != want {
				t.Errorf("sameID(%q, %q, %v) is not %v", c.a, c.b, hex, want)
			}
		}
	}
}

func TestIDKeys(t *testing.T) {
	for id, want := range map[string][]string{
		"":                      nil,
		"0":                     {"0", "0"},
		"000":                   {"000", "0"},
		"1234":                  {"1234", "1234", "4d2", "4660"},
		"04D2":                  {"04D2", "4d2", "1234"},
		"7":                     {"7", "7"},
		"msg-01":                {"msg-01", "msg-01"},
		"Msg":                   {"Msg", "msg"},
		"00Msg":                 {"00Msg", "msg"},
		strings.Repeat("9", 41): {strings.Repeat("9", 41), strings.Repeat("9", 41)},
	} {
		if got := IDKeys(id); !slices.Equal(got, want) {
			t.Errorf("IDKeys(%q) = %q, want %q", id, got, want)
		}
	}
}

// What sameID accepts, IDKeys finds under the canonical key of the other.
func TestIDKeysFindWhatSameIDAccepts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		n := rnd.Uint64() >> rnd.IntN(64)
		write := func() string {
			s := strconv.FormatUint(n, 10)
			if rnd.IntN(2) == 0 {
				s = strconv.FormatUint(n, 16)
				if rnd.IntN(2) == 0 {
					s = strings.ToUpper(s)
				}
			}
			return strings.Repeat("0", rnd.IntN(3)) + s
		}
		a, b := write(), write()
		if rnd.IntN(10) == 0 {
			b = fmt.Sprint(rnd.IntN(20))
		}
		if sameID(a, b, true) && !slices.Contains(IDKeys(a)[1:], IDKeys(b)[1]) {
			t.Fatalf("%q and %q are one, keys %q and %q", a, b, IDKeys(a), IDKeys(b))
		}
		if sameID(a, b, false) && IDKeys(a)[1] != IDKeys(b)[1] {
			t.Fatalf("%q and %q are one, keys %q and %q", a, b, IDKeys(a), IDKeys(b))
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
		if !sameID(r.ID, r.ID, false) && r.ID != "" {
			t.Fatal("an id is not itself")
		}
		_ = IDKeys(text)
	})
}

func BenchmarkParseReceipt(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseReceipt("id:0123456789 sub:001 dlvrd:001 submit date:2611241329 done date:2611241330 stat:DELIVRD err:000 text:Hello")
	}
}
