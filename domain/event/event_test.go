package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// fill draws a value of any type that events are made of. Empty lists are nil:
// that is what they are read back as.
func fill(t *rapid.T, v reflect.Value) {
	switch v.Interface().(type) {
	case time.Time:
		if rapid.Bool().Draw(t, "timed") {
			ms := rapid.Int64Range(0, 253_402_300_799_999).Draw(t, "ms")
			v.Set(reflect.ValueOf(Millis(time.UnixMilli(ms))))
		}
		return
	case ID:
		v.Set(reflect.ValueOf(drawID(t)))
		return
	case Pseudonym:
		v.Set(reflect.ValueOf(Pseudonym(drawID(t))))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "n")
		if n == 0 {
			return
		}
		s := reflect.MakeSlice(v.Type(), n, n)
		for i := range n {
			fill(t, s.Index(i))
		}
		v.Set(s)
	case reflect.String:
		v.SetString(text.Draw(t, "text"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(rapid.Uint64Range(0, 1<<v.Type().Bits()-1).Draw(t, "uint"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	default:
		t.Fatalf("events may not hold a %s", v.Type())
	}
}

var text = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "\x00\x1f\"\\/", "\u2028<&>", "é\U0001F600\u0301", "a\tb\r\n"}))

func drawID(t *rapid.T) (id ID) {
	if rapid.Bool().Draw(t, "id set") {
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	}
	return id
}

func drawEvent(t *rapid.T, typ Type) *Event {
	e := &Event{Data: registry[typ].make()}
	fill(t, reflect.ValueOf(e.Data).Elem())
	e.ID, e.Message, e.After = drawID(t), drawID(t), drawID(t)
	e.Source, e.Tenant, e.Node = text.Draw(t, "source"), text.Draw(t, "tenant"), text.Draw(t, "node")
	e.Control = rapid.Int64().Draw(t, "control")
	e.Subject = Pseudonym(drawID(t))
	fill(t, reflect.ValueOf(&e.Time).Elem())
	return e
}

// An event in memory equals its decoded encoding, which is the only spelling of
// it; and encoding/json reads the same in it.
func TestRoundTrip(t *testing.T) {
	types := Types()
	slices.Sort(types)
	for _, typ := range types {
		t.Run(string(typ), rapid.MakeCheck(func(t *rapid.T) {
			e := drawEvent(t, typ)
			raw, err := Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			back, err := Decode(raw)
			if err != nil {
				t.Fatalf("%v in %s", err, raw)
			}
			if !reflect.DeepEqual(back, e) {
				t.Fatalf("got  %+v\nwant %+v\nin %s", back.Data, e.Data, raw)
			}
			if !Canonical(raw, back) {
				t.Fatal("what Encode wrote is not canonical")
			}
			if Canonical(append([]byte{' '}, raw...), back) {
				t.Fatal("another spelling is canonical")
			}
			var outer struct {
				Time time.Time       `json:"time"`
				Data json.RawMessage `json:"data"`
			}
			if err := json.Unmarshal(raw, &outer); err != nil {
				t.Fatalf("encoding/json: %v in %s", err, raw)
			}
			plain := registry[typ].make()
			if err := json.Unmarshal(outer.Data, plain); err != nil {
				t.Fatal(err)
			}
			again, err := json.Marshal(e.Data) // its own writing of the same
			if err != nil {
				t.Fatal(err)
			}
			other := registry[typ].make()
			if err := json.Unmarshal(again, other); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(plain, e.Data) || !reflect.DeepEqual(other, e.Data) || !outer.Time.Equal(e.Time) {
				t.Fatalf("encoding/json reads other data in %s than in %s", outer.Data, again)
			}
		}))
	}
}

func TestEncodeRefuses(t *testing.T) {
	for name, e := range map[string]*Event{
		"text that is no UTF-8": {Time: at(0), Tenant: "\xff", Data: &MessageExpired{}},
		"microseconds":          {Time: at(0).Add(time.Microsecond), Data: &MessageExpired{}},
		"another zone":          {Time: at(0).In(time.FixedZone("", 3600)), Data: &MessageExpired{}},
		"too large":             {Time: at(0), Tenant: strings.Repeat("x", MaxSize), Data: &MessageExpired{}},
		"a year of five digits": {Time: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Data: &MessageExpired{}},
	} {
		b := []byte("before")
		if got, err := AppendEncoded(b, e); err == nil || !bytes.Equal(got, b) {
			t.Errorf("%s: wrote %s", name, got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := Encode(&Event{ID: exampleID(1), Source: "/k", Time: at(0), Data: &CancelRequested{By: "x"}})
	if err != nil {
		t.Fatal(err)
	}
	swap := func(old, new string) string { return strings.Replace(string(good), old, new, 1) }
	for name, raw := range map[string]string{
		"nothing":         "",
		"half":            string(good[:len(good)/2]),
		"something after": string(good) + "{}",
		"another version": swap(`"1.0"`, `"2.0"`),
		"unknown field":   swap(`"source"`, `"sauce"`),
		"unknown datum":   swap(`"by"`, `"of"`),
		"a bad id":        swap(exampleID(1).String(), "x"),
		"no data":         swap(`,"data":{"by":"x"}`, ``),
	} {
		if e, err := Decode([]byte(raw)); err == nil || errors.Is(err, ErrUnknownType) {
			t.Errorf("%s: read %+v, %v", name, e, err)
		}
	}
	for _, typ := range []string{"CancelRequested.v2", "", "Nonsense.v1"} {
		if _, err := Decode([]byte(swap("CancelRequested.v1", typ))); !errors.Is(err, ErrUnknownType) {
			t.Errorf("type %q: %v", typ, err)
		}
	}
}

// ordinary are the six events of an ordinary message: a 100-character body to a US
// number with one possible place, four checks, a receipt with 180 raw octets. A
// sealed box is its plain text and 60 bytes (commitment, nonce and tag).
func ordinary() []*Event {
	id := func(n byte) ID { x := NewID(at(0)); x[15] = n; return x }
	sealed := func(class string, plain any) Sealed {
		raw, err := json.Marshal(plain)
		if err != nil {
			panic(err)
		}
		return Sealed{Version: SealV2, SubjectKey: id(1), ClassKey: class + "/2026-11", Box: make([]byte, len(raw)+60)}
	}
	digest := strings.Repeat("5f1d0a9b", 4)
	head := func(e Event) *Event {
		e.Source, e.Subject, e.Time, e.Tenant, e.Node = "/k3v9x2", Pseudonym{1}, at(0), "acme", "n1"
		return &e
	}
	m := id(2)
	check := func(name, rule string) Check { return Check{Check: name, Outcome: "allow", Rules: []string{rule}} }
	return []*Event{
		head(Event{ID: m, Data: &MessageSubmitted{Program: "account", Purpose: "account", Priority: 6, From: "+15005550006", Country: "US",
			Places: []Place{"US-FL America/New_York"}, Encoding: "gsm7", Segments: 1, ValidUntil: at(86_400_000),
			By: "key-1", Sealed: sealed("message", Content{To: "+13055550123", Body: strings.Repeat("x", 100)})}}),
		head(Event{ID: id(3), Message: m, After: id(9), Control: 12, Data: &MessageDecided{Outcome: "allow", Until: at(3_600_000),
			Senders: []string{"+15005550006"}, Checks: []Check{check("countries", "countries.reach"), check("opt_out", "opt_out.none"),
				check("quiet_hours", "quiet_hours.us.federal"), check("senders", "senders.owned")},
			Clocks: []Clock{"America/New_York 2026-11-24T08:40"}, ZoneData: "2026b", Revision: "2026-11-24", Digest: digest}}),
		head(Event{ID: id(4), Message: m, After: id(3), Control: 12, Data: &MessageRouted{Rule: "default", Table: 3, Carrier: "smsc",
			From: "+15005550006", Encoding: "gsm7", Parts: 1}}),
		head(Event{ID: id(5), Message: m, After: id(4), Control: 12, Data: &HandoffStarted{Attempt: 1, Parts: []StartedPart{{1, digest}},
			CallBy: at(5000), AnswerBy: at(15000), Reference: 4097}}),
		head(Event{ID: id(6), Message: m, Data: &HandoffAccepted{Attempt: 1, Part: 1, Carrier: "smsc", CarrierID: "0123456789"}}),
		head(Event{ID: id(7), Message: m, Data: &ReceiptReceived{Account: "smsc", CarrierID: "0123456789", Reference: 4097, Attempt: 1, Part: 1,
			State: "delivered", Final: true, Error: "000", Grade: "network", Match: "id",
			Sealed: sealed("carrier", Inbound{Raw: make([]byte, 180)})}}),
	}
}

func TestSize(t *testing.T) {
	// The aim is 3 KB. More than half are envelopes (CloudEvents' names, two or three
	// ids of 36 characters, the pseudonym), a quarter the two sealed boxes in base64
	// (a receipt's octets twice: as JSON, and as a box). Their commitments and versions take 110
	// since format level 3. An idempotency key adds 84.
	const bound = 3910
	total := 0
	for _, e := range ordinary() {
		raw, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		var data struct {
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(raw, &data); err != nil {
			t.Fatal(err)
		}
		t.Logf("%-20s %5d bytes, %4d of them the envelope", e.Data.Type().Name(), len(raw), len(raw)-len(data.Data))
		total += len(raw)
	}
	t.Logf("an ordinary message's six events: %d bytes", total)
	if total > bound {
		t.Errorf("an ordinary message takes %d bytes, more than %d", total, bound)
	}
}

func TestDerive(t *testing.T) {
	a := NewMessageID(at(0), 7)
	tests := map[string]ID{
		"applied 00": Derive(a, "applied", "00"),
		"applied 01": Derive(a, "applied", "01"),
		"lift":       Derive(a, "lift"),
		"joined":     Derive(a, "joined"),
		"matched":    Derive(a, "matched"),
		"split":      Derive(a, "app", "lied00"),
		"one":        Derive(a, "applied00"),
		"source":     Derive(NewMessageID(at(0), 7), "lift"),
		"itself":     a,
	}
	seen := map[ID]string{}
	for name, id := range tests {
		if other, ok := seen[id]; ok {
			t.Errorf("%s and %s have one id", name, other)
		}
		seen[id] = name
		if !id.Time().Equal(at(0)) || id.Partition() != 7 || id[6]>>4 != 7 || id[8]>>6 != 2 {
			t.Errorf("%s: %s is no UUIDv7 of its source's time and partition", name, id)
		}
	}
	if Derive(a, "lift") != tests["lift"] {
		t.Error("the same names give two ids")
	}
	if m := DeriveMessageID(a, 4095, "reply"); m.Partition() != 4095 || !m.Time().Equal(at(0)) || DeriveMessageID(a, 4095, "reply") != m {
		t.Errorf("%s is not the reply's id in partition 4095", m)
	}
	// A promise: these bytes are in ledgers.
	fixed := ID{0x01, 0x93, 0x2c, 0x07, 0x9f, 0x3a, 0x70, 0x07, 0x8c, 0x4e, 0x5d, 0x2a, 0x7f, 0x6b, 0x1e, 0x90}
	if got := Derive(fixed, "lift").String(); got != "01932c07-9f3a-7007-a481-5ff5e4f6ff3f" {
		t.Errorf("the lift of %s is %s", fixed, got)
	}
}

func TestNewID(t *testing.T) {
	seen := map[ID]bool{}
	for i := range 1000 {
		now := time.UnixMilli(int64(i) * 7919)
		id, m := NewID(now), NewMessageID(now, i%MaxPartitions)
		if !id.Time().Equal(now) || !m.Time().Equal(now) || m.Partition() != i%MaxPartitions {
			t.Fatalf("%s, %s at %s", id, m, now)
		}
		if id[6]>>4 != 7 || id[8]>>6 != 2 || m[6]>>4 != 7 || m[8]>>6 != 2 {
			t.Fatalf("%s or %s is no UUIDv7", id, m)
		}
		if seen[id] || seen[m] {
			t.Fatal("twice the same")
		}
		seen[id], seen[m] = true, true
	}
}

func TestPseudonym(t *testing.T) {
	key := []byte("a key")
	p := NewPseudonym(key, "acme", "+13055550123")
	for _, other := range []Pseudonym{NewPseudonym(key, "acm", "e+13055550123"), NewPseudonym([]byte("another"), "acme", "+13055550123"),
		NewPseudonym(key, "other", "+13055550123"), NewPseudonym(key, "acme", "+13055550124")} {
		if other == p {
			t.Error("two streams have one pseudonym")
		}
	}
	if back, err := parsePseudonym(p.String()); err != nil || back != p || p.IsZero() {
		t.Errorf("%s is read as %s, %v", p, back, err)
	}
	for _, bad := range []string{"0", strings.Repeat("0", 31), strings.Repeat("g", 32), strings.Repeat("0", 33)} {
		if _, err := parsePseudonym(bad); err == nil {
			t.Errorf("%q is a pseudonym", bad)
		}
	}
	spread := map[int]int{}
	for i := range 1600 {
		spread[NewPseudonym(key, "acme", strings.Repeat("+", i)).Partition(16)]++
	}
	for n := range 16 {
		if spread[n] < 50 {
			t.Errorf("partition %d has %d of 1600 streams", n, spread[n])
		}
	}
}

func TestPosition(t *testing.T) {
	for s, want := range map[string]Position{"07-1234": {7, 1234}, "00-0": {0, 0}, "control-3": {ControlPartition, 3}, "inbox-0": {InboxPartition, 0}, "123-9": {123, 9}} {
		got, err := ParsePosition(s)
		if err != nil || got != want || got.String() != s {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "7-1", "07", "07-", "-1", "07--1", "07-01", "07-+1", "007-1", "4096-1", "x-1", "07-9223372036854775808", "control", "07-1 "} {
		if p, err := ParsePosition(s); err == nil {
			t.Errorf("%q is read as %v", s, p)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, e := range examples() {
		raw, err := Encode(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"specversion":"1.0","type":"MessageExpired.v1","data":null}`))
	f.Add([]byte(`{"specversion":"1.0","type":"MessageExpired.v1","time":"2026-11-24T08:00:00.0001+01:00","data":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := Decode(raw)
		if err != nil {
			return
		}
		again, err := Encode(e)
		if err != nil {
			return // it holds what Encode would not have written, a time of microseconds for one
		}
		back, err := Decode(again)
		if err != nil || !Canonical(again, back) {
			t.Fatalf("%s was read, and %s is not: %v", raw, again, err)
		}
		if Canonical(raw, e) != bytes.Equal(raw, again) {
			t.Fatal("two spellings are canonical")
		}
	})
}

func FuzzParsePosition(f *testing.F) {
	for _, s := range []string{"07-1234", "control-3", "inbox-0", "4095-9", "07-01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatalf("the error is no text: %q", err.Error())
			}
			return
		}
		if p.String() != s || p.Index < 0 {
			t.Fatalf("%q is read as %v", s, p)
		}
	})
}

func FuzzParseID(f *testing.F) {
	for _, s := range []string{"01932c07-9f3a-7003-8c4e-5d2a7f6b1e90", "01932C07-9f3a-7003-8c4e-5d2a7f6b1e90", "", "00000000-0000-0000-0000-000000000000"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err != nil {
			return
		}
		if id.String() != s && !(id.IsZero() && s == "00000000-0000-0000-0000-000000000000") {
			t.Fatalf("%q is read as %s", s, id)
		}
	})
}
