package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"
)

// The schemas in docs/schemas say what a ledger holds, in JSON Schema 2020-12, for
// those who read it with tools of their own. They are made from the types, their
// comments, and the two tables here: which attributes an envelope has, and what is
// narrower than its Go type.

const schemas = "../../docs/schemas"

// schema is the part of JSON Schema 2020-12 that is needed here.
type schema struct {
	Schema               string   `json:"$schema,omitempty"`
	Title                string   `json:"title,omitempty"`
	Description          string   `json:"description,omitempty"`
	Ref                  string   `json:"$ref,omitempty"`
	Type                 string   `json:"type,omitempty"`
	Const                any      `json:"const,omitempty"`
	Enum                 []string `json:"enum,omitempty"`
	Format               string   `json:"format,omitempty"`
	ContentEncoding      string   `json:"contentEncoding,omitempty"`
	Pattern              string   `json:"pattern,omitempty"`
	MinLength            int      `json:"minLength,omitempty"`
	Minimum              int64    `json:"minimum,omitempty"`
	Maximum              int64    `json:"maximum,omitempty"`
	Items                *schema  `json:"items,omitempty"`
	MinItems             int      `json:"minItems,omitempty"`
	Properties           members  `json:"properties,omitempty"`
	Required             []string `json:"required,omitempty"`
	AdditionalProperties *bool    `json:"additionalProperties,omitempty"`
	Defs                 members  `json:"$defs,omitempty"`
}

// members is a JSON object whose order is that of the encoder.
type members []member

type member struct {
	name string
	schema
}

func (m members) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i := range m {
		if i > 0 {
			b = append(b, ',')
		}
		k, err := plainJSON(m[i].name)
		if err != nil {
			return nil, err
		}
		v, err := plainJSON(m[i].schema)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, k...), ':'), v...)
	}
	return append(b, '}'), nil
}

// plainJSON is json.Marshal that leaves <, > and & as they are.
func plainJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

func (m members) get(name string) *schema {
	for i := range m {
		if m[i].name == name {
			return &m[i].schema
		}
	}
	return nil
}

// presence says whether an event has something.
type presence int

const (
	never presence = iota
	may
	always
)

// has says which attributes the envelope of a type has.
func has(typ Type, attribute string) presence {
	outcome := typ.Kind() == Outcome
	control := typ.Kind() == Control || typ.Kind() == Audit // of no recipient's stream
	stream := !control && typ.Name() != "ControlApplied"
	when := func(b bool, p presence) presence {
		if b {
			return p
		}
		return never
	}
	switch attribute {
	case "subject":
		return when(stream, always)
	case "tenant":
		switch {
		case control: // none for an operator's
			return may
		case typ.Name() == "InboundReceived", typ.Name() == "ReceiptReceived", typ.Name() == "ReviewResolved", typ.Name() == "ReviewRead": // none in the inbox and in an operator's stream
			return may
		}
		return when(stream, always)
	case "message":
		switch typ.Name() {
		case "ReceiptReceived": // none in the inbox
			return may
		case "CancelRequested", "HandoffAccepted", "HandoffRefused", "MessageRecovered":
			return always
		}
		return when(outcome, always)
	case "after", "control": // none yet, in a stream's or a ledger's youth
		return when(outcome, may)
	}
	return always
}

// mayLack are the fields that are there unless they are empty, and may be: their
// types alone would make them required.
var mayLack = map[string]bool{
	"InboundReceived.to":     true, // as the carrier wrote it, or did not
	"InboundReceived.read":   true, // nothing was read yet
	"LostEvents.from":        true, // the first event of its partition is missing too
	"InboundReceivedV2.to":   true,
	"InboundReceivedV2.read": true,
	"InboundHeld.to":         true,
	"InboundJoined.to":       true,
	"InboundJoined.read":     true,
	"Concat.reference":       true, // 0 is a reference
	"Concat.part":            true, // 0 is what a handset may have written
	"RoutesChanged.routes":   true, // no routes: nothing leaves
}

const (
	digest128 = `^[0-9a-f]{32}$`
	digest256 = `^[0-9a-f]{64}$`
	country   = `^([A-Z]{2}|\*)$`
)

var (
	encodings = schema{Enum: []string{"gsm7", "latin1", "ucs2"}}
	purposes  = schema{Enum: []string{"otp", "emergency", "fraud_alert", "account", "delivery", "healthcare", "reply", "collection", "marketing", "compliance_reply"}}
	priority  = schema{Maximum: 9}
	octet     = schema{Maximum: 255}
	reference = schema{Maximum: 65535}
)

// narrower is what a field's Go type does not say; for a list, of each element.
var narrower = map[string]schema{
	"Sealed.version":             {Minimum: 2, Maximum: 2}, // version 1 is left out
	"Sealed.class_key":           {Pattern: `^[a-z]+/[0-9]{4}-(0[1-9]|1[0-2])$`},
	"Reach.scope":                {Enum: []string{"sender", "program", "legal_entity", "tenant"}},
	"Check.outcome":              {Enum: []string{"allow", "deny", "defer"}},
	"StartedPart.part":           octet,
	"StartedPart.digest":         {Pattern: digest128},
	"Concat.reference":           reference,
	"Concat.part":                octet,
	"Concat.parts":               octet,
	"Route.countries":            {Pattern: country},
	"MessageSubmitted.purpose":   purposes,
	"MessageSubmitted.priority":  priority,
	"MessageSubmitted.country":   {Pattern: `^[A-Z]{2}$`},
	"MessageSubmitted.places":    {Pattern: `^[A-Z]{2}(-[A-Z0-9]+)? \S+$`},
	"MessageSubmitted.encoding":  encodings,
	"MessageSubmitted.key":       {Pattern: digest128},
	"MessageSubmitted.input":     {Pattern: digest128},
	"MessageDecided.outcome":     {Enum: []string{"allow", "deny", "defer", "hold"}},
	"MessageDecided.clocks":      {Pattern: `^\S+ [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}$`},
	"MessageDecided.digest":      {Pattern: digest128},
	"MessageDecided.fault":       {Enum: []string{"policy", "bundle", "zone_data", "clock", "control", "program", "route", "pause", "key", "encoding", "recovery"}},
	"MessageRouted.encoding":     encodings,
	"MessageRouted.parts":        octet,
	"HandoffStarted.reference":   reference,
	"HandoffStarted.tail":        {Pattern: `^[0-9a-f]{16}$`},
	"MessageRecovered.country":   {Pattern: `^[A-Z]{2}$`},
	"MessageRecovered.purpose":   purposes,
	"MessageRecovered.key":       {Pattern: digest128},
	"MessageRecovered.input":     {Pattern: digest128},
	"MessageRecovered.status":    {Pattern: `^[a-z_]+$`},
	"MessageRecovered.parts":     octet,
	"MessageRecovered.source":    {Enum: []string{"views"}},
	"KnownHandoff.part":          octet,
	"KnownHandoff.reference":     reference,
	"HandoffAccepted.part":       octet,
	"HandoffRefused.part":        octet,
	"HandoffInDoubt.parts":       octet,
	"InboundReceived.ask":        {Enum: []string{"stop", "unclear", "start", "yes", "help", "part", "none"}},
	"InboundReceivedV2.ask":      {Enum: []string{"stop", "unclear", "start", "yes", "help", "part", "none"}},
	"InboundReceivedV2.holds":    {Enum: []string{"unclear", "unreadable", "part"}},
	"InboundReceivedV2.unplaced": {Enum: []string{"number_ambiguous", "number_unreadable", "tenant_unknown", "tenant_shared"}},
	"InboundReceivedV2.language": {Pattern: `^[a-z]{2,3}(-[A-Za-z]+)?$`},
	"InboundReceivedV2.digest":   {Pattern: digest128},
	"InboundHeld.unplaced":       {Enum: []string{"number_ambiguous", "number_unreadable", "tenant_unknown", "tenant_shared"}},
	"InboundJoined.ask":          {Enum: []string{"stop", "unclear", "start", "yes", "help", "none"}},
	"InboundJoined.holds":        {Enum: []string{"unclear", "unreadable"}},
	"InboundJoined.language":     {Pattern: `^[a-z]{2,3}(-[A-Za-z]+)?$`},
	"ReviewResolved.as":          {Enum: []string{"stop", "narrow", "clear", "place"}},
	"ReceiptReceived.reference":  reference,
	"ReceiptReceived.part":       octet,
	// A value that SMPP does not define is its number.
	"ReceiptReceived.state":    {Pattern: `^(scheduled|enroute|delivered|expired|deleted|undeliverable|accepted|unknown|rejected|skipped|[0-9]{1,3})$`},
	"ReceiptReceived.grade":    {Enum: []string{"network", "inferred", "handset"}},
	"ReceiptReceived.match":    {Enum: []string{"id", "id_zeros", "id_hex", "reference"}},
	"LedgerCreated.partitions": {Maximum: MaxPartitions},
	"ProgramChanged.purposes":  purposes,
	"ProgramChanged.countries": {Pattern: country},
	"ProgramChanged.priority":  priority,
	"PolicyActivated.digest":   {Pattern: digest256},
	"RecordAccepted.position":  {Pattern: `^([0-9]{2}|[1-9][0-9]{2,3}|control|inbox|audit)-(0|[1-9][0-9]*)$`},
	"RecordAccepted.hash":      {Pattern: digest256},
	"DataRead.shown":           {Enum: []string{"number", "body", "reference", "metadata", "words", "evidence"}},
	"ExportAsked.heads":        {Pattern: `^([0-9]{2}|[1-9][0-9]{2,3}|control|inbox|audit)-(0|[1-9][0-9]*)$`},
	"ExportEnded.as":           {Enum: []string{"finished", "failed", "cancelled"}},
	"ExportEnded.sha256":       {Pattern: digest256},
	"ExportDownloaded.sha256":  {Pattern: digest256},
	"WebhookChanged.as":        {Enum: []string{"added", "changed", "rotated", "paused", "disabled", "enabled", "replayed", "deleted"}},
	"envelope.specversion":     {Const: "1.0"},
	"envelope.source":          {Pattern: `^/[^/]+$`},
}

var scalars = map[string]schema{
	"id": {Description: "A UUID, version 7 (RFC 9562), in lower case.", Type: "string", Format: "uuid",
		Pattern: "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"},
	"pseudonym": {Description: "A keyed hash of tenant and recipient, cut to 128 bits.", Type: "string", Pattern: digest128},
	"time": {Description: "RFC 3339, UTC, in whole milliseconds.", Type: "string", Format: "date-time",
		Pattern: `^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$`},
	"bytes": {Description: "Base64 (RFC 4648 §4), padded.", Type: "string", ContentEncoding: "base64", MinLength: 4,
		Pattern: "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"},
}

// drawing is one schema in the making: what it refers to is collected on the way.
type drawing struct {
	comments map[string]comment
	defs     members
}

func (d *drawing) ref(name string, make func() schema) schema {
	if d.defs.get(name) == nil {
		d.defs = append(d.defs, member{name: name}) // its place; it may refer to itself
		s := make()
		*d.defs.get(name) = s
	}
	return schema{Ref: "#/$defs/" + name}
}

// of is the schema of a Go type where it stands as the field at.
func (d *drawing) of(t reflect.Type, at string) schema {
	scalar := func(name string) schema { return d.ref(name, func() schema { return scalars[name] }) }
	switch t {
	case reflect.TypeFor[time.Time]():
		return scalar("time")
	case reflect.TypeFor[ID]():
		return scalar("id")
	case reflect.TypeFor[Pseudonym]():
		return scalar("pseudonym")
	case reflect.TypeFor[[]byte]():
		return scalar("bytes")
	}
	s := narrower[at]
	switch t.Kind() {
	case reflect.Pointer:
		return d.of(t.Elem(), at)
	case reflect.Struct:
		return d.ref(t.Name(), func() schema { return d.object(t) })
	case reflect.Slice: // an empty one is left out
		items := d.of(t.Elem(), at)
		return schema{Type: "array", Items: &items, MinItems: 1}
	case reflect.String: // as above
		s.Type = "string"
		if s.Pattern == "" && s.Enum == nil && s.Const == nil {
			s.MinLength = 1
		}
	case reflect.Int, reflect.Int64, reflect.Uint16: // none is negative, and 0 is left out
		s.Type, s.Minimum = "integer", max(1, s.Minimum)
	case reflect.Bool: // false is left out
		s.Type, s.Const = "boolean", true
	default:
		panic("events may not hold a " + t.String())
	}
	return s
}

// object is the schema of a struct's fields.
func (d *drawing) object(t reflect.Type) schema {
	s := schema{Description: d.comments[t.Name()].doc, Type: "object", AdditionalProperties: new(bool)}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		at := t.Name() + "." + name
		m := member{name, d.of(f.Type, at)}
		m.Description = d.comments[t.Name()].fields[name]
		s.Properties = append(s.Properties, m)
		if options == "" && !mayLack[at] {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

// schemaOf is the schema of a whole event of the type.
func schemaOf(typ Type, comments map[string]comment) *schema {
	d := &drawing{comments: comments}
	s := &schema{Schema: "https://json-schema.org/draft/2020-12/schema", Title: string(typ), Type: "object", AdditionalProperties: new(bool)}
	data := d.object(reflect.TypeOf(registry[typ].make()).Elem())
	s.Description, data.Description = data.Description, ""
	for f := range reflect.TypeFor[envelope]().Fields() {
		name := f.Tag.Get("json")
		p := has(typ, name)
		if p == never {
			continue
		}
		m := member{name: name}
		switch name {
		case "type":
			m.schema = schema{Const: string(typ)}
		case "data":
			m.schema = data
		default:
			m.schema = d.of(f.Type, "envelope."+name)
		}
		m.Description = attributes[name]
		s.Properties = append(s.Properties, m)
		if p == always {
			s.Required = append(s.Required, name)
		}
	}
	slices.SortFunc(d.defs, func(a, b member) int { return strings.Compare(a.name, b.name) })
	s.Defs = d.defs
	return s
}

func TestSchemas(t *testing.T) {
	said := comments(t)
	if *update {
		if err := os.MkdirAll(schemas, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, typ := range Types() {
		plain, err := plainJSON(schemaOf(typ, said))
		if err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		if err := json.Indent(&want, append(plain, '\n'), "", "  "); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(schemas, string(typ)+".json")
		if *update {
			if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Errorf("%s has no schema (go test ./domain/event -update writes it): %v", typ, err)
		} else if !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s is not what the code says; write it anew with: go test ./domain/event -update", file)
		}
	}
	files, err := filepath.Glob(filepath.Join(schemas, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if typ := Type(strings.TrimSuffix(filepath.Base(f), ".json")); !typ.known() {
			t.Errorf("%s is the schema of no type", f)
		}
	}
	// A name that is misspelt in a table would narrow nothing.
	fields := map[string]bool{}
	note := func(t reflect.Type, as string) {
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields[as+"."+name] = true
		}
	}
	note(reflect.TypeFor[envelope](), "envelope")
	for _, t := range []reflect.Type{reflect.TypeFor[Sealed](), reflect.TypeFor[Reach](), reflect.TypeFor[Check](), reflect.TypeFor[StartedPart](), reflect.TypeFor[Concat](), reflect.TypeFor[HeldStream](), reflect.TypeFor[Route](), reflect.TypeFor[DataRead](), reflect.TypeFor[KeyCalls](), reflect.TypeFor[LostEvents](), reflect.TypeFor[KnownHandoff]()} {
		note(t, t.Name())
	}
	for _, typ := range Types() {
		t := reflect.TypeOf(registry[typ].make()).Elem()
		note(t, t.Name())
	}
	for name := range narrower {
		if !fields[name] {
			t.Errorf("%s is narrowed, and there is no such field", name)
		}
	}
	for name := range mayLack {
		if !fields[name] {
			t.Errorf("%s may be empty, and there is no such field", name)
		}
	}
}

// compiled are the schemas as another's validator reads them from docs/schemas.
// Formats and base64 are asserted too.
func compiled(t testing.TB) map[Type]*jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertContent()
	out := map[Type]*jsonschema.Schema{}
	for _, typ := range Types() {
		s, err := c.Compile(filepath.Join(schemas, string(typ)+".json"))
		if err != nil {
			t.Fatal(err)
		}
		out[typ] = s
	}
	return out
}

func fits(s *jsonschema.Schema, raw []byte) error {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// What was written fits its type's schema, and no other type's.
func TestSchemasFit(t *testing.T) {
	all := compiled(t)
	files, err := filepath.Glob("testdata/golden/*.json")
	if err != nil {
		t.Fatal(err)
	}
	raws := map[string][]byte{}
	for _, f := range files {
		if raws[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range slices.Concat(examples(), ordinary(), young(), []*Event{kafkaExample()}) {
		if raws[fmt.Sprint("example ", i)], err = Encode(e); err != nil {
			t.Fatal(err)
		}
	}
	for name, raw := range raws {
		e, err := Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		for typ, s := range all {
			if err := fits(s, raw); typ == e.Data.Type() && err != nil {
				t.Errorf("%s does not fit its schema: %v", name, err)
			} else if typ != e.Data.Type() && err == nil {
				t.Errorf("%s fits the schema of %s", name, typ)
			}
		}
	}
}

// young are the emptiest events that there may be: a ledger's and a stream's first,
// and those of the inbox, which are nobody's.
func young() (out []*Event) {
	sealed := exampleSealed(1)
	for _, d := range []Data{
		&MessageDecided{Outcome: "hold"},
		&InboundReceived{Account: "smsc-1", Ask: "none", Concat: &Concat{Parts: 2}, Sealed: sealed},
		&ReceiptReceived{Account: "smsc-1", State: "42", Sealed: sealed},
		&OptedOut{Reach: Reach{Scope: ScopeTenant}, Source: "phone", By: "key-1"},
		&RoutesChanged{By: "key-1"},
		&Paused{Reason: "an incident", By: "key-1"},
	} {
		e := &Event{ID: exampleID(1), Source: "/k3v9", Time: at(0), Node: "a", Data: d}
		typ := d.Type()
		if has(typ, "subject") == always {
			e.Subject = Pseudonym{1}
		}
		if _, ok := d.(*OptedOut); ok {
			e.Tenant = "acme"
		}
		if typ.Kind() == Outcome {
			e.Tenant, e.Message = "acme", exampleID(2)
		}
		out = append(out, e)
	}
	return out
}

// Whatever the encoder writes of events whose values are those that Chirograph knows
// fits; and it writes all that is required even of nothing.
func TestSchemasFitRandom(t *testing.T) {
	all, said := compiled(t), comments(t)
	types := Types()
	slices.Sort(types)
	for _, typ := range types {
		s := schemaOf(typ, said)
		t.Run(string(typ), rapid.MakeCheck(func(t *rapid.T) {
			e := drawWritten(t, typ, s)
			raw, err := Encode(e)
			if err != nil {
				t.Fatal(err)
			}
			if err := fits(all[typ], raw); err != nil {
				t.Fatalf("%s does not fit its schema: %v", raw, err)
			}
		}))
	}
}

// drawWritten draws an event as Chirograph writes it: with the attributes that its
// type has, what is required never empty, and texts and numbers within their bounds.
func drawWritten(t *rapid.T, typ Type, s *schema) *Event {
	e := &Event{Data: registry[typ].make()}
	d := drawer{t, s.Defs}
	for f := range reflect.TypeFor[envelope]().Fields() {
		if v := reflect.ValueOf(e).Elem().FieldByName(f.Name); v.IsValid() && f.Name != "Data" {
			if m := s.Properties.get(f.Tag.Get("json")); m != nil {
				d.draw(v, m, slices.Contains(s.Required, f.Tag.Get("json")))
			}
		}
	}
	d.draw(reflect.ValueOf(e.Data).Elem(), s.Properties.get("data"), true)
	return e
}

type drawer struct {
	*rapid.T
	defs members
}

// draw sets v, which is not empty if it must not be.
func (d drawer) draw(v reflect.Value, s *schema, must bool) {
	if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
		s = d.defs.get(name)
	}
	if v.Kind() != reflect.Struct && !must && !rapid.Bool().Draw(d.T, "set") {
		return
	}
	switch v.Interface().(type) {
	case time.Time:
		if must || rapid.Bool().Draw(d.T, "timed") {
			v.Set(reflect.ValueOf(Millis(time.UnixMilli(rapid.Int64Range(0, 253_402_300_799_999).Draw(d.T, "ms")))))
		}
		return
	case ID:
		var id ID
		copy(id[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(d.T, "id"))
		id[6], id[8] = id[6]&0x0f|0x70, id[8]&0x3f|0x80
		v.Set(reflect.ValueOf(id))
		return
	case Pseudonym:
		var p Pseudonym
		copy(p[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(d.T, "pseudonym"))
		p[0] |= 1
		v.Set(reflect.ValueOf(p))
		return
	case []byte:
		v.SetBytes(rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(d.T, "bytes"))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			d.draw(v.Field(i), s.Properties.get(name), slices.Contains(s.Required, name))
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.draw(v.Elem(), s, true)
	case reflect.Slice:
		n := rapid.IntRange(1, 3).Draw(d.T, "n")
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			d.draw(v.Index(i), s.Items, true)
		}
	case reflect.String:
		switch {
		case s.Enum != nil:
			v.SetString(rapid.SampledFrom(s.Enum).Draw(d.T, "enum"))
		case s.Pattern != "":
			v.SetString(rapid.StringMatching(s.Pattern).Draw(d.T, "pattern"))
		default:
			v.SetString("x" + text.Draw(d.T, "text"))
		}
	case reflect.Int, reflect.Int64, reflect.Uint16:
		n := rapid.Int64Min(1)
		if s.Maximum != 0 {
			n = rapid.Int64Range(s.Minimum, s.Maximum)
		}
		if v.CanUint() {
			v.SetUint(uint64(n.Draw(d.T, "uint")))
		} else {
			v.SetInt(n.Draw(d.T, "int"))
		}
	case reflect.Bool:
		v.SetBool(true)
	default:
		d.Fatalf("events may not hold a %s", v.Type())
	}
}

// What the encoder writes of an event in which nothing is set is always there, and so
// required; and no schema knows a field that the encoder does not.
func TestSchemasRequire(t *testing.T) {
	said := comments(t)
	inLater := map[string]bool{}
	for _, all := range laterExamples() {
		for _, e := range all {
			raw, err := Encode(e)
			var outer struct{ Data map[string]json.RawMessage }
			if err := errors.Join(err, json.Unmarshal(raw, &outer)); err != nil {
				t.Fatal(err)
			}
			for name := range outer.Data {
				inLater[string(e.Data.Type())+name] = true
			}
		}
	}
	for _, e := range examples() {
		typ := e.Data.Type()
		s := schemaOf(typ, said)
		zero, err := Encode(&Event{Data: registry[typ].make()})
		if err != nil {
			t.Fatal(err)
		}
		full, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []struct {
			raw     []byte
			compare func(at string, s *schema, has map[string]json.RawMessage)
		}{
			{zero, func(at string, s *schema, has map[string]json.RawMessage) {
				for name := range has {
					if !slices.Contains(s.Required, name) {
						t.Errorf("%s: %s%s is always written, and not required", typ, at, name)
					}
				}
			}},
			{full, func(at string, s *schema, has map[string]json.RawMessage) {
				for _, m := range s.Properties {
					// The examples of what is under a type's data are full; the envelope's own are as they come.
					if at != "" && has[m.name] == nil && !inLater[string(typ)+m.name] {
						t.Errorf("%s: %s%s is in the schema, and the encoder does not write it", typ, at, m.name)
					}
				}
			}},
		} {
			var outer, inner map[string]json.RawMessage
			if err := errors.Join(json.Unmarshal(x.raw, &outer), json.Unmarshal(outer["data"], &inner)); err != nil {
				t.Fatal(err)
			}
			x.compare("", s, outer)
			x.compare("data.", s.Properties.get("data"), inner)
		}
	}
}

// Whatever is changed in an event so that the encoder would not have written it is
// refused.
func TestSchemasRefuse(t *testing.T) {
	all, said := compiled(t), comments(t)
	n := 0
	for _, e := range examples() {
		typ := e.Data.Type()
		raw, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		doc := schemaOf(typ, said)
		refuse := func(what string, change func(event map[string]any)) {
			t.Helper()
			var v map[string]any
			if err := json.Unmarshal(raw, &v); err != nil {
				t.Fatal(err)
			}
			change(v)
			changed, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			n++
			if fits(all[typ], changed) == nil {
				t.Errorf("%s: %s fits the schema: %s", typ, what, changed)
			}
		}
		refuse("another type's name", func(v map[string]any) { v["type"] = "Nonsense.v1" })
		refuse("another version", func(v map[string]any) { v["specversion"] = "1.1" })
		refuse("an id in capitals", func(v map[string]any) { v["id"] = strings.ToUpper(e.ID.String()) })
		refuse("an id of version 4", func(v map[string]any) { v["id"] = "5f1d0a9b-e2c3-4788-a1b2-c3d4e5f60718" })
		refuse("a time in microseconds", func(v map[string]any) { v["time"] = "2026-11-24T08:00:00.000000Z" })
		refuse("a time in seconds", func(v map[string]any) { v["time"] = "2026-11-24T08:00:00Z" })
		refuse("a time of another zone", func(v map[string]any) { v["time"] = "2026-11-24T08:00:00.000+00:00" })
		refuse("no date", func(v map[string]any) { v["time"] = "2026-13-24T08:00:00.000Z" })
		for _, a := range []string{"subject", "tenant", "message", "after", "control"} {
			switch has(typ, a) {
			case never:
				refuse(a, func(v map[string]any) { v[a] = map[bool]any{true: 5, false: e.ID.String()}[a == "control"] })
			case always:
				refuse("no "+a, func(v map[string]any) { delete(v, a) })
			}
		}
		// Every place of the event, one at a time.
		var event any
		if err := json.Unmarshal(raw, &event); err != nil {
			t.Fatal(err)
		}
		visit(event, nil, func(path []any, v any) {
			at := fmt.Sprint(path)
			put := func(what string, x any) { refuse(at+": "+what, func(event map[string]any) { set(event, path, x) }) }
			switch v := v.(type) {
			case map[string]any:
				put("null", nil)
				put("a text", "x")
				put("a list", []any{v})
				refuse(at+": an unknown field", func(event map[string]any) {
					at := find(event, path).(map[string]any)
					at["unknown"] = "x"
				})
				for _, name := range node(doc, path).Required {
					refuse(at+": no "+name, func(event map[string]any) { delete(find(event, path).(map[string]any), name) })
				}
			case []any:
				put("an empty list", []any{})
				put("null", nil)
				put("an object", map[string]any{})
				put("a list of lists", []any{[]any{}})
			case string:
				put("no text", "")
				put("a number", 5)
				put("null", nil)
				put("a list", []any{v})
			case float64:
				put("0", 0)
				put("a negative number", -1)
				put("a fraction", v+0.5)
				put("a text", fmt.Sprint(v))
				put("null", nil)
			case bool:
				put("false", false)
				put("a number", 1)
				put("a text", "true")
			}
		})
	}
	if n < 1000 {
		t.Errorf("%d changes were tried; there are more", n)
	}
}

// visit calls f with every value in v, but v itself.
func visit(v any, path []any, f func(path []any, v any)) {
	down := func(key, x any) {
		p := append(slices.Clone(path), key)
		f(p, x)
		visit(x, p, f)
	}
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			down(k, x)
		}
	case []any:
		for i, x := range v {
			down(i, x)
		}
	}
}

// find is what stands at a path, and set puts something there.
func find(v any, path []any) any {
	for _, key := range path {
		if name, ok := key.(string); ok {
			v = v.(map[string]any)[name]
		} else {
			v = v.([]any)[key.(int)]
		}
	}
	return v
}

func set(v any, path []any, x any) {
	last := len(path) - 1
	if name, ok := path[last].(string); ok {
		find(v, path[:last]).(map[string]any)[name] = x
	} else {
		find(v, path[:last]).([]any)[path[last].(int)] = x
	}
}

// node is the schema of what stands at a path.
func node(s *schema, path []any) *schema {
	defs := s.Defs
	for _, key := range path {
		if name, ok := key.(string); ok {
			s = s.Properties.get(name)
		} else {
			s = s.Items
		}
		if name, ok := strings.CutPrefix(s.Ref, "#/$defs/"); ok {
			s = defs.get(name)
		}
	}
	return s
}
