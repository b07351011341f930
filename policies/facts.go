package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/chirograph/chirograph/domain/decision"
)

// keys are buffers for the facts' JSON. They hold it one call long.
var keys = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// checkClocks refuses facts that do not say what time it is where the recipient
// may be. The packs compare clocks as text, and "8:00" would sort after "20:00".
func checkClocks(f *decision.Facts) error {
	for _, p := range f.Recipient.Places {
		if _, ok := f.Clocks[p.Zone]; !ok && p.Zone != "" {
			return fmt.Errorf("the facts have no clock for zone %q", p.Zone)
		}
	}
	for zone, c := range f.Clocks {
		m, ok := minute(c.Time)
		if _, err := time.Parse(time.DateOnly, c.Date); err != nil || !ok || m == 24*60 || c.Weekday < 1 || c.Weekday > 7 {
			return fmt.Errorf("the facts' clock for zone %q is not a local date, time and weekday", zone)
		}
	}
	return nil
}

// appendFacts appends f's JSON, octet for octet what encoding/json makes of it.
func appendFacts(b []byte, f *decision.Facts) []byte {
	b = appendString(append(b, `{"purpose":`...), f.Purpose)

	b = appendString(append(b, `,"program":{"name":`...), f.Program.Name)
	b = appendString(append(b, `,"legal_entity":`...), f.Program.LegalEntity)
	b = appendStrings(append(b, `,"purposes":`...), f.Program.Purposes)
	b = appendStrings(append(b, `,"countries":`...), f.Program.Countries)

	b = appendString(append(b, `},"recipient":{"country":`...), f.Recipient.Country)
	b = append(b, `,"places":`...)
	if f.Recipient.Places == nil {
		b = append(b, "null"...)
	} else {
		b = append(b, '[')
		for i := range f.Recipient.Places {
			p := &f.Recipient.Places[i]
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(append(b, `{"country":`...), p.Country)
			if p.State != "" {
				b = appendString(append(b, `,"state":`...), p.State)
			}
			b = appendString(append(b, `,"zone":`...), p.Zone)
			b = append(b, '}')
		}
		b = append(b, ']')
	}

	b = appendString(append(b, `},"sender":{"id":`...), f.Sender.ID)
	b = appendString(append(b, `,"type":`...), f.Sender.Type)
	b = strconv.AppendBool(append(b, `,"owned":`...), f.Sender.Owned)
	b = append(b, '}')

	if len(f.OptOuts) > 0 {
		b = append(b, `,"opt_outs":[`...)
		for i, o := range f.OptOuts {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(append(b, `{"scope":`...), o.Scope)
			b = strconv.AppendBool(append(b, `,"same":`...), o.Same)
			if o.Unclear {
				b = append(b, `,"unclear":true`...)
			}
			if o.Answers {
				b = append(b, `,"answers":true`...)
			}
			b = append(b, '}')
		}
		b = append(b, ']')
	}

	b = append(b, `,"clocks":`...)
	if f.Clocks == nil {
		b = append(b, "null"...)
	} else {
		var few [8]string // most recipients may be in no more zones
		zones := few[:0]
		for zone := range f.Clocks {
			zones = append(zones, zone)
		}
		slices.Sort(zones)
		b = append(b, '{')
		for i, zone := range zones {
			if i > 0 {
				b = append(b, ',')
			}
			c := f.Clocks[zone]
			b = appendString(b, zone)
			b = appendString(append(b, `:{"date":`...), c.Date)
			b = appendString(append(b, `,"time":`...), c.Time)
			b = strconv.AppendInt(append(b, `,"weekday":`...), int64(c.Weekday), 10)
			b = append(b, '}')
		}
		b = append(b, '}')
	}
	b = appendString(append(b, `,"zone_data":`...), f.ZoneData)
	return append(b, '}')
}

func appendStrings(b []byte, list []string) []byte {
	if list == nil {
		return append(b, "null"...)
	}
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, _ := json.Marshal(s) // a string always has a JSON form
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// The keys of the facts' objects, made once.
var (
	keyAnswers     = ast.StringTerm("answers")
	keyClocks      = ast.StringTerm("clocks")
	keyCountries   = ast.StringTerm("countries")
	keyCountry     = ast.StringTerm("country")
	keyDate        = ast.StringTerm("date")
	keyId          = ast.StringTerm("id")
	keyLegalEntity = ast.StringTerm("legal_entity")
	keyName        = ast.StringTerm("name")
	keyOptOuts     = ast.StringTerm("opt_outs")
	keyOwned       = ast.StringTerm("owned")
	keyPlaces      = ast.StringTerm("places")
	keyProgram     = ast.StringTerm("program")
	keyPurpose     = ast.StringTerm("purpose")
	keyPurposes    = ast.StringTerm("purposes")
	keyRecipient   = ast.StringTerm("recipient")
	keySame        = ast.StringTerm("same")
	keyScope       = ast.StringTerm("scope")
	keySender      = ast.StringTerm("sender")
	keyState       = ast.StringTerm("state")
	keyTime        = ast.StringTerm("time")
	keyType        = ast.StringTerm("type")
	keyUnclear     = ast.StringTerm("unclear")
	keyWeekday     = ast.StringTerm("weekday")
	keyZone        = ast.StringTerm("zone")
	keyZoneData    = ast.StringTerm("zone_data")
)

// factsValue is f's JSON as OPA's value, without a parser in between.
func factsValue(f *decision.Facts) ast.Value {
	places := ast.NullValue
	if f.Recipient.Places != nil {
		list := make([]*ast.Term, len(f.Recipient.Places))
		for i, p := range f.Recipient.Places {
			if p.State == "" {
				list[i] = object(field(keyCountry, str(p.Country)), field(keyZone, str(p.Zone)))
			} else {
				list[i] = object(field(keyCountry, str(p.Country)), field(keyState, str(p.State)), field(keyZone, str(p.Zone)))
			}
		}
		places = ast.NewArray(list...)
	}
	clocks := ast.NullValue
	if f.Clocks != nil {
		list := make([][2]*ast.Term, 0, len(f.Clocks))
		for zone, c := range f.Clocks {
			list = append(list, ast.Item(str(zone), object(
				field(keyDate, str(c.Date)), field(keyTime, str(c.Time)), field(keyWeekday, ast.InternedTerm(c.Weekday)))))
		}
		clocks = ast.NewObject(list...)
	}
	top := make([][2]*ast.Term, 0, 7)
	top = append(top,
		field(keyPurpose, str(f.Purpose)),
		field(keyProgram, object(
			field(keyName, str(f.Program.Name)), field(keyLegalEntity, str(f.Program.LegalEntity)),
			field(keyPurposes, strs(f.Program.Purposes)), field(keyCountries, strs(f.Program.Countries)))),
		field(keyRecipient, object(
			field(keyCountry, str(f.Recipient.Country)), field(keyPlaces, ast.NewTerm(places)))),
		field(keySender, object(
			field(keyId, str(f.Sender.ID)), field(keyType, str(f.Sender.Type)), field(keyOwned, ast.InternedTerm(f.Sender.Owned)))),
		field(keyClocks, ast.NewTerm(clocks)),
		field(keyZoneData, str(f.ZoneData)),
	)
	if len(f.OptOuts) > 0 {
		list := make([]*ast.Term, len(f.OptOuts))
		for i, o := range f.OptOuts {
			fields := append(make([][2]*ast.Term, 0, 4), field(keyScope, str(o.Scope)), field(keySame, ast.InternedTerm(o.Same)))
			if o.Unclear {
				fields = append(fields, field(keyUnclear, ast.InternedTerm(true)))
			}
			if o.Answers {
				fields = append(fields, field(keyAnswers, ast.InternedTerm(true)))
			}
			list[i] = object(fields...)
		}
		top = append(top, field(keyOptOuts, ast.NewTerm(ast.NewArray(list...))))
	}
	return ast.NewObject(top...)
}

func field(key, v *ast.Term) [2]*ast.Term { return [2]*ast.Term{key, v} }

func object(fields ...[2]*ast.Term) *ast.Term { return ast.NewTerm(ast.NewObject(fields...)) }

func str(s string) *ast.Term { return ast.InternedTerm(s) }

func strs(list []string) *ast.Term {
	if list == nil {
		return ast.InternedNullTerm
	}
	terms := make([]*ast.Term, len(list))
	for i, s := range list {
		terms[i] = str(s)
	}
	return ast.NewTerm(ast.NewArray(terms...))
}
