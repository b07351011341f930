package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// agree checks that the two decoders agree on the bytes: what decodeForm reads, decodeAny reads too, as the same event,
// and the encoder writes it in these bytes. So the bytes are canonical.
func agree(t interface{ Fatalf(string, ...any) }, raw []byte) (inForm bool) {
	slow, slowErr := decodeAny(raw)
	fast := decodeForm(raw)
	if fast != nil {
		if slowErr != nil {
			t.Fatalf("%q has the form, and encoding/json refuses it: %v", raw, slowErr)
		}
		if !reflect.DeepEqual(fast, slow) {
			t.Fatalf("%q has the form, and is read as\n%+v %+v\nnot as\n%+v %+v", raw, fast, fast.Data, slow, slow.Data)
		}
		if again, err := Encode(fast); err != nil || !bytes.Equal(again, raw) {
			t.Fatalf("%q has the form, and is written as %q, %v", raw, again, err)
		}
	}
	e, canonical, err := DecodeCanonical(raw)
	only, onlyErr := Decode(raw)
	if fmt.Sprint(err) != fmt.Sprint(slowErr) || fmt.Sprint(onlyErr) != fmt.Sprint(slowErr) || !reflect.DeepEqual(e, slow) || !reflect.DeepEqual(only, slow) {
		t.Fatalf("%q is read as %+v, %v, and encoding/json says %+v, %v", raw, e, err, slow, slowErr)
	}
	if slowErr == nil && canonical != Canonical(raw, slow) {
		t.Fatalf("%q: canonical is %v", raw, canonical)
	}
	return fast != nil
}

// Everything that the encoder writes has the form; and whatever has the form is what
// the encoder writes, also where bytes were changed.
func TestForm(t *testing.T) {
	types := Types()
	slices.Sort(types)
	for _, typ := range types {
		t.Run(string(typ), rapid.MakeCheck(func(t *rapid.T) {
			raw, err := Encode(drawEvent(t, typ))
			if err != nil {
				t.Fatal(err)
			}
			if !agree(t, raw) {
				t.Fatalf("%q does not have the form that the encoder writes", raw)
			}
			for range 20 {
				agree(t, changed(t, raw))
			}
		}))
	}
}

// changed draws a spelling that is like raw.
func changed(t *rapid.T, raw []byte) []byte {
	from := rapid.IntRange(0, len(raw)-1).Draw(t, "from")
	to := rapid.IntRange(from, min(len(raw), from+40)).Draw(t, "to")
	pieces := []string{" ", ",", "\"", "0", "-", "null", "{}", "[]", "\"\"", "A", "\xff", "\\u0041", "\\n", "\\/", "\n", "true", "9", "\x00", "e0", "00000000-0000-0000-0000-000000000000", string(raw[from:to])}
	with := rapid.SampledFrom(pieces).Draw(t, "with")
	if rapid.Bool().Draw(t, "instead") {
		return slices.Replace(slices.Clone(raw), from, to, []byte(with)...)
	}
	return slices.Insert(slices.Clone(raw), from, []byte(with)...)
}

// Golden bytes have the form: none of them takes the long way.
func TestGoldenForm(t *testing.T) {
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !agree(t, raw) {
			t.Errorf("%s does not have the form", file)
		}
	}
}

// Each of these is JSON of an event, or nearly, and the encoder would not write it.
func TestOtherForms(t *testing.T) {
	e := ordinary()[5]
	e.Data.(*ReceiptReceived).Error = "a\"b\n"
	good, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	if !agree(t, good) {
		t.Fatal("the event itself does not have the form")
	}
	for name, swap := range map[string][2]string{
		"a space":                     {`,"node"`, ` ,"node"`},
		"a line after it":             {`}}}`, "}}}\n"},
		"another order":               {`"attempt":1,"part":1`, `"part":1,"attempt":1`},
		"a field twice":               {`"part":1`, `"part":1,"part":1`},
		"a name in capitals":          {`"node"`, `"Node"`},
		"an unknown field":            {`"node"`, `"mode"`},
		"an escape of a letter":       {`"acme"`, `"\u0061cme"`},
		"a short escape":              {`a\"b\u000a`, `a\"b\n`},
		"an escape in capitals":       {`\u000a`, `\u000A`},
		"an escape past the controls": {`\u000a`, `\u0020`},
		"an escaped slash":            {`"/k3v9x2"`, `"\/k3v9x2"`},
		"a control character":         {`\u000a`, "\n"},
		"half a rune":                 {`"acme"`, "\"acm\xc3\""},
		"an empty text":               {`"acme"`, `""`},
		"null":                        {`"acme"`, `null`},
		"a zero":                      {`"part":1`, `"part":0`},
		"a number with a fraction":    {`"part":1`, `"part":1.0`},
		"a number with a zero":        {`"part":1`, `"part":01`},
		"a large number":              {`"part":1`, `"part":9223372036854775808`},
		"false":                       {`true`, `false`},
		"an id in capitals":           {`-7000-`, `-7A00-`},
		"a zero id":                   {e.Message.String(), `00000000-0000-0000-0000-000000000000`},
		"a pseudonym in capitals":     {`"subject":"01`, `"subject":"0A`},
		"a zero pseudonym":            {e.Subject.String(), strings.Repeat("0", 32)},
		"another zone":                {`Z"`, `+00:00"`},
		"a time without milliseconds": {`.000Z"`, `Z"`},
		"a thirteenth month":          {`"time":"2026-11`, `"time":"2026-13`},
		"a day too much":              {`"time":"2026-11-24`, `"time":"2026-11-31`},
		"a zero time":                 {`"time":"2026-11-24T08:40:00.000Z`, `"time":"0001-01-01T00:00:00.000Z`},
		"base64 with a line's end":    {`"box":"`, `"box":"\n`},
		"base64 with real ones":       {`"box":"`, "\"box\":\"\n\n\n\n"},
		"base64 with other bits":      {`=="`, `B="`},
		"another version":             {`"1.0"`, `"1.1"`},
		"no version":                  {`"specversion":"1.0",`, ``},
		"no type":                     {`"type":"ReceiptReceived.v1",`, ``},
		"another type":                {`ReceiptReceived.v1`, `ReceiptReceived.v9`},
		"no data":                     {`"data":{`, `"date":{`},
		"something after":             {`}}}`, `}}}}`},
		"cut":                         {`}}}`, `}}`},
	} {
		raw := []byte(strings.Replace(string(good), swap[0], swap[1], 1))
		if agree(t, raw) && !bytes.Equal(raw, good) {
			t.Errorf("%s: has the form", name)
		}
	}
	large, err := json.Marshal(strings.Repeat("x", MaxSize))
	if err != nil {
		t.Fatal(err)
	}
	if agree(t, []byte(strings.Replace(string(good), `"acme"`, string(large), 1))) {
		t.Error("what is too large to be written has the form")
	}
}

// A text that recurs has one copy, and the copies are bounded.
func TestShared(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Shared([]byte("acme")) }); n != 0 {
		t.Errorf("a text that recurs takes %v allocations", n)
	}
	for i := range 10 * sharedSlots {
		s := fmt.Sprint("text ", i)
		if got := Shared([]byte(s)); got != s {
			t.Fatalf("%q is read as %q", s, got)
		}
	}
	long := []byte(strings.Repeat("x", sharedLength+1))
	if Shared(long) != string(long) {
		t.Error("a long text is another")
	}
}

func FuzzForm(f *testing.F) {
	for _, e := range examples() {
		raw, err := Encode(e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"specversion":"1.0","type":"MessageExpired.v1","data":{}}`))
	f.Fuzz(func(t *testing.T, raw []byte) { agree(t, raw) })
}

// BenchmarkDecode reads each event of an ordinary message, in its form (form) and as any JSON (any).
func BenchmarkDecode(b *testing.B) {
	for _, e := range append(ordinary(), examples()...) {
		raw, err := Encode(e)
		if err != nil {
			b.Fatal(err)
		}
		for name, decode := range map[string]func([]byte) (*Event, error){"form": Decode, "any": decodeAny} {
			b.Run(string(e.Data.Type())+"/"+name, func(b *testing.B) {
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := decode(raw); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkEncode writes each event of an ordinary message.
func BenchmarkEncode(b *testing.B) {
	for _, e := range ordinary() {
		b.Run(string(e.Data.Type()), func(b *testing.B) {
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				var err error
				if buf, err = AppendEncoded(buf[:0], e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
