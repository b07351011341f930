package policies

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"

	"github.com/chirograph/chirograph/domain/decision"
)

const decisionQuery = "data.chirograph.main.decision"

type manifest struct {
	// Revision names the bundle to people.
	Revision string `json:"revision"`
	// Checks are the packs that must report, in the order of their reports. No other Go code
	// lists them. A bundle must have the checks of the built-in manifest, and may have more.
	Checks []string `json:"checks"`
}

type bundle struct {
	manifest manifest
	digest   string
	modules  map[string]*ast.Module
	params   map[string]any // by pack
	// reviewed has the countries that marketing may reach; "*" is every country.
	reviewed map[string]bool
}

// readBundle reads the files of a bundle. instead has the content of files that are not read, by
// name.
func readBundle(fsys fs.FS, instead map[string]string) (*bundle, error) {
	var names []string
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		ext := path.Ext(name)
		if (ext == ".rego" && !strings.HasSuffix(name, "_test.rego")) || ext == ".json" {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)

	b := &bundle{modules: map[string]*ast.Module{}, params: map[string]any{}}
	sum := sha256.New()
	for _, name := range names {
		content := []byte(instead[name])
		if len(content) == 0 {
			if content, err = fs.ReadFile(fsys, name); err != nil {
				return nil, err
			}
		}
		for _, s := range [][]byte{[]byte(name), content} {
			sum.Write(binary.BigEndian.AppendUint64(nil, uint64(len(s))))
			sum.Write(s)
		}
		if err := b.add(name, content); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	b.digest = hex.EncodeToString(sum.Sum(nil))
	if err := b.manifest.valid(); err != nil {
		return nil, fmt.Errorf("manifest.json: %w", err)
	}
	return b, nil
}

func (m *manifest) valid() error {
	if m.Revision == "" {
		return errors.New("the bundle needs a revision")
	}
	for i, check := range m.Checks {
		if slices.Contains(m.Checks[:i], check) {
			return fmt.Errorf("checks names %s twice", check)
		}
	}
	content, err := builtin.ReadFile("packs/manifest.json")
	if err != nil {
		return err
	}
	var own manifest
	if err := decodeStrict(content, &own); err != nil {
		return err
	}
	for _, check := range own.Checks {
		if !slices.Contains(m.Checks, check) {
			return fmt.Errorf("checks must name %s", check)
		}
	}
	return nil
}

func (b *bundle) add(name string, content []byte) error {
	dir, file := path.Split(name)
	switch {
	case path.Ext(name) == ".rego":
		m, err := ast.ParseModuleWithOpts(name, string(content), ast.ParserOptions{
			ProcessAnnotation: true,
			Capabilities:      capabilities(),
		})
		if err != nil {
			return err
		}
		b.modules[name] = m
		return nil
	case name == "manifest.json":
		return decodeStrict(content, &b.manifest)
	case file == "params.json" && strings.Count(dir, "/") == 1:
		var params map[string]any
		err := decodeStrict(content, &params)
		if err != nil {
			return err
		}
		pack := strings.TrimSuffix(dir, "/")
		if pack == "chirograph" {
			return errors.New("a pack must not be named chirograph: data.chirograph has the rules of all packs")
		}
		b.params[pack] = params
		switch pack {
		case "quiet_hours":
			return checkHours(content)
		case "countries":
			b.reviewed, err = reviewedCountries(content)
		}
		return err
	}
	return errors.New("no JSON file belongs here: manifest.json at the root, params.json in a pack's folder")
}

// decodeStrict decodes one JSON value. An unknown field, or anything after the value, is an error.
func decodeStrict(content []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}

// reviewedCountries reads the list of reviewed countries. It refuses a row that does not say when the
// country was reviewed, and what was found.
func reviewedCountries(content []byte) (map[string]bool, error) {
	var params struct {
		Reviewed map[string]struct {
			Date string `json:"date"`
			Note string `json:"note"`
		} `json:"reviewed"`
	}
	if err := decodeStrict(content, &params); err != nil {
		return nil, err
	}
	out := map[string]bool{}
	for country, row := range params.Reviewed {
		if country != "*" && (len(country) != 2 || strings.ToUpper(country) != country) {
			return nil, fmt.Errorf("reviewed.%s: a country is two capital letters (ISO 3166-1), or *", country)
		}
		if _, err := time.Parse(time.DateOnly, row.Date); err != nil || row.Note == "" {
			return nil, fmt.Errorf("reviewed.%s: it needs the date of the review, such as 2026-11-28, and a note of what was found", country)
		}
		out[country] = true
	}
	return out, nil
}

// checkHours refuses a row of hours that cannot be read or that never lets a message out. So
// the mistake is found when the bundle is loaded, and not when a message is decided.
func checkHours(content []byte) error {
	var params struct {
		Exempt map[string]bool `json:"exempt"`
		Hours  map[string]map[string]map[string]struct {
			Days [][2]string `json:"days"`
		} `json:"hours"`
	}
	if err := json.Unmarshal(content, &params); err != nil {
		return err
	}
	for purpose, countries := range params.Hours {
		if params.Exempt[purpose] {
			return fmt.Errorf("the purpose %s is exempt and has hours", purpose)
		}
		for country, states := range countries {
			for state, row := range states {
				if err := checkDays(row.Days); err != nil {
					return fmt.Errorf("hours.%s.%s.%s: %w", purpose, country, state, err)
				}
			}
		}
	}
	return nil
}

func checkDays(days [][2]string) error {
	if len(days) != 7 {
		return errors.New("a week has seven days, the first of them Monday")
	}
	sometimesOpen := false
	for _, day := range days {
		opens, ok1 := minute(day[0])
		closes, ok2 := minute(day[1])
		if !ok1 || !ok2 || opens > closes {
			return fmt.Errorf("%q to %q are no hours of a day", day[0], day[1])
		}
		sometimesOpen = sometimesOpen || opens < closes
	}
	if !sometimesOpen {
		return errors.New("it is never open")
	}
	return nil
}

// minute is the minute of the day: 510 for "08:30", 1440 for "24:00", the end of a day.
func minute(s string) (int, bool) {
	if len(s) != 5 || s[2] != ':' {
		return 0, false
	}
	for _, i := range [...]int{0, 1, 3, 4} {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	h, m := int(s[0]-'0')*10+int(s[1]-'0'), int(s[3]-'0')*10+int(s[4]-'0')
	if m > 59 || h*60+m > 24*60 {
		return 0, false
	}
	return h*60 + m, true
}

// annotations collects what the rules say of themselves: METADATA over rules
// written in Rego, and the rows of parameters that have an id and a description.
func (b *bundle) annotations() (map[string]decision.Rule, error) {
	rules := map[string]decision.Rule{}
	add := func(where string, r decision.Rule) error {
		if _, ok := rules[r.ID]; ok {
			return fmt.Errorf("%s: the rule id %q is taken", where, r.ID)
		}
		if err := checkRule(r); err != nil {
			return fmt.Errorf("%s: rule %q: %w", where, r.ID, err)
		}
		rules[r.ID] = r
		return nil
	}
	for name, m := range b.modules {
		for _, a := range m.Annotations {
			if a.Custom["id"] == nil {
				continue
			}
			r, err := ruleOf(a.Description, a.Custom)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if err := add(name, r); err != nil {
				return nil, err
			}
		}
	}
	var walk func(where string, v any) error
	walk = func(where string, v any) error {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				if err := walk(where, x); err != nil {
					return err
				}
			}
		case map[string]any:
			if v["id"] != nil {
				text, _ := v["description"].(string)
				r, err := ruleOf(text, v)
				if err != nil {
					return fmt.Errorf("%s: %w", where, err)
				}
				return add(where, r)
			}
			for _, x := range v {
				if err := walk(where, x); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for pack, params := range b.params {
		if err := walk(pack+"/params.json", params); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func ruleOf(text string, fields map[string]any) (decision.Rule, error) {
	r := decision.Rule{Text: text}
	for name, to := range map[string]*string{
		"id": &r.ID, "citation": &r.Citation, "effective": &r.Effective, "confidence": &r.Confidence,
	} {
		if v, ok := fields[name]; ok {
			if *to, ok = v.(string); !ok {
				return r, fmt.Errorf("%s must be a string, in quotes", name)
			}
		}
	}
	return r, nil
}

func checkRule(r decision.Rule) error {
	switch {
	case r.ID == "":
		return errors.New("the id is empty")
	case r.Text == "":
		return errors.New("a rule needs a description, the sentence that a person reads")
	case r.Citation == "" && r.Effective == "" && r.Confidence == "":
		return nil // a rule of our own
	case !slices.Contains([]string{"statute", "regulator", "industry", "secondary"}, r.Confidence):
		return errors.New("confidence must be statute, regulator, industry or secondary")
	case r.Citation == "":
		return errors.New("the citation is missing")
	}
	if _, err := time.Parse(time.DateOnly, r.Effective); err != nil {
		return errors.New("effective must be a date, such as 2025-04-11")
	}
	return nil
}

// prepare compiles the policies, strictly and once.
func (b *bundle) prepare(ctx context.Context) (rego.PreparedEvalQuery, error) {
	c := compiler()
	c.Compile(b.modules)
	if c.Failed() {
		return rego.PreparedEvalQuery{}, c.Errors
	}
	if len(c.GetRules(ast.MustParseRef(decisionQuery))) == 0 {
		return rego.PreparedEvalQuery{}, errors.New("no rule defines " + decisionQuery)
	}
	return rego.New(
		rego.Query(decisionQuery),
		rego.Compiler(c),
		rego.Store(b.store()),
		rego.Capabilities(capabilities()),
		rego.StrictBuiltinErrors(true),
	).PrepareForEval(ctx)
}

func compiler() *ast.Compiler {
	return ast.NewCompiler().WithCapabilities(capabilities()).WithStrict(true)
}

func (b *bundle) store() storage.Store {
	return inmem.NewFromObjectWithOpts(b.params,
		inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
}

// capabilities are what a policy may use of OPA: pure functions of values. Functions that read
// a clock, the network, chance, the process or the machine's zones are not among them, nor are
// those that verify signatures, which need a clock.
func capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	c.AllowNet = []string{}
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		if b.Infix != "" {
			return false
		}
		group, _, _ := strings.Cut(b.Name, ".")
		return b.Nondeterministic || !slices.Contains(pureBuiltins, group)
	})
	return c
}

// pureBuiltins are the builtins, and groups of builtins, that a policy may call.
var pureBuiltins = strings.Fields(`
	abs and array bits ceil concat contains count div endswith eq equal floor format_int
	gt gte indexof indexof_n internal intersection is_array is_boolean is_null is_number
	is_object is_set is_string json lower lt lte max min minus mul neq numbers object or
	plus product regex rem replace round set_diff sort split sprintf startswith strings
	substring sum to_number trim trim_left trim_prefix trim_right trim_space trim_suffix
	type_name union upper`)
