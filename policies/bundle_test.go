package policies

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/chirograph/chirograph/domain/decision"
)

// files is a copy of the built-in packs, to be spoiled.
func files(t testing.TB) fstest.MapFS {
	t.Helper()
	packs := builtinFS(t)
	m := fstest.MapFS{}
	err := fs.WalkDir(packs, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var content []byte
			content, err = fs.ReadFile(packs, name)
			m[name] = &fstest.MapFile{Data: content}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func replace(t testing.TB, m fstest.MapFS, name, before, after string) {
	t.Helper()
	content := string(m[name].Data)
	if !strings.Contains(content, before) {
		t.Fatalf("%s does not contain %q", name, before)
	}
	m[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(content, before, after))}
}

const (
	mainRego     = "main/main.rego"
	hoursRego    = "quiet_hours/quiet_hours.rego"
	hoursJSON    = "quiet_hours/params.json"
	optOutRego   = "opt_out/opt_out.rego"
	countryRego  = "countries/countries.rego"
	countryJSON  = "countries/params.json"
	senderRego   = "senders/senders.rego"
	senderJSON   = "senders/params.json"
	manifestJSON = "manifest.json"
)

// TestSpoiledPacksAreAFault spoils the packs in one place each. They load, and
// then no answer comes of them, neither allow nor deny.
func TestSpoiledPacksAreAFault(t *testing.T) {
	for _, c := range []struct{ name, file, before, after, says string }{
		{"a check is missing", mainRego, "\tdata.chirograph.countries.report,\n", "", "3 of 4 checks"},
		{"a check reports twice", mainRego, "data.chirograph.senders.report,", "data.chirograph.countries.report,", "did not report in its place"},
		{"one check too many", mainRego, "data.chirograph.senders.report,", "data.chirograph.senders.report,\ndata.chirograph.senders.report,", "5 elements"},
		{"checks out of order", mainRego, "\tdata.chirograph.opt_out.report,\n\tdata.chirograph.quiet_hours.report,\n", "\tdata.chirograph.quiet_hours.report,\n\tdata.chirograph.opt_out.report,\n", "did not report in its place"},
		{"the manifest wants one more", manifestJSON, `"senders"]`, `"senders", "consent"]`, "4 of 5 checks"},
		{"a check is undefined", senderJSON, `, "long_code": true`, ``, "undefined"},
		{"a check is undefined though another denies", countryRego, `input.recipient.country != ""`, `input.recipient.country == "XX"`, "undefined"},
		{"the decision is undefined", mainRego, `outcomes == {"allow"}`, `outcomes == {"perhaps"}`, "undefined"},
		{"the report has no package", mainRego, "data.chirograph.senders.report", "data.chirograph.sender.report", "undefined"},
		{"two reports contradict", countryRego, "\tnot reached\n", "\treached\n", "conflict"},
		{"a builtin fails", countryRego, `reached if input.recipient.country in input.program.countries`, `reached if to_number(input.purpose) == 1`, "to_number"},
		{"an unknown outcome", countryRego, `"allow"`, `"maybe"`, "undefined"},
		{"an unknown outcome, whatever main makes of it", countryRego, `"outcome": "allow"`, `"outcome": "hold"`, "undefined"},
		{"no rules", countryRego, `["countries.reach"]`, `[]`, "names no rule"},
		{"a rule without annotation", countryRego, `["countries.reach"]`, `["countries.reached"]`, "no annotation"},
		{"a rule that is no string", countryRego, `["countries.reach"]`, `[7]`, "string"},
		{"a rule twice", countryRego, `["countries.reach"]`, `["countries.reach", "countries.reach"]`, "repeats"},
		{"very many rules", countryRego, `["countries.reach"]`, `[sprintf("r%d", [i]) | some i in numbers.range(1, 65)]`, "65 elements"},
		{"rules that are no list", countryRego, `["countries.reach"]`, `"countries.reach"`, "no list"},
		{"a check that is no object", mainRego, "data.chirograph.senders.report,", `"senders",`, ""},
		{"an unknown field of a check", countryRego, `"rules": ["countries.reach"]`, `"rules": ["countries.reach"], "why": 1`, "unknown field why"},
		{"an unknown field of the decision", mainRego, `"outcome": outcome,`, `"outcome": outcome, "why": 1,`, "unknown field why"},
		{"an opt-out that is not in the facts", countryRego, `"rules": ["countries.reach"]`, `"rules": ["countries.reach"], "opt_outs": [0]`, "1 elements, more than 0"},
		{"main says otherwise", mainRego, `"outcome": outcome,`, `"outcome": "deny",`, "the checks make it allow"},
		{"the windows are undefined", mainRego, "data.chirograph.quiet_hours.windows", "data.chirograph.quiet_hours.window", "undefined"},
		{"a window without a zone", hoursRego, `"zone": input.recipient.places[i].zone`, `"zone": ""`, "needs a zone"},
		{"a window of an unknown rule", hoursRego, `"rule": row.id`, `"rule": "x"`, "no annotation"},
		{"a window without days", hoursRego, `"days": row.days`, `"days": []`, "needs a zone"},
		{"a window of eight days", hoursRego, `"days": row.days`, `"days": array.concat(row.days, row.days)`, "14 elements"},
		{"hours that are none", hoursRego, `"days": row.days`, `"days": [["8", "9"] | some _ in row.days]`, "no time of day"},
		{"hours that end before they begin", hoursRego, `"days": row.days`, `"days": [["12:00", "11:00"] | some _ in row.days]`, "when it opens"},
		{"hours without an end", hoursRego, `"days": row.days`, `"days": [["12:00"] | some _ in row.days]`, "when it opens"},
		{"an unknown field of a window", hoursRego, `"days": row.days`, `"days": row.days, "why": 1`, "unknown field why"},
	} {
		m := files(t)
		replace(t, m, c.file, c.before, c.after)
		e, err := Load(m)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		a, err := e.Decide(context.Background(), facts())
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %+v, %v, want an error that says %q", c.name, a, err, c.says)
		}
	}
}

// TestEveryCheckOfTheManifestMustReport spoils the report of each check that the manifest
// names. Until the check reports once, and in its turn, there is no answer.
func TestEveryCheckOfTheManifestMustReport(t *testing.T) {
	checks := builtinPacks(t).Required()
	if len(checks) < 4 {
		t.Fatalf("the manifest names the checks %v; there are more", checks)
	}
	n := len(checks)
	for i, check := range checks {
		line := "\tdata.chirograph." + check + ".report,\n"
		next := "\tdata.chirograph." + checks[(i+1)%n] + ".report,\n"
		folder := check + "/" + check + ".rego"
		for _, c := range []struct {
			name  string
			spoil func(m fstest.MapFS)
			says  string
		}{
			{"it is missing", func(m fstest.MapFS) { replace(t, m, mainRego, line, "") }, fmt.Sprintf("%d of %d checks", n-1, n)},
			{"it reports twice", func(m fstest.MapFS) { replace(t, m, mainRego, line, line+line) }, fmt.Sprintf("%d elements", n+1)},
			{"it reports twice, and another check not", func(m fstest.MapFS) { replace(t, m, mainRego, next, line) }, "did not report in its place"},
			{"it reports under another name", func(m fstest.MapFS) {
				replace(t, m, folder, `{"check": "`+check+`"`, `{"check": "x"`)
			}, "check " + check + " did not report in its place"},
			{"it reports as another check", func(m fstest.MapFS) {
				replace(t, m, folder, `{"check": "`+check+`"`, `{"check": "`+checks[(i+1)%n]+`"`)
			}, "check " + check + " did not report in its place"},
			{"its report has another name", func(m fstest.MapFS) { replace(t, m, folder, "\nreport :=", "\nverdict :=") }, "undefined"},
			{"its rules are not in the bundle", func(m fstest.MapFS) {
				m[folder] = &fstest.MapFile{Data: []byte("package chirograph." + check + "\n")}
			}, ""},
			{"there is one check too many", func(m fstest.MapFS) {
				replace(t, m, mainRego, line, line+"\t{\"check\": \"x\", \"outcome\": \"allow\", \"rules\": [\"countries.reach\"]},\n")
			}, fmt.Sprintf("%d elements", n+1)},
		} {
			m := files(t)
			c.spoil(m)
			e, err := Load(m)
			if err != nil {
				t.Errorf("%s: %s: %v", check, c.name, err)
				continue
			}
			if a, err := e.Decide(context.Background(), facts()); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %s: %+v, %v, want an error that says %q", check, c.name, a, err, c.says)
			}
		}
		for says, spoil := range map[string]string{"must name " + check: `"x"`, "names " + check + " twice": `"` + check + `", "` + check + `"`} {
			m := files(t)
			replace(t, m, manifestJSON, `"`+check+`"`, spoil)
			if _, err := Load(m); err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%v, want an error that says %q", err, says)
			}
		}
	}
}

// A bundle may have a check more than the built-in one. Then this check must report too.
func TestABundleMayAddACheck(t *testing.T) {
	bundle := func(report string) fstest.MapFS {
		m := files(t)
		m["consent/consent.rego"] = &fstest.MapFile{Data: []byte("package chirograph.consent\n\n" + report + "\n")}
		replace(t, m, manifestJSON, `"senders"]`, `"senders", "consent"]`)
		replace(t, m, mainRego, "\tdata.chirograph.senders.report,\n", "\tdata.chirograph.senders.report,\n\tdata.chirograph.consent.report,\n")
		return m
	}
	for _, c := range []struct {
		report string
		want   decision.Outcome // "": a fault
	}{
		{`report := {"check": "consent", "outcome": "allow", "rules": ["countries.reach"]}`, decision.Allow},
		{`report := {"check": "consent", "outcome": "deny", "rules": ["countries.reach"]}`, decision.Deny},
		{`report := {"check": "consent", "outcome": "allow", "rules": ["countries.reach"]} if input.purpose == "otp"`, ""},
	} {
		e, err := Load(bundle(c.report))
		if err != nil {
			t.Fatal(err)
		}
		if got := e.Required(); len(got) != len(builtinPacks(t).Required())+1 || got[len(got)-1] != "consent" {
			t.Errorf("required are %v", got)
		}
		a, err := e.Decide(context.Background(), facts())
		if c.want == "" {
			if err == nil {
				t.Errorf("%s: %+v, want an error", c.report, a)
			}
		} else if err != nil || a.Outcome != c.want || len(a.Checks) != len(e.Required()) {
			t.Errorf("%s: %+v, %v, want %s", c.report, a, err, c.want)
		}
	}
}

func TestADeferralNeedsAWindow(t *testing.T) {
	m := files(t)
	replace(t, m, mainRego, "data.chirograph.quiet_hours.windows", "[]")
	e, err := Load(m)
	if err != nil {
		t.Fatal(err)
	}
	f := facts()
	f.Clocks["America/New_York"] = decision.FactClock{Date: "2026-11-28", Time: "03:00", Weekday: 2}
	if a, err := e.Decide(context.Background(), f); err == nil {
		t.Errorf("%+v, want an error", a)
	}
}

// A pack of its own may defer to an instant: here, to the end of a holiday.
func holiday(t testing.TB, report string) fstest.MapFS {
	m := files(t)
	m["holidays/holidays.rego"] = &fstest.MapFile{Data: []byte(`package chirograph.holidays

# METADATA
# description: Nothing leaves on a holiday.
# custom:
#   id: holidays.today
report := ` + report + ` if input.clocks["America/New_York"].date == "2026-11-24"

report := {"check": "holidays", "outcome": "allow", "rules": ["holidays.today"]} if input.clocks["America/New_York"].date != "2026-11-24"
`)}
	replace(t, m, manifestJSON, `"senders"]`, `"senders", "holidays"]`)
	replace(t, m, mainRego, "\tdata.chirograph.senders.report,\n", "\tdata.chirograph.senders.report,\n\tdata.chirograph.holidays.report,\n")
	return m
}

func TestACheckMayDeferToAnInstant(t *testing.T) {
	for until, want := range map[string]string{
		`"2026-11-25T05:00:00Z"`:      "2026-11-25T05:00:00Z",
		`"2026-11-25T05:00:00.5Z"`:    "",
		`"2026-11-25T05:00:00+00:00"`: "",
		`"2026-11-25T00:00:00-05:00"`: "",
		`"2026-11-25 05:00:00Z"`:      "",
		`"2026-02-30T05:00:00Z"`:      "",
		`"2026-11-25"`:                "",
		`"0001-01-01T00:00:00Z"`:      "",
		`""`:                          "",
		`1764046800`:                  "",
		`null`:                        "",
	} {
		for outcome, may := range map[string]bool{"defer": true, "deny": false, "allow": false} {
			e, err := Load(holiday(t, `{"check": "holidays", "outcome": "`+outcome+`", "rules": ["holidays.today"], "until": `+until+`}`))
			if err != nil {
				t.Fatal(err)
			}
			a, err := e.Decide(context.Background(), facts())
			switch {
			case want == "" || !may:
				if err == nil {
					t.Errorf("%s until %s: %+v, want an error", outcome, until, a)
				}
			case err != nil || a.Outcome != decision.Defer || a.Checks[4].Until.Format(time.RFC3339) != want:
				t.Errorf("until %s: %+v, %v", until, a, err)
			}
		}
	}
}

func TestChecksRestOnOptOutsInTheFacts(t *testing.T) {
	for _, spoiled := range []string{"[2]", "[-1]", "[0.5]", `["0"]`, "[0, 0]", "[1, 0]", "[0, 1, 0]"} {
		m := files(t)
		replace(t, m, optOutRego, `"opt_outs": covering`, `"opt_outs": `+spoiled)
		e, err := Load(m)
		if err != nil {
			t.Fatal(err)
		}
		f := facts()
		f.OptOuts = []decision.FactOptOut{{Scope: "tenant", Same: true}, {Scope: "sender"}}
		if a, err := e.Decide(context.Background(), f); err == nil {
			t.Errorf("opt_outs %s: %+v, want an error", spoiled, a)
		}
	}
}

// A policy that does not end is ended.
func TestEvaluationIsBounded(t *testing.T) {
	m := files(t)
	replace(t, m, countryRego, `reached if "*" in input.program.countries`, `reached if {
	some i in numbers.range(1, 30000)
	some j in numbers.range(1, 30000)
	i * j == -1
}`)
	replace(t, m, countryRego, `reached if input.recipient.country in input.program.countries`, ``)
	e, err := Load(m)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if a, err := e.Decide(ctx, facts()); err == nil {
		t.Errorf("%+v, want an error", a)
	}
}

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct{ name, file, before, after, says string }{
		{"no revision", manifestJSON, `"2026-11-28"`, `""`, "revision"},
		{"a required check left out", manifestJSON, `"quiet_hours", `, ``, "must name quiet_hours"},
		{"an unknown field of the manifest", manifestJSON, `"revision"`, `"unsigned": true, "revision"`, "unsigned"},
		{"two manifests in one", manifestJSON, "]\n}", "]\n}{}", "follows"},
		{"no decision", mainRego, "decision :=", "verdict :=", "no rule defines"},
		{"a syntax error", senderRego, "known_type", "", ""},
		{"the clock", countryRego, `reached if "*" in`, "late if time.now_ns() > 0\n\nreached if \"*\" in", "time.now_ns"},
		{"the machine's zones", countryRego, `reached if "*" in`, "late if time.clock([0, \"Europe/London\"])[0] > 8\n\nreached if \"*\" in", "time.clock"},
		{"the network", countryRego, `reached if "*" in`, "up if http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"}).status_code == 200\n\nreached if \"*\" in", "http.send"},
		{"names", countryRego, `reached if "*" in`, "up if net.lookup_ip_addr(\"localhost\")\n\nreached if \"*\" in", "net.lookup_ip_addr"},
		{"chance", countryRego, `reached if "*" in`, "lucky if rand.intn(\"x\", 2) == 1\n\nreached if \"*\" in", "rand.intn"},
		{"the process", countryRego, `reached if "*" in`, "at_home if opa.runtime().env.HOME\n\nreached if \"*\" in", "opa.runtime"},
		{"strict: a variable that is never used", countryRego, `reached if "*" in`, "reached if {\n\tx := 1\n\tfalse\n}\n\nreached if \"*\" in", "x"},
		{"a rule without a sentence", countryRego, "# description: The program is registered for the country of the recipient's number.\n", "", "description"},
		{"an id twice", countryRego, "id: countries.unknown", "id: countries.reach", "taken"},
		{"an id twice, in a row", hoursJSON, `"quiet_hours.us.fl"`, `"opt_out.none"`, "taken"},
		{"an unknown confidence", senderRego, "confidence: industry", "confidence: hearsay", "confidence"},
		{"a confidence without a citation", senderRego, "#   citation: CTIA Messaging Principles and Best Practices; carriers' guidelines\n", "", "citation"},
		{"a date that is none", senderRego, `"2019-07-19"`, `"2019-07-32"`, "effective"},
		{"a row without a sentence", hoursJSON, `"description": "Marketing may reach Florida`, `"text": "Marketing may reach Florida`, "description"},
		{"six days", hoursJSON, `["12:00", "21:00"]]`, `["12:00", "21:00"], ["12:00", "21:00"]]`, "seven days"},
		{"no time of day", hoursJSON, `["12:00", "21:00"]`, `["12:00", "24:01"]`, "no hours"},
		{"hours that end before they begin", hoursJSON, `["12:00", "21:00"]`, `["21:00", "12:00"]`, "no hours"},
		{"never open", hoursJSON, `["10:00", "21:00"]`, `["10:00", "10:00"]`, "never open"},
		{"a country that is none", countryJSON, `"FR"`, `"France"`, "two capital letters"},
		{"a country reviewed at no date", countryJSON, `"date": "2026-11-28", "note": "PECR`, `"date": "lately", "note": "PECR`, "reviewed.GB"},
		{"a country of which nothing is said", countryJSON, `"note": "TRAI TCCCPR: 10:00 to 21:00."`, `"note": ""`, "reviewed.IN"},
		{"an unknown parameter of countries", countryJSON, `"reviewed"`, `"review"`, "unknown field"},
		{"exempt, with hours", hoursJSON, `"otp": true`, `"marketing": true`, "exempt and has hours"},
	} {
		m := files(t)
		if c.name == "a syntax error" {
			m[senderRego] = &fstest.MapFile{Data: []byte("package chirograph.senders\n\nreport := {")}
		} else {
			replace(t, m, c.file, c.before, c.after)
		}
		if _, err := Load(m); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want an error that says %q", c.name, err, c.says)
		}
	}
	for _, name := range []string{"params.json", "main/data.json", "main/more/params.json"} {
		m := files(t)
		m[name] = &fstest.MapFile{Data: []byte("{}")}
		if _, err := Load(m); err == nil {
			t.Errorf("%s is loaded, want an error", name)
		}
	}
	m := files(t)
	m["chirograph/params.json"] = &fstest.MapFile{Data: []byte("{}")}
	if _, err := Load(m); err == nil || !strings.Contains(err.Error(), "must not be named chirograph") {
		t.Errorf("%v for parameters that hide the rules", err)
	}
	if _, err := Load(fstest.MapFS{}); err == nil {
		t.Error("an empty folder is loaded, want an error")
	}
}

func TestDigest(t *testing.T) {
	digest := func(m fs.FS) string {
		e, err := Load(m)
		if err != nil {
			t.Fatal(err)
		}
		revision, digest := e.Bundle()
		if revision != "2026-11-28" || len(digest) != 64 {
			t.Fatalf("%s %s", revision, digest)
		}
		return digest
	}
	whole := digest(files(t))
	if _, got := builtinPacks(t).Bundle(); got != whole {
		t.Errorf("%s and %s for one bundle", whole, got)
	}
	seen := map[string]string{whole: "nothing"}
	for name := range files(t) {
		m := files(t)
		m[name] = &fstest.MapFile{Data: append(m[name].Data, '\n')}
		got := digest(m)
		if strings.HasSuffix(name, "_test.rego") {
			if got != whole {
				t.Errorf("%s does not belong to the bundle, but changes its digest", name)
			}
		} else if other, ok := seen[got]; ok {
			t.Errorf("a change of %s has the digest of a change of %s", name, other)
		} else {
			seen[got] = name
		}
	}
	m := files(t)
	m["countries/reach.rego"] = m[countryRego]
	delete(m, countryRego)
	if digest(m) == whole {
		t.Error("a file under another name has the same digest")
	}
	m = files(t)
	m["README.md"] = &fstest.MapFile{Data: []byte("x")}
	if digest(m) != whole {
		t.Error("what does not belong to the bundle changes its digest")
	}
}

func TestCapabilitiesArePure(t *testing.T) {
	builtins := map[string]bool{}
	for _, b := range capabilities().Builtins {
		builtins[b.Name] = true
		if b.Nondeterministic {
			t.Errorf("%s is not deterministic", b.Name)
		}
	}
	for _, b := range ast.CapabilitiesForThisVersion().Builtins {
		group, _, _ := strings.Cut(b.Name, ".")
		switch group {
		case "http", "net", "time", "rand", "opa", "uuid", "io", "crypto", "providers", "rego", "trace", "print", "graphql":
			if builtins[b.Name] {
				t.Errorf("%s may be called", b.Name)
			}
		}
	}
	for _, name := range []string{"count", "sprintf", "object.get", "array.concat", "regex.match", "eq", "internal.member_2"} {
		if !builtins[name] {
			t.Errorf("%s may not be called", name)
		}
	}
}
