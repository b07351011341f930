package recipient

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

var update = flag.Bool("update", false, "write the golden files that are missing")

// filler fills structs at random.
type filler struct {
	rng *rand.Rand
	// zeros is in how many of 4 cases a value stays zero.
	zeros int
}

var texts = []string{"acme", "news", "+15005550006", "delivered", "accepted",
	"ü€\U0001F6D1\u2028<&>", "a\x00\"\\\n", "not \xff\xfe UTF-8", strings.Repeat("x", 65), strings.Repeat("long ", 60)}

// fill sets all exported fields, and what is in them. Of time.Time it sets what JSON can say.
func (r *filler) fill(v reflect.Value) {
	if v.Kind() != reflect.Struct && r.rng.IntN(4) < r.zeros {
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(r.time()))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		n := r.rng.Int64() >> r.rng.IntN(63)
		if r.rng.IntN(3) == 0 {
			n = -n
		}
		v.SetInt([]int64{n | 1, n | 1, n | 1, math.MinInt64, math.MaxInt64}[r.rng.IntN(5)])
	case reflect.Uint16:
		v.SetUint(1 + r.rng.Uint64N(math.MaxUint16))
	case reflect.String:
		if s := texts[r.rng.IntN(len(texts))]; r.rng.IntN(2) == 0 {
			v.SetString(s)
		} else {
			v.SetString(s + hex.EncodeToString([]byte{byte(r.rng.Uint32())}))
		}
	case reflect.Array: // an id
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(1 + r.rng.IntN(255)))
		}
	case reflect.Slice:
		n := 1 + r.rng.IntN(3)
		if r.zeros > 0 {
			n = r.rng.IntN(3)
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			if e := v.Index(i); e.Kind() == reflect.Pointer {
				e.Set(reflect.New(e.Type().Elem()))
				r.fill(e.Elem())
			} else {
				r.fill(e)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		r.fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				r.fill(v.Field(i))
			}
		}
	default:
		panic("what is a " + v.Type().String())
	}
}

func (r *filler) time() time.Time {
	t := t0.Add(time.Duration(r.rng.Int64N(int64(200 * 24 * time.Hour)))).Truncate(time.Millisecond)
	switch r.rng.IntN(8) {
	case 0:
		return t.Add(time.Duration(r.rng.IntN(1e9)))
	case 1:
		return time.Date(r.rng.IntN(10000), 1, r.rng.IntN(366), 0, 0, r.rng.IntN(1e5), r.rng.IntN(1e9), time.UTC)
	case 2:
		return time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)
	case 3:
		return time.Date(0, 1, 1, 0, 0, 0, 1, time.UTC)
	}
	return t
}

func filled(seed uint64) *State {
	s, r := new(State), &filler{rand.New(rand.NewPCG(seed, 3)), int(seed % 4)}
	r.fill(reflect.ValueOf(s).Elem())
	return s
}

// forms is x after its bytes were read, and after its JSON was: as JSON.
func forms[T any](t *testing.T, x *T, encode func([]byte, *T) []byte, decode func([]byte) (*T, error)) (fromBytes, fromJSON string) {
	t.Helper()
	at := []byte("before")
	b := encode(at, x)
	if !bytes.HasPrefix(b, at) || bytes.HasPrefix(b[len(at):], []byte("{")) {
		t.Fatalf("it begins with %q", b[:len(at)+1])
	}
	y, err := decode(b[len(at):])
	if err != nil {
		t.Fatal(err)
	}
	z, err := decode([]byte(jsonOf(t, x)))
	if err != nil {
		t.Fatal(err)
	}
	return jsonOf(t, y), jsonOf(t, z)
}

// What is read of the bytes of a fold or row is what is read of its JSON: each field that there is.
func TestFormSaysWhatJSONSays(t *testing.T) {
	same := func(fromBytes, fromJSON string) {
		t.Helper()
		if fromBytes != fromJSON {
			t.Fatalf("of the bytes was read\n%s\nand of JSON\n%s", fromBytes, fromJSON)
		}
	}
	same(forms(t, new(State), encodeState, Decode))
	for seed := range uint64(2000) {
		s := filled(seed)
		same(forms(t, s, encodeState, Decode))
		r := &filler{rand.New(rand.NewPCG(seed, 4)), int(seed % 4)}
		var m Message
		r.fill(reflect.ValueOf(&m).Elem())
		same(forms(t, &m, appendMessage, DecodeMessage))
		var x rememberedFact
		r.fill(reflect.ValueOf(&x).Elem())
		same(forms(t, &x, appendFact, decodeFact))
	}
}

func encodeState(b []byte, s *State) []byte { return s.AppendEncoded(b) }

// A time that was read is the same in all its fields as one that was read of JSON: so == holds for them.
func TestFormOfTimes(t *testing.T) {
	for _, at := range []time.Time{{}, t0, t0.Add(1), t0.Add(-time.Millisecond + 1), time.Unix(0, 0).UTC(),
		time.Unix(-1, 999_999).UTC(), time.Unix(-1, 1_000_000).UTC(), time.Date(0, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC)} {
		x := &rememberedFact{At: at}
		got, err := decodeFact(appendFact(nil, x))
		if err != nil {
			t.Fatal(err)
		}
		want := new(rememberedFact)
		if err := json.Unmarshal([]byte(jsonOf(t, x)), want); err != nil {
			t.Fatal(err)
		}
		if got.At != want.At || got.At != at {
			t.Errorf("%#v was read as %#v, and of JSON as %#v", at, got.At, want.At)
		}
	}
	if n := len(appendFact(nil, &rememberedFact{At: t0})); n > 9 {
		t.Errorf("a fact takes %d octets", n)
	}
	zone := time.FixedZone("there", 3600)
	if x, err := decodeFact(appendFact(nil, &rememberedFact{At: t0.In(zone)})); err != nil || x.At != t0 {
		t.Errorf("a time of a zone is %v, %v", x, err)
	}
}

// typical is a stream with one message that was delivered in one attempt.
func typical(t testing.TB) *State {
	x := newStream(t)
	m := x.submit(func(d *event.MessageSubmitted) { d.Places = []event.Place{"US-FL America/New_York"} })
	x.send(m, 1)
	for _, d := range []event.Data{accepted(1, 1), receipt(1, 1, "delivered")} {
		x.pass(time.Second)
		x.must(m, d)
	}
	x.status(m, Delivered)
	return x.s
}

// The golden files are a promise: stores hold such bytes. Each has the JSON of a fold and its bytes. -update adds what is missing
// and never changes one.
func TestGoldenForm(t *testing.T) {
	for name, s := range map[string]*State{"typical": typical(t), "all": filled(0), "some": filled(2)} {
		file := filepath.Join("testdata", "form1", name+".txt")
		raw, err := os.ReadFile(file)
		if os.IsNotExist(err) && *update {
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			raw = []byte(jsonOf(t, s) + "\n" + hex.EncodeToString(s.AppendEncoded(nil)) + "\n")
			err = os.WriteFile(file, raw, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(raw), "\n")
		said, err := Decode([]byte(lines[0]))
		if err != nil {
			t.Fatal(err)
		}
		if got := hex.EncodeToString(said.AppendEncoded(nil)); got != lines[1] {
			t.Errorf("%s is written as\n%s\nand was as\n%s", file, got, lines[1])
		}
		b, err := hex.DecodeString(lines[1])
		if err != nil {
			t.Fatal(err)
		}
		if s, err := Decode(b); err != nil || jsonOf(t, s) != jsonOf(t, said) {
			t.Errorf("the bytes in %s are read as\n%s\n%v", file, jsonOf(t, s), err)
		}
	}
}

// What was cut off, goes on after its end, or has another version is no fold.
func TestDecodeRefuses(t *testing.T) {
	var m Message
	r := &filler{rng: rand.New(rand.NewPCG(0, 4))}
	r.fill(reflect.ValueOf(&m).Elem())
	private := []byte(m.From)
	for name, x := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"state":   {typical(t).AppendEncoded(nil), func(b []byte) error { _, err := Decode(b); return err }},
		"all":     {filled(0).AppendEncoded(nil), func(b []byte) error { _, err := Decode(b); return err }},
		"message": {appendMessage(nil, &m), func(b []byte) error { _, err := DecodeMessage(b); return err }},
		"fact":    {appendFact(nil, &rememberedFact{1, t0}), func(b []byte) error { _, err := decodeFact(b); return err }},
		"JSON":    {[]byte(jsonOf(t, &m)), func(b []byte) error { _, err := DecodeMessage(b); return err }},
	} {
		if err := x.decode(x.b); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for n := range x.b {
			if err := x.decode(x.b[:n:n]); err == nil || bytes.Contains([]byte(err.Error()), private) {
				t.Fatalf("%s: the first %d of %d octets: %v", name, n, len(x.b), err)
			}
		}
		if x.decode(append(bytes.Clone(x.b), 0)) == nil {
			t.Errorf("%s: an octet follows", name)
		}
	}
	for v := range 256 {
		b := typical(t).AppendEncoded(nil)
		if b[0] = byte(v); v == version {
			continue
		}
		if s, err := Decode(b); err == nil || s != nil {
			t.Errorf("version %d: %v", v, err)
		}
	}
	for b, want := range map[string]string{
		`{"messages":[null]}`:              "a message is null",
		`{"tenant":7}`:                     "it is not the JSON of one",
		"\x02\x00\x00":                     "it has the form 2, and this version of the program knows form 1",
		"\x01\x00\x00\x04":                 "it has a field that is not known",
		"\x01\x00\x00\x00\x00":             "octets follow its end",
		"\x01\x80\xff\xff\xff\xff\x0f\x00": "a list is longer than what follows",
		"\x01\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00": "a list is longer than what follows",
		"\x01\x01\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00": "it ends too early",
		"\x01\x01\x01\x00":     "a text is missing",
		"\x01\x01\x02\xff\x00": "a text is not UTF-8",
		"\x01\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\x00": "a number is cut off or too large",
	} {
		if s, err := Decode([]byte(b)); s != nil || err == nil || err.Error() != "a fold or row of a stream cannot be read: "+want {
			t.Errorf("%q: %v", b, err)
		}
	}
	x := rememberedFact{At: time.UnixMilli(farthest).UTC()}
	if _, err := decodeFact(appendFact(nil, &x)); err == nil || !strings.Contains(err.Error(), "a time is too far away") {
		t.Error(err)
	}
	x.At = time.UnixMilli(farthest - 1).UTC()
	if got, err := decodeFact(appendFact(nil, &x)); err != nil || got.At != x.At {
		t.Error(got, err)
	}
}

// farthest is the first millisecond that is too far away for the form.
const farthest = 1 << 58

// A list that claims to be as long as it can be allocates no more than in proportion.
func TestDecodeAllocatesInProportion(t *testing.T) {
	b := []byte("\x01\x80\xff\xff\x03") // messages, 65535 of them
	b = append(b, bytes.Repeat([]byte{0xff}, 65535)...)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Decode(b); err == nil {
		t.Fatal("it is a fold")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n < uint64(len(b)) || n > 100*uint64(len(b)) {
		t.Errorf("%d octets make it allocate %d", len(b), n)
	}
}

// Rows of stores from before the form in bytes are JSON.
func TestRowsInJSON(t *testing.T) {
	x := typical(t)
	m, f := x.Messages[0], x.Remembered[0]
	s := New("acme", x.Subject)
	s.Apart = &Apart{First: 1, Facts: f.At, Messages: m.keptUntil()}
	rows := []Row{{RowKey: RowKey{x.Subject, RowMessage, m.ID}, Body: []byte(jsonOf(t, m))},
		{RowKey: RowKey{x.Subject, RowFact, f.ID}, Body: []byte(jsonOf(t, &rememberedFact{0, f.At}))}}
	for _, r := range rows {
		if err := RowsOf(s).Take(r.RowKey, r.Body); err != nil {
			t.Fatal(err)
		}
		if err := RowsOf(New("acme", x.Subject)).Take(r.RowKey, []byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	if err := RowsOf(s).Gather(&PartitionState{Time: f.At}, rows); err != nil {
		t.Fatal(err)
	}
	if jsonOf(t, s.Messages) != jsonOf(t, x.Messages) || jsonOf(t, s.Remembered) != jsonOf(t, x.Remembered[:1]) {
		t.Errorf("%s", jsonOf(t, s))
	}
}

// FuzzDecode: nothing makes Decode panic, and what it reads is written as what is read so once more.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	for _, s := range []*State{New("", event.Pseudonym{}), typical(f), filled(2), filled(3)} {
		f.Add(s.AppendEncoded(nil))
		f.Add([]byte(jsonOf(f, s)))
	}
	f.Add(filled(0).AppendEncoded(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := DecodeMessage(b); err != nil && len(err.Error()) > 150 {
			t.Fatal(err)
		}
		s, err := Decode(b)
		if err != nil {
			if len(err.Error()) > 150 {
				t.Fatal(err)
			}
			return
		}
		again, err := Decode(s.AppendEncoded(nil))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(s.AppendEncoded(nil), again.AppendEncoded(nil)) {
			t.Fatalf("%x\nis written the second time as\n%x", s.AppendEncoded(nil), again.AppendEncoded(nil))
		}
		want, err := json.Marshal(s)
		if err != nil || isJSON(b) { // JSON has no year of five digits, and keeps zones
			s = again
			if want, err = json.Marshal(s); err != nil {
				return
			}
		}
		fromBytes, fromJSON := forms(t, s, encodeState, Decode)
		if fromBytes != string(want) || fromJSON != string(want) {
			t.Fatalf("%s\nis read of bytes as\n%s\nand of JSON as\n%s", want, fromBytes, fromJSON)
		}
	})
}

// BenchmarkForm writes and reads a typical fold.
func BenchmarkForm(b *testing.B) {
	s := typical(b)
	encoded, plain := s.AppendEncoded(nil), []byte(jsonOf(b, s))
	run := func(name string, size int, f func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := f(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size), "octets")
		})
	}
	run("write/bytes", len(encoded), func() error { encoded = s.AppendEncoded(encoded[:0]); return nil })
	run("write/JSON", len(plain), func() error { _, err := json.Marshal(s); return err })
	run("read/bytes", len(encoded), func() error { _, err := Decode(encoded); return err })
	run("read/JSON", len(plain), func() error { _, err := Decode(plain); return err })
}
