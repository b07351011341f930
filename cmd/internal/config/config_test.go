package config

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/cmd/internal/terminal/terminaltest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// whole is a configuration that uses every field.
//
//go:embed testdata/whole.yaml
var whole string

// load writes a configuration, and the password that whole names, and loads it.
func load(t *testing.T, text string) (*Config, string, error) {
	t.Helper()
	t.Setenv("SPARE", "s3cret")
	dir := t.TempDir()
	cert, key := terminaltest.Certificate(t)
	for name, content := range map[string]string{"c.yaml": text, "acme.password": "pass wd\r\n", "long.password": strings.Repeat("x", 65),
		"ca.pem": cert, "node.pem": cert, "node.key": key} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Load(filepath.Join(dir, "c.yaml"))
	return c, dir, err
}

func TestConfig(t *testing.T) {
	c, dir, err := load(t, whole)
	if err != nil {
		t.Fatal(err)
	}
	if p := c.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	if c.Data != filepath.Join(dir, "data") || c.MasterKey() != "/keys/master.key" || c.Listen != "127.0.0.1:9000" || c.Node != "node-7" || time.Duration(c.Drain) != 30*time.Second {
		t.Errorf("%+v", c)
	}
	if k := c.Clerk(16); k.CallWindow != 2*time.Second || k.AnswerWithin != 12*time.Second || k.ReleaseRate != 50 || k.MaxWaiting != 900 {
		t.Errorf("%+v", k)
	}
	var carriers []client.Config
	for i := range c.Carriers {
		carriers = append(carriers, c.Carriers[i].SMPP())
	}
	if x := carriers[0].TLS; x == nil || x.ServerName != "smpp.example.com" || x.RootCAs == nil || len(x.Certificates) != 1 {
		t.Errorf("%+v", x)
	}
	if got := c.Carriers[0].SendersIn(); !reflect.DeepEqual(got, map[string][]sms.Sender{"IN": {"EXMPLB", "12345"}}) {
		t.Errorf("%+v", got)
	}
	octet := func(b byte) *byte { return &b }
	carriers[0].TLS = nil
	if want := []client.Config{
		{Account: "acme", Addr: "smpp.example.com:2776", SystemID: "bank", Password: "pass wd", SystemType: "SMPP", Window: 10, TPS: 12.5,
			ResponseTimeout: 4 * time.Second, EnquireLink: 15 * time.Second, Alphabet: sms.Latin1, HexIDs: true, SniffReceipts: true,
			Failover: []string{"smpp2.example.com:2776"}, Apart: true, Binds: 2, AddrTON: 1, AddrNPI: 2, AddressRange: "1202*", ServiceType: "CMT",
			SourceTON: octet(3), SourceNPI: octet(4), DestTON: octet(5), DestNPI: octet(6), RetryStatuses: []uint32{8, 0x400}, QuerySM: true, CancelSM: true,
			TLVs: []client.TLV{{Tag: 0x1400, Value: []byte("1101\x00"), Programs: []string{"otp", "bank/otp"}}, {Tag: 0x1500, Value: []byte{2, 1}},
				{Tag: 0x1401, Value: []byte{0, 255}}}},
		{Account: "spare", Addr: "127.0.0.1:2775", SystemID: "bank", Password: "s3cret", Binds: 1, Window: 64, ResponseTimeout: 5 * time.Second,
			EnquireLink: 30 * time.Second, Alphabet: sms.GSM7},
	}; !reflect.DeepEqual(carriers, want) {
		t.Errorf("%+v", carriers)
	}
	if want := []event.Route{{Rule: "codes", Programs: []string{"otp"}, Countries: []string{"US", "NO"}, Carrier: "spare"}, {Rule: "rest", Carrier: "acme"}}; !reflect.DeepEqual(c.RouteTable(), want) {
		t.Errorf("%+v", c.RouteTable())
	}
	want := map[string][]*event.ProgramChanged{
		"bank": {{Name: "otp", LegalEntity: "Example Bank Ltd", Brand: "Example Bank", Purposes: []string{"otp", "account"}, Countries: []string{"US", "NO"},
			Senders: []string{"+12025550101", "12345", "ExampleBank"}, Priority: 8, PrefersDuplicate: true, HelpText: "Example Bank: call us.",
			StopText: "Example Bank: you will get no more texts.", StartText: "Example Bank: welcome back.", Default: true}},
		"clinic": {{Name: "otp", LegalEntity: "Example Clinic", Purposes: []string{"healthcare"}, Countries: []string{"*"}, Senders: []string{"+12025550102"}}},
	}
	if !reflect.DeepEqual(c.Registrations(), want) {
		t.Errorf("%+v", c.Registrations())
	}
	if want := map[string][]*event.OwnerGranted{"bank": {{Sender: "12345"}, {LegalEntity: "Example Bank Ltd"}}}; !reflect.DeepEqual(c.Grants(), want) {
		t.Errorf("%+v", c.Grants())
	}
	// whole is whole: no field is left at its zero value in the first of each list.
	unset(t, reflect.ValueOf(*c), "")

	var b bytes.Buffer
	c.Logger(&b).Info("no")
	c.Logger(&b).Warn("yes")
	if !strings.HasPrefix(b.String(), `{"time":`) || strings.Contains(b.String(), `"no"`) {
		t.Errorf("%s", b.String())
	}
}

func unset(t *testing.T, v reflect.Value, path string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		// The embedded engine has none of these; the tests of the cluster's configuration
		// look at them. What stands in the environment is given in a file there. The tests of
		// chirograph world export name a world file.
		if f.Tag.Get("yaml") == "" || slices.Contains([]string{"Password", "URL", "Connection", "Kafka", "EventStoreDB", "Postgres", "WorldFile"}, f.Name) {
			continue
		}
		x := v.Field(i)
		if x.IsZero() {
			t.Errorf("%s%s is not set by the test", path, f.Name)
		}
		if x.Kind() == reflect.Slice && x.Len() > 0 && x.Index(0).Kind() == reflect.Struct {
			unset(t, x.Index(0), path+f.Name+".")
		}
		if x.Kind() == reflect.Struct {
			unset(t, x, path+f.Name+".")
		}
	}
}

// change replaces one line's text of a good configuration.
func change(t *testing.T, old, by string) string {
	t.Helper()
	if strings.Count(whole, old) != 1 {
		t.Fatalf("%q stands %d times", old, strings.Count(whole, old))
	}
	return strings.Replace(whole, old, by, 1)
}

func TestConfigIsRefused(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an empty file", "", "the file is empty"},
		{"no YAML", "data: [", "this is not YAML"},
		{"a list", "- a", "a configuration must consist of fields"},
		{"two documents", "data: a\n---\ndata: b\n", "one YAML document"},
		{"an unknown field", change(t, "tenants:", "tenant:"), "line 12: tenant: there is no such field; did you mean tenants?"},
		{"an unknown field inside", change(t, "    tps: 12.5", "    tpss: 12.5"), "line 26: carriers[0].tpss: there is no such field; did you mean tps?"},
		{"a field like none", change(t, "node: node-7", "frobnicate: 1"), "line 4: frobnicate: there is no such field\n"},
		{"a field that stands twice", whole + "node: node-8\n", "it is there twice, first in line 4"},
		{"an alias", change(t, "node: node-7", "node: &a node-7"), "anchors and aliases"},
		{"a duration without unit", change(t, "drain: 30s", "drain: 30"), "line 5: drain: it must be a duration with its unit"},
		{"a duration of nothing", change(t, "drain: 30s", "drain: 0s"), "line 5: drain: it must be longer than 0"},
		{"a number for a text", change(t, `"+12025550101", "12345"`, `"+12025550101", 12345`), "programs[0].senders[1]: it must be a text: write it in quotes"},
		{"a phone number without quotes", change(t, `"+12025550101"`, "+12025550101"), "programs[0].senders[0]: it must be a text: write it in quotes"},
		{"a text for a number", change(t, "window: 10", "window: ten"), "line 25: carriers[0].window: it must be a whole number"},
		{"a fraction for a whole number", change(t, "window: 10", "window: 1.5"), "carriers[0].window: it must be a whole number"},
		{"a text for a yes or no", change(t, "tls: true", "tls: yes please"), "carriers[0].tls: it must be true or false"},
		{"a value for a list", change(t, "tenants: [bank, clinic]", "tenants: bank"), "line 12: tenants: it must be a list"},
		{"a list for a value", change(t, "node: node-7", "node: [a]"), "node: it must be one value"},
		{"fields for a value", change(t, "node: node-7", "node: {a: b}"), "node: it must be one value"},
		{"a value for fields", change(t, "log: {level: warn, format: json}", "log: warn"), "log: it must have fields"},
		{"nothing", change(t, "node: node-7", "node:"), "line 4: node: a value is missing"},
		{"a secret in the file", change(t, "${ENV:SPARE}", "hunter2"), "line 61: carriers[1].password: do not write a secret into the file"},
		{"half a reference", change(t, "node: node-7", `node: "${HOME}"`), "as ${ENV:NAME}"},
		{"an open reference", change(t, "node: node-7", `node: "a${ENV:HOME"`), "as ${ENV:NAME}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := load(t, c.text)
			if err == nil || !strings.Contains(err.Error()+"\n", c.want) {
				t.Fatalf("%v\nwant %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Error("a secret is in the error")
			}
		})
	}
	// All of them at once, with their lines.
	_, _, err := load(t, "dta: x\nlisten: 1\ntenants: a\n")
	for _, want := range []string{"line 1: dta: ", "line 2: listen: ", "line 3: tenants: "} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []struct{ old, by, want string }{
		{"data: data\n", "", "data: it is missing"},
		{"listen: 127.0.0.1:9000", "listen: localhost", "line 3: listen: write host:port"},
		{"listen: 127.0.0.1:9000", `listen: ":80"`, "line 3: listen: name the host"},
		{"node: node-7", "node: Node 7", "line 4: node: it must have 1 to 60 small letters"},
		{"drain: 30s", "drain: -1s", "line 5: drain: it must not be negative"},
		{"level: warn", "level: loud", "line 6: log.level: it must be debug"},
		{"format: json", "format: xml", "line 6: log.format: it must be text or json"},
		{"call_window: 2s", "call_window: -2s", "limits.call_window: "},
		{"answer_within: 12s", "answer_within: 4s", "carriers[0].response_timeout: it must be shorter than limits.answer_within (4s)"},
		{"release_rate: 50", "release_rate: -1", "limits.release_rate: "},
		{"max_waiting: 900", "max_waiting: -1", "limits.max_waiting: "},
		{"tenants: [bank, clinic]", "tenants: [bank, clinics]", `programs[1].tenant: "clinic" is not one of the tenants; did you mean clinics?`},
		{"tenants: [bank, clinic]", "tenants: [bank, bank, clinic]", "tenants[1]: this tenant is already tenants[0]"},
		{"  - id: web", `  - id: ""`, "api_keys[0].id: give it a name"},
		{`"9f86d`, `"Xf86d`, "api_keys[0].sha256: write the SHA-256"},
		{"    tenant: bank\n    scopes", "    tenant: \"\"\n    scopes", "api_keys[0].tenant: it is missing"},
		{"messages:write, messages:read", "messages:wrote", `api_keys[0].scopes[0]: "messages:wrote" is not a scope; did you mean messages:write?`},
		{"[messages:write, messages:read]", "[]", "api_keys[0].scopes: name what it may do"},
		{"account: spare", "account: acme", "carriers[1].account: carriers[0] has this name already"},
		{"addr: smpp.example.com:2776", "addr: smpp.example.com", "carriers[0].addr: write the message centre's host:port"},
		{"system_type: SMPP", "system_type: SMPP_SMPP_SMPP", "carriers[0].system_type: "},
		{"password_file: acme.password", "password_file: none", "carriers[0].password_file: it cannot be read: "},
		{"password_file: acme.password", "password_file: long.password", "carriers[0].password_file: a password must have at most 64"},
		{"failover: [\"smpp2.example.com:2776\"]", "failover: [smpp2]", "carriers[0].failover[0]: write the message centre's host:port"},
		{"failover: [\"smpp2.example.com:2776\"]", "failover: [" + strings.Repeat("\"a:1\", ", 9) + "]", "carriers[0].failover: it must have at most 8"},
		{"tls: true", "tls: false", "carriers[0].tls: certificate files are named"},
		{"tls: true\n", "tls: false\n", "carriers[0].server_name: it is for TLS"},
		{"ca_file: ca.pem", "ca_file: c.yaml", "carriers[0].ca_file: it contains no certificate"},
		{"ca_file: ca.pem", "ca_file: none", "carriers[0].ca_file: it cannot be read"},
		{"cert_file: node.pem", "cert_file: node.key", "carriers[0].cert_file: certificate and key cannot be used"},
		{"    key_file: node.key\n", "", "carriers[0].cert_file: give both"},
		{"bind_as: transmitter_and_receiver", "bind_as: receiver", "carriers[0].bind_as: it must be transceiver or"},
		{"binds_per_node: 2", "binds_per_node: 33", "carriers[0].binds_per_node: it must be 1 to 32"},
		{"bind_ton: 1", "bind_ton: 256", "carriers[0].bind_ton: it must be 0 to 255"},
		{"bind_npi: 2", "bind_npi: -1", "carriers[0].bind_npi: it must be 0 to 255"},
		{"source_ton: 3", "source_ton: 300", "carriers[0].source_ton: "},
		{"dest_npi: 6", "dest_npi: -2", "carriers[0].dest_npi: "},
		{"address_range: \"1202*\"", "address_range: " + strings.Repeat("x", 41), "carriers[0].address_range: it must have at most 40"},
		{"service_type: CMT", "service_type: CMTCMT", "carriers[0].service_type: it must have at most 5"},
		{"retry_statuses: [ESME_RSYSERR", "retry_statuses: [ESME_NONE", "carriers[0].retry_statuses[0]: write a command_status"},
		{"tag: \"0x1400\"", "tag: \"0x0204\"", "carriers[0].tlvs[0].tag: every submit may have"},
		{"tag: \"0x1500\"", "tag: \"0x15000\"", "carriers[0].tlvs[1].tag: write the tag"},
		{"name: template_id, ", "name: template, ", "carriers[0].tlvs[2].tag: write the tag"},
		{"value: \"00ff\"", "value: \"00f\"", "carriers[0].tlvs[2].value: it cannot be written as hex"},
		{"value: \"513\"", "value: \"65536\"", "carriers[0].tlvs[1].value: it cannot be written as uint16"},
		{"value: \"1101\"", "value: \"\"", "carriers[0].tlvs[0].value: it is missing"},
		{"as: cstring", "as: string", "carriers[0].tlvs[0].as: \"string\" is no form; did you mean cstring?"},
		{"programs: [otp, bank/otp]", "programs: [opt]", "carriers[0].tlvs[0].programs[0]: \"opt\" is not a program"},
		{"{country: IN,", "{country: in,", "carriers[0].senders[0].country: "},
		{"senders: [EXMPLB, \"12345\"]", "senders: []", "carriers[0].senders[0].senders: name 1 to 200"},
		{"password: ${ENV:SPARE}", "password: ${ENV:NONE_SUCH}", "carriers[1].password: the environment has no variable NONE_SUCH"},
		{"password_file: acme.password", "password_file: acme.password\n    password: ${ENV:SPARE}", "carriers[0].password: give password_file or password"},
		{"window: 10", "window: -1", "carriers[0].window: "},
		{"tps: 12.5", "tps: -1", "carriers[0].tps: "},
		{"countries: [GB, IE]", "countries: [UK, IE]", "carriers[0].countries[0]: UK is not in ISO 3166-1: write GB"},
		{"countries: [GB, IE]", "countries: [GB, ZZ]", "carriers[0].countries[1]: ZZ is not a country with phone numbers"},
		{"countries: [GB, IE]", "countries: [GB, ie]", "carriers[0].countries[1]: write the country as two capital letters"},
		{"countries: [GB, IE]", "countries: [" + strings.Repeat("GB, ", 41) + "]", "carriers[0].countries: it must have at most 40"},
		{`countries: ["*"]`, `countries: ["UK"]`, "programs[1].countries[0]: UK is not in ISO 3166-1: write GB, or \"*\" for all"},
		{"programs: [otp], countries: [US, NO]", "programs: [otp], countries: [ZZ]", "routes[0].countries[0]: ZZ is not a country"},
		{"alphabet: latin1", "alphabet: utf8", "carriers[0].alphabet: it must be gsm7 or latin1"},
		{"carrier: acme", "carrier: acne", `routes[1].carrier: "acne" is not an account under carriers; did you mean acme?`},
		{"rule: rest", "rule: codes", "routes[1].rule: routes[0] has this name already"},
		{"programs: [otp]", "programs: [oto]", `routes[0].programs[0]: "oto" is not a program under programs; did you mean otp?`},
		{"programs: [otp], countries: [US, NO]", "programs: [otp], countries: [us]", "routes[0].countries[0]: write the country as two capital letters"},
		{"legal_entity: Example Clinic", "legal_entity: \"\"", "programs[1].legal_entity: name the company or person that sends"},
		{"purposes: [healthcare]", "purposes: [heathcare]", `programs[1].purposes[0]: "heathcare" is not a purpose; did you mean healthcare?`},
		{"purposes: [otp, account]", "purposes: [otp, marketing]", "programs[0].prefers_duplicate: a program with the purpose marketing"},
		{`countries: ["*"]`, `countries: []`, "programs[1].countries: name the countries"},
		{`senders: ["+12025550102"]`, `senders: ["+1 202 555 0102"]`, "programs[1].senders[0]: a sender ID is"},
		{"priority: 8", "priority: 10", "programs[0].priority: "},
		{`"Example Bank: call us."`, `"` + strings.Repeat("x", 500) + `"`, "programs[0].help_text: it must have at most 3 segments"},
		{`"Example Bank: welcome back."`, `"` + strings.Repeat("x", 500) + `"`, "programs[0].start_text: it must have at most 3 segments"},
		{"zones:\n  - tenant: bank", "zones:\n  - tenant: bnk", `zones[0].tenant: "bnk" is not one of the tenants; did you mean bank?`},
		{"zone: America/New_York", "zone: New York", `zones[0].zone: zone "New York" is not in the zone database`},
		{"zone: America/New_York", "zone: America/New_York\n  - {tenant: bank, zone: UTC}", "zones[1].tenant: zones[0] has the zone of this tenant already"},
		{"owners:\n  - tenant: bank", "owners:\n  - tenant: bnk", `owners[0].tenant: "bnk" is not one of the tenants; did you mean bank?`},
		{"owners:\n  - tenant: bank\n    senders: [\"12345\"]\n    legal_entities: [Example Bank Ltd]", "owners:\n  - tenant: bank", "owners[0]: name senders, legal_entities or both"},
		{`    senders: ["12345"]`, `    senders: ["+1 202 555 0101"]`, "owners[0].senders[0]: a sender ID is"},
		{"legal_entities: [Example Bank Ltd]", `legal_entities: [" "]`, "owners[0].legal_entities[0]: name a company or person"},
		{"legal_entities: [Example Bank Ltd]", "legal_entities: [Example Bank Ltd, EXAMPLE  bank ltd]", "owners[0].legal_entities[1]: it is there twice, first in owners[0].legal_entities[0]"},
		{"legal_entities: [Example Bank Ltd]", "legal_entities: [Example Bank Ltd]\n  - {tenant: clinic, senders: [\"12345\"]}", "owners[1].senders[0]: owners[0].senders[0] gives this sender ID to the tenant bank: it can have one owner"},
		{`senders: ["+12025550102"]`, `senders: ["+12025550102", "12345"]`, "programs[1].senders[1]: owners gives this sender ID to the tenant bank"},
		{"legal_entity: Example Clinic", "legal_entity: example bank LTD", "programs[1].legal_entity: owners gives this legal entity to the tenant bank"},
		{"tenant: clinic", "tenant: bank", "programs[1].name: programs[0] of the same tenant has this name already"},
		{"    tenant: clinic\n    name: otp", "    tenant: bank\n    default: true\n    name: rest", ""},
	} {
		if c.want == "" {
			continue
		}
		t.Run(c.by, func(t *testing.T) {
			cfg, _, err := load(t, change(t, c.old, c.by))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range cfg.Check() {
				if strings.Contains(p.String(), c.want) {
					return
				}
			}
			t.Errorf("%v\nwant %s", cfg.Check(), c.want)
		})
	}
	cfg, _, err := load(t, strings.Replace(whole, "  - tenant: clinic\n    name: otp", "  - tenant: bank\n    default: true\n    name: rest", 1))
	if err != nil {
		t.Fatal(err)
	}
	if p := cfg.Check(); len(p) != 1 || p[0].Path != "programs[1].default" {
		t.Errorf("%v", p)
	}
	// The same, three at once, in the order of the file.
	cfg, _, err = load(t, "listen: x\ntenants: [A]\nnode: B\n")
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, p := range cfg.Check() {
		paths = append(paths, p.Path)
	}
	if strings.Join(paths, " ") != "data listen tenants[0] node" {
		t.Errorf("%v", cfg.Check())
	}
}

func TestConfigNotes(t *testing.T) {
	cfg, _, err := load(t, `data: d
listen: 0.0.0.0:80
tenants: [a, b, c]
carriers:
  - {account: x, addr: "smpp.example.com:1", system_id: s}
  - {account: y, addr: "127.0.0.1:1", system_id: s}
routes:
  - {rule: one, carrier: x, countries: [US]}
  - {rule: two, carrier: x, countries: [US], programs: [p]}
programs:
  - {tenant: a, name: p, legal_entity: E, purposes: [otp], countries: [US, CA], senders: [Example]}
  - {tenant: b, name: q, legal_entity: E, purposes: [account, marketing], countries: [US, IT], senders: ["12345"]}
`)
	if err != nil {
		t.Fatal(err)
	}
	if p := cfg.Check(); len(p) > 0 {
		t.Fatal(p)
	}
	all := strings.Join(cfg.Notes(), "\n")
	for _, want := range []string{"plain HTTP", "no API key", "no route uses carrier y", "the connection to carrier x has no TLS", "route two is never used: the earlier route one",
		"tenant a has no default program", "tenant c has no program", "program p of tenant a: some of its countries have no route"} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is not in\n%s", want, all)
		}
	}
	if got := cfg.Unreviewed(func(country string) bool { return country == "US" }); len(got) != 1 || !strings.HasPrefix(got[0], "program q of tenant b: Marketing to IT is denied") {
		t.Errorf("unreviewed: %q", got)
	}
}

// What tenants of a file share is no problem, since a ledger may have it so for long: it is noted.
func TestSharingIsNoted(t *testing.T) {
	text := `data: d
tenants: [a, b, c]
programs:
  - {tenant: b, name: p, legal_entity: "Entity A", purposes: [otp], countries: ["*"], senders: ["12345", Example]}
  - {tenant: a, name: p, legal_entity: "entity  a", purposes: [otp], countries: [US, FR, US], senders: [EXAMPLE, "12345"]}
  - {tenant: a, name: q, legal_entity: Own, purposes: [otp], countries: [NO], senders: [Own]}
  - {tenant: c, name: p, legal_entity: Other, purposes: [otp], countries: [FR], senders: ["12345"]}
`
	for _, c := range []struct {
		owners string
		want   []string
	}{
		{"", []string{"the tenants b, a and c register the same sender ID 12345: ", "the tenants b and a register the same sender ID Example: ", "the tenants b and a register the same legal entity Entity A: "}},
		{"owners: [{tenant: b, senders: [example]}]\n", []string{"sender ID 12345: ", "legal entity Entity A: "}},
	} {
		cfg, _, err := load(t, text+c.owners)
		if err != nil {
			t.Fatal(err)
		}
		notes := slices.DeleteFunc(cfg.Notes(), func(n string) bool { return !strings.Contains(n, "register the same") })
		if len(notes) != len(c.want) {
			t.Fatalf("%q", notes)
		}
		for i, want := range c.want {
			if !strings.Contains(notes[i], want) {
				t.Errorf("%q, want %q", notes[i], want)
			}
		}
		if problems := cfg.Check(); (len(problems) == 0) != (c.owners == "") {
			t.Errorf("%q: %v", c.owners, problems) // what owners grants to b alone, a may not register
		}
		words := WordNotes(cfg.Programs, func(country string) bool { return country == "US" || country == "NO" })
		if len(words) != 3 || !strings.Contains(words[0], "program p of tenant b may reach all countries") || !strings.Contains(words[1], "program p of tenant a may reach FR,") ||
			!strings.Contains(words[2], "program p of tenant c may reach FR,") {
			t.Errorf("%q", words)
		}
	}
}

// What the code fills in for a field that is left out is what its `default` says.
func TestDefaults(t *testing.T) {
	c, problems := Parse([]byte("carriers: [{account: a}]"), nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	for _, v := range []reflect.Value{reflect.ValueOf(*c), reflect.ValueOf(c.Log), reflect.ValueOf(c.Limits), reflect.ValueOf(c.Exports), reflect.ValueOf(c.Carriers[0]),
		reflect.ValueOf(c.Kafka), reflect.ValueOf(c.EventStoreDB)} {
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if want := f.Tag.Get("default"); want != "" && !strings.Contains(want, " ") {
				if got := fmt.Sprint(v.Field(i).Interface()); got != want {
					t.Errorf("%s.%s is %s, and documented as %s", v.Type().Name(), f.Name, got, want)
				}
			}
		}
	}
	// Those of an account are its adapter's.
	carrier := reflect.ValueOf(c.Carriers[0])
	for name, want := range map[string]string{"Window": "64", "ResponseTimeout": "5s", "EnquireLink": "30s", "Alphabet": "gsm7"} {
		if got := fmt.Sprint(carrier.FieldByName(name).Interface()); got != want {
			t.Errorf("%s of a carrier is %s, want %s", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"tenant", "tenants", 1}, {"listne", "listen", 1}, {"abc", "axc", 1}, {"kitten", "sitting", 3}} {
		if d := distance(c.a, c.b); d != c.want {
			t.Errorf("%q to %q is %d, want %d", c.a, c.b, d, c.want)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: [*b"))
	f.Add([]byte("? {a: b}\n: c"))
	f.Add([]byte("tenants: ${ENV:A}"))
	f.Add([]byte("<<: {data: x}"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, problems := Parse(raw, func(string) (string, bool) { return "", false })
		if (c == nil) != (len(problems) > 0) {
			t.Fatal("neither a configuration nor a problem, or both")
		}
		if c == nil {
			return
		}
		if len(c.Check()) == 0 {
			c.Explain(new(bytes.Buffer), "")
			c.Notes()
			for i := range c.Carriers {
				c.Carriers[i].SMPP()
			}
			c.Registrations()
			c.Grants()
			WordNotes(c.Programs, func(string) bool { return false })
		}
	})
}

// TestShares: what the limit of memory is shared among leaves room for the work, down to the least limit.
func TestShares(t *testing.T) {
	for _, size := range []Size{leastMemory, 700_000_000, 4_000_000_000} {
		const partitions = 16
		clerk := (&Config{Limits: Limits{Memory: size}}).Clerk(partitions)
		streams, waiting := clerk.StreamMemory*partitions, int64(clerk.MaxBacklog)*waitingStream*partitions
		kept := size.Folds() + 3*size.Tail() + streams
		if heap := size.HeapLimit(); kept > heap*6/10 || kept+waiting > heap*85/100 || heap < 100_000_000 {
			t.Errorf("%d bytes: %d are kept and %d wait, of a heap of %d", size, kept, waiting, heap)
		}
	}
}

// A password that is longer than the standard allows is used, and told of.
func TestLongPassword(t *testing.T) {
	for length, told := range map[int]bool{8: false, 9: true, 64: true} {
		t.Setenv("LONG", strings.Repeat("p", length))
		c, _, err := load(t, change(t, "${ENV:SPARE}", "${ENV:LONG}"))
		if err != nil || len(c.Check()) > 0 {
			t.Fatal(err, c.Check())
		}
		if got := slices.ContainsFunc(c.Notes(), func(n string) bool {
			return strings.Contains(n, "password of carrier spare") && strings.Contains(n, "at most 8")
		}); got != told || len(c.Carriers[1].SMPP().Password) != length {
			t.Errorf("%d characters: told of it %v", length, got)
		}
	}
}
