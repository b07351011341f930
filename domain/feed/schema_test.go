package feed

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/schemas/feed anew")

// field is a field of a record's data. required: every record of the kind has it, of data that is not erased.
type field struct {
	name, about string
	schema      map[string]any
	required    bool
}

func text(name, about string, required bool) field {
	return field{name, about, map[string]any{"type": "string"}, required}
}

var (
	boolean = map[string]any{"type": "boolean"}
	instant = map[string]any{"type": "string", "format": "date-time"}
	texts   = map[string]any{"type": "array", "items": map[string]any{"type": "string"}}
	strs    = map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}
	hidden  = []field{
		{"masked", "What the key may not see, of what the record has: number, reference, metadata, body, words. A number that is masked has its country code and its last two digits.", texts, false},
		{"erased", "The person's data was destroyed: what is personal is left out.", boolean, false},
		{"key_missing", "The server's vault lacks a key, so what is personal is left out.", boolean, false},
	}
	message = []field{
		text("id", "The message.", true), text("status", "Its status from this event on.", true),
		text("was", "Its status before; left out for the first.", false),
		text("to", "The recipient.", false), text("from", "The sender ID that was asked for.", false), text("program", "The program.", false), text("purpose", "The purpose.", false),
		text("reference", "The sender's own name for the message.", false),
		{"metadata", "What the sender gave with the message.", strs, false},
		text("body", "The text; only where it was asked for.", false),
		text("carrier", "The carrier account that has it, or refused it.", false),
		text("code", "The carrier's error code, or that of the receipt.", false),
		{"receipt", "What the delivery receipt said.", map[string]any{"type": "object", "required": []string{"state"}, "properties": map[string]any{
			"state": map[string]any{"type": "string"}, "error": map[string]any{"type": "string"}, "grade": map[string]any{"type": "string"}}}, false},
		text("outcome", "deny, defer or hold, where a decision brought the status.", false),
		{"reasons", "The rules, or the fault, that led to the decision.", map[string]any{"type": "array", "items": map[string]any{"type": "object", "required": []string{"rule", "text"},
			"properties": map[string]any{"rule": map[string]any{"type": "string"}, "text": map[string]any{"type": "string"}, "citation": map[string]any{"type": "string"}}}}, false},
		{"until", "When the message is decided anew.", instant, false},
	}
	person = []field{text("event", "The event that made the record.", true), text("number", "The person's number; left out where the ledger does not have it.", false)}
	optOut = append(slices.Clone(person),
		text("opt_out", "The event by which the opt-out is known. With scope and name it is the opt-out's key: an event may opt out of several.", true),
		text("scope", "sender, program, legal_entity or tenant.", true), text("name", "Of the sender ID, program or legal entity; left out for tenant.", false),
		text("source", "Where it came from: handset, phone, email, …", true),
		field{"occurred_at", "When the person said so, where that was earlier.", instant, false},
		field{"unclear", "It is held until an officer has read it; do not text the person meanwhile.", boolean, false},
		text("our_number", "Our number that the person wrote to.", false))
	review = append(slices.Clone(person), text("review", "The event under review.", true))
)

// kinds describes each kind, and the fields of its data.
var kinds = map[Kind]struct {
	about  string
	fields []field
}{
	MessageStatus:  {"A message has another status than before. Each change is told once.", message},
	MessageInDoubt: {"A carrier may have the message, and nothing proves it: it is not sent again blindly. Told beside message.status.", message},
	MessageInbound: {"A person wrote. A text of several parts is told once its parts are joined.", append(slices.Clone(person),
		text("ask", "What the words ask for: stop, unclear, start, yes, help or none.", false), text("our_number", "Our number that the person wrote to.", false),
		text("words", "What the person wrote.", false))},
	OptOutRecorded: {"An opt-out stands from now on, or something of one that stands has changed.", optOut},
	OptOutLifted: {"An opt-out stands no longer. A person may be texted again only when each of their opt-outs is lifted.", append(slices.Clone(optOut),
		text("replaced_by", "The opt-out of the same reach that took its place; left out if none did.", false))},
	ReviewOpened:   {"An officer has to decide what a person meant.", append(slices.Clone(review), text("kind", "unclear, unreadable, start or held.", true), text("our_number", "Our number that the person wrote to.", false))},
	ReviewResolved: {"Nothing is left to decide there.", review},
	ExportFinished: {"An export has ended: its file is ready, or will never be.", []field{text("export", "Its id.", true), text("as", "finished, failed or cancelled.", true), text("why", "Why it failed.", false)}},
}

func schemaOf(k Kind) []byte {
	properties, required := map[string]any{}, []string{}
	fields := kinds[k].fields
	if k != ExportFinished {
		fields = append(slices.Clone(fields), hidden...)
	}
	for _, f := range fields {
		one := map[string]any{"description": f.about}
		for n, v := range f.schema {
			one[n] = v
		}
		properties[f.name] = one
		if f.required {
			required = append(required, f.name)
		}
	}
	constant := func(v any) map[string]any { return map[string]any{"const": v} }
	raw, err := json.MarshalIndent(map[string]any{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": string(k) + " version 1", "description": kinds[k].about + " Further fields may be added within the version.",
		"type": "object", "required": []string{"id", "type", "version", "position", "timestamp", "data"},
		"properties": map[string]any{"type": constant(k), "version": constant(Version),
			"id":        map[string]any{"type": "string", "description": "The same whenever the record is told, and unique in the ledger."},
			"position":  map[string]any{"type": "string", "description": "Of the event that made the record."},
			"timestamp": map[string]any{"type": "string", "format": "date-time", "description": "The event's time."},
			"sequence":  map[string]any{"type": "integer", "description": "Only in a webhook: its number at the endpoint, counted from 1 without a gap."},
			"data":      map[string]any{"type": "object", "required": required, "properties": properties}},
	}, "", "  ")
	if err != nil {
		panic(err)
	}
	return append(raw, '\n')
}

// The schemas in the documents are those of the records: they name every field that Data has, and no other.
func TestSchemas(t *testing.T) {
	dir := filepath.Join("..", "..", "docs", "schemas", "feed")
	told := map[string]bool{}
	for _, k := range Kinds() {
		if kinds[k].about == "" {
			t.Errorf("%s is not described", k)
		}
		for _, f := range append(slices.Clone(kinds[k].fields), hidden...) {
			told[f.name] = true
		}
		path, want := filepath.Join(dir, string(k)+".v1.json"), schemaOf(k)
		if *update {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the records are: go test ./domain/feed -update (%v)", path, err)
		}
	}
	data := reflect.TypeFor[Data]()
	for i := range data.NumField() {
		name, _, _ := strings.Cut(data.Field(i).Tag.Get("json"), ",")
		if !told[name] {
			t.Errorf("no schema has the field %s", name)
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("the schemas have a field %s that no record has", name)
	}
}
