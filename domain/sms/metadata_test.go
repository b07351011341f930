package sms

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/nyaruka/phonenumbers"
)

// inLibrary is the number in the form of the metadata's library.
func inLibrary(code, national string) *phonenumbers.PhoneNumber {
	calling, err := strconv.ParseInt(code, 10, 32)
	if err != nil {
		return nil
	}
	digits, err := strconv.ParseUint(national, 10, 64)
	if err != nil {
		return nil
	}
	out := &phonenumbers.PhoneNumber{CountryCode: new(int32(calling)), NationalNumber: &digits}
	zeros := 0
	for zeros < len(national)-1 && national[zeros] == '0' {
		zeros++
	}
	if zeros > 0 {
		out.ItalianLeadingZero, out.NumberOfLeadingZeros = new(true), new(int32(zeros))
	}
	return out
}

// asLibrary compares what is said about a number with what the library says.
func asLibrary(t *testing.T, code, national string) {
	t.Helper()
	n := Number("+" + code + national)
	got, ok := n.classify()
	p := inLibrary(code, national)
	if ok != (p != nil) {
		t.Fatalf("%q is a number: %v", n, ok)
	}
	if !ok {
		return
	}
	if want := (classified{phonenumbers.GetNumberType(p), phonenumbers.GetRegionCodeForNumber(p)}); got != want {
		t.Fatalf("%s is %v, and the library says %v", n, got, want)
	}
}

// What the automata say is exactly what the library says: about every example of every region with its neighbours,
// about every beginning of up to four digits in every length (of the larger plans, a sample), and about drawn numbers.
func TestClassifiedAsTheLibrarySays(t *testing.T) {
	all, err := phonenumbers.MetadataCollection()
	if err != nil {
		t.Fatal(err)
	}
	examples := map[string][]string{}
	for _, m := range all.GetMetadata() {
		code := strconv.Itoa(int(m.GetCountryCode()))
		for _, d := range []*phonenumbers.PhoneNumberDesc{m.GetGeneralDesc(), m.GetFixedLine(), m.GetMobile(), m.GetTollFree(), m.GetPremiumRate(), m.GetSharedCost(),
			m.GetPersonalNumber(), m.GetVoip(), m.GetPager(), m.GetUan(), m.GetVoicemail()} {
			if e := d.GetExampleNumber(); e != "" {
				examples[code] = append(examples[code], e)
			}
		}
	}
	draw := rand.New(rand.NewPCG(7, 9))
	tried := 0
	try := func(code, national string) {
		if len(code)+len(national) <= maxDigits {
			tried++
			asLibrary(t, code, national)
		}
	}
	for code := range plansByCode {
		if len(examples[code]) == 0 {
			t.Errorf("no example of +%s", code)
		}
		for _, e := range examples[code] {
			for i := range len(e) {
				for d := range 10 {
					try(code, e[:i]+strconv.Itoa(d)+e[i+1:])
				}
				try(code, e[:i])
				try(code, e[:i]+e[i+1:])
				try(code, e+e[:i])
			}
		}
		for range 2000 {
			length := 1 + draw.IntN(maxDigits-len(code))
			n := ""
			for range length {
				n += strconv.Itoa(draw.IntN(10))
			}
			try(code, n)
		}
		for begin := range 1000 {
			length := 7 + draw.IntN(5)
			try(code, fmt.Sprintf("%03d%0*d", begin, length-3, draw.IntN(1e4)))
		}
	}
	for begin := range 1_000_000 { // every exchange of North America, at 10 digits
		if begin%7 == 0 {
			try("1", fmt.Sprintf("%06d0123", begin))
		}
	}
	if tried < 500_000 {
		t.Errorf("only %d tried", tried)
	}
}

func FuzzClassify(f *testing.F) {
	for _, s := range []string{"14155550123", "447400123456", "390612345678", "77012345678", "8835100012345", "80012345678", "39", "590690001234"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, digits string) {
		p, national := split(digits)
		if p == nil || len(digits) > maxDigits {
			if _, ok := Number("+" + digits).classify(); ok {
				t.Fatalf("%q is a number", digits)
			}
			return
		}
		asLibrary(t, p.code, national)
	})
}

func BenchmarkAutomaton(b *testing.B) {
	for _, code := range []string{"1", "44", "49"} {
		b.Run(code, func(b *testing.B) {
			b.ReportAllocs()
			var a *automaton
			for b.Loop() {
				a = newAutomaton(code)
			}
			b.ReportMetric(float64(len(a.states)), "states")
		})
	}
}

func BenchmarkRegion(b *testing.B) {
	for _, n := range []Number{"+14155550123", "+447400123456", "+18685551234"} {
		b.Run(string(n[:3]), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = n.Region()
				_ = n.Known()
			}
		})
	}
}
