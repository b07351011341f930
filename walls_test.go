// Package chirograph_test holds what is true of the whole tree: who may import whom
// (this file), and what the documents say of the code (docs_test.go).
package chirograph_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

const module = "github.com/chirograph/chirograph"

// A room is a folder of the house with everything under it, and what its code may
// import. The standard library is open to all rooms but the pure ones.
type room struct {
	folder string
	// own are the folders of this module that it may import, each with what is under it.
	own []string
	// tests are the folders of this module that its tests may import too.
	tests []string
	// others are the modules that it may import; nil is every one that has no home elsewhere.
	others []string
	// pure: no clock, no I/O and no randomness. The same input gives the same output, for ever.
	pure bool
	// except are imports that a pure room may have all the same.
	except []string
}

// rooms are tried in order; a folder that is in none is a violation.
var rooms = []room{
	// Ids have random bits; nothing else here is drawn.
	{folder: "domain/event", own: []string{}, others: []string{}, pure: true, except: []string{"crypto/rand"}},
	{folder: "domain/recipient", own: []string{"domain/event"}, others: []string{}, pure: true},
	{folder: "domain/sms", own: []string{"domain/event"}, others: []string{"github.com/nyaruka/phonenumbers", "golang.org/x/text"}, pure: true},
	// The number metadata has zones too. The zone database is embedded.
	{folder: "domain/places", own: []string{"domain/event", "domain/sms"}, others: []string{"github.com/nyaruka/phonenumbers"}, pure: true},
	// The lists of words are embedded. Accents come off by the tables of x/text.
	{folder: "domain/words", own: []string{}, others: []string{"golang.org/x/text"}, pure: true},
	{folder: "domain/audit", own: []string{"domain/event", "domain/recipient", "domain/sms"}, others: []string{}, pure: true},
	// The box of one event and its key: a stranger's program opens it with nothing else.
	{folder: "domain/seal", own: []string{"domain/event"}, others: []string{}, pure: true},
	// Trees and checkpoints, once there are any.
	{folder: "domain/proof", own: []string{"domain/event", "domain/recipient", "domain/sms"},
		others: []string{"github.com/transparency-dev/merkle", "golang.org/x/mod"}, pure: true},
	// What a ledger has lost, and the facts that record it again.
	{folder: "domain/recovery", own: []string{"domain/agreement", "domain/control", "domain/event", "domain/ledger", "domain/reading", "domain/recipient"}, others: []string{}, pure: true},
	// Ports, errors, and the one writer of sealed events.
	{folder: "domain/ledger", own: []string{"domain/event", "domain/recipient", "domain/sms"}, others: []string{}},
	// What was observed, appended until it is durable.
	{folder: "domain/facts", own: []string{"domain/event", "domain/ledger"}, others: []string{}},
	{folder: "domain/routing", own: []string{"domain/event"}, others: []string{}, pure: true},
	{folder: "domain/control", own: []string{"domain/event", "domain/ledger", "domain/routing", "domain/sms", "domain/words"}, others: []string{"golang.org/x/text"}, pure: true},
	{folder: "domain/decision", own: []string{"domain/control", "domain/event", "domain/recipient", "domain/sms"}, others: []string{}, pure: true, tests: []string{"domain/places"}},
	{folder: "domain/dispatch", own: []string{"domain/event", "domain/ledger"}, others: []string{}, pure: true},
	{folder: "domain/clerk", own: []string{"domain/control", "domain/decision", "domain/dispatch", "domain/event", "domain/ledger", "domain/places", "domain/receipts", "domain/recipient", "domain/routing", "domain/sms", "domain/words"},
		others: []string{}, pure: true, tests: []string{"domain/audit", "domain/node/nodetest"}},
	{folder: "domain/receipts", own: []string{"domain/control", "domain/event", "domain/ledger", "domain/sms", "domain/words"}, others: []string{}, pure: true},
	{folder: "domain/intake", own: []string{"domain/control", "domain/decision", "domain/event", "domain/ledger", "domain/places", "domain/receipts", "domain/recipient", "domain/sms", "domain/words"}, others: []string{}},
	// Whether ledger, vault and views belong together.
	{folder: "domain/agreement", own: []string{"domain/event", "domain/ledger"}, others: []string{}, pure: true},
	{folder: "domain/reading", own: []string{"domain/control", "domain/decision", "domain/event", "domain/ledger", "domain/recipient", "domain/sms"}, others: []string{}},
	// What changes, told to its tenant in order; and the endpoints that are told.
	{folder: "domain/feed", own: []string{"domain/control", "domain/decision", "domain/event", "domain/ledger", "domain/reading", "domain/recipient"}, others: []string{}, tests: []string{"domain", "projections", "adapters/memlog"}},
	{folder: "domain/notify", own: []string{"domain/event", "domain/feed", "domain/ledger", "domain/reading"}, others: []string{}},
	{folder: "domain/report", own: []string{"domain/decision", "domain/event", "domain/ledger", "domain/reading", "domain/recipient"}, others: []string{}, tests: []string{"domain/places"}},
	{folder: "domain/history", own: []string{"domain/control", "domain/decision", "domain/event", "domain/ledger", "domain/reading", "domain/recipient", "domain/sms"}, others: []string{}, tests: []string{"domain/places", "projections"}},
	{folder: "domain/lists", own: []string{"domain/event", "domain/ledger", "domain/reading", "domain/recipient"}, others: []string{}, tests: []string{"projections/viewtest"}},
	// The file of an export.
	{folder: "domain/export", own: []string{"domain/decision", "domain/event", "domain/ledger", "domain/reading", "domain/recipient", "domain/sms"}, others: []string{}, tests: []string{"domain/places"}},
	// The question, the events that it covers, and the job that makes the file.
	{folder: "domain/exportjobs", own: []string{"domain/decision", "domain/event", "domain/export", "domain/ledger", "domain/reading", "domain/recipient", "domain/sms"}, others: []string{},
		tests: []string{"projections"}},
	// It writes and reads the audit log, and knows the port that it is behind.
	{folder: "domain/witness", own: []string{"domain/event", "domain/exportjobs", "domain/ledger", "domain/reading"}, others: []string{}, tests: []string{"adapters/memlog", "domain/audit"}},
	// A harness that runs whole nodes and verifies what they leave.
	{folder: "domain/node/nodetest", own: []string{"domain"}, others: []string{}},
	// Goroutines, placement, clock and readiness, and no decisions.
	{folder: "domain/rebuild", own: []string{"domain/clerk", "domain/control", "domain/event", "domain/ledger"}, others: []string{}},
	{folder: "domain/node", own: []string{"domain/clerk", "domain/control", "domain/decision", "domain/dispatch", "domain/event", "domain/facts", "domain/intake", "domain/ledger", "domain/places", "domain/receipts", "domain/recipient", "domain/sms", "domain/words"}, others: []string{}, tests: []string{"domain/rebuild"}},
	// A program that writes a Go file of policies.
	{folder: "policies/internal/encoders", own: []string{"domain/decision"}, others: []string{}},
	{folder: "policies", own: []string{"domain/decision"}, others: []string{"github.com/open-policy-agent/opa"}, pure: true,
		// Whole decisions, of messages that meet opt-outs.
		tests: []string{"domain/control", "domain/event", "domain/places", "domain/recipient", "domain/sms"}},
	// A harness for the tests of whatever keeps the views.
	{folder: "projections/viewtest", own: []string{"domain", "projections"}, others: []string{"pgregory.net/rapid"}},
	{folder: "projections", own: []string{"domain"}, others: []string{}, pure: true},
	{folder: "migrations", own: []string{}, others: []string{}, pure: true},
	{folder: "api/door", own: []string{"domain/ledger"}, others: []string{"github.com/labstack/echo", "github.com/prometheus/client_golang"}},
	// What an OpenAPI document says, and a page of it.
	{folder: "api/page", own: []string{"api/door"}},
	{folder: "api/v1", own: []string{"domain", "api/door", "api/page"}},
	{folder: "adapters", own: []string{"domain", "projections", "migrations"}},
	{folder: "cmd/internal/terminal", own: []string{}},
	{folder: "cmd/internal/client", own: []string{"api", "cmd/internal/terminal"}},
	// What the API's answers are made of, and nothing that could open a ledger.
	{folder: "cmd/internal/cli", own: []string{"api", "domain/event", "domain/places", "domain/sms", "domain/recipient", "domain/words", "cmd/internal/client", "cmd/internal/terminal"}},
	// Commands about what is told to others, as cmd/internal/cli.
	{folder: "cmd/internal/told", own: []string{"api", "domain/event", "cmd/internal/client", "cmd/internal/terminal"}},
	{folder: "cmd/internal/config", own: []string{"api/door", "domain", "adapters", "cmd/internal/terminal"}},
	{folder: "cmd/internal/assemble", own: []string{"domain", "projections", "policies", "adapters", "api", "cmd/internal/config"}},
	{folder: "cmd/internal/operate", own: []string{"api/door", "domain", "projections", "policies", "adapters", "cmd/internal/assemble", "cmd/internal/config", "cmd/internal/terminal"}},
	// Copies of a ledger and its keys, and a ledger of such a copy.
	{folder: "cmd/internal/backup", own: []string{"domain/agreement", "domain/control", "domain/event", "domain/ledger", "domain/sms", "adapters/database", "adapters/endpoints", "adapters/sqlitelog", "adapters/vault", "cmd/internal/assemble", "cmd/internal/config", "cmd/internal/operate", "cmd/internal/terminal"},
		tests: []string{"domain", "adapters"}},
	{folder: "cmd/internal/bench", own: []string{"domain", "adapters", "api/door", "cmd/internal/assemble", "cmd/internal/config", "cmd/internal/terminal"}},
	{folder: "cmd/internal/world", own: []string{"adapters/smpp", "cmd/internal/client", "cmd/internal/config", "cmd/internal/terminal"}},
	{folder: "cmd/internal/serve", own: []string{"domain", "adapters", "cmd/internal/assemble", "cmd/internal/config", "cmd/internal/terminal", "cmd/internal/world"}},
	{folder: "cmd/chirograph", own: []string{"cmd/internal/cli", "cmd/internal/told", "cmd/internal/backup", "cmd/internal/operate", "cmd/internal/bench", "cmd/internal/world", "cmd/internal/serve", "cmd/internal/terminal"},
		// They look at what the built binary leaves.
		tests: []string{"domain", "policies", "adapters", "api", "cmd/internal"}},
}

// homes says which folder alone may import a package, with what is under it, so that
// an outside library can be exchanged in one place. It binds tests too, but those of
// the folder tests, which speak to the built binary from outside.
var homes = []struct{ pkg, folder, tests string }{
	{pkg: "github.com/labstack/echo", folder: "api"},
	{pkg: "github.com/open-policy-agent/opa", folder: "policies"},
	{pkg: "github.com/linxGnu/gosmpp", folder: "adapters/smpp", tests: "cmd"},
	{pkg: "database/sql", folder: "adapters", tests: "cmd"},
	{pkg: "modernc.org/sqlite", folder: "adapters"},
	{pkg: "github.com/jackc/pgx", folder: "adapters", tests: "cmd"},
	{pkg: "github.com/pressly/goose", folder: "adapters"},
	{pkg: "github.com/twmb/franz-go", folder: "adapters", tests: "cmd"},
	{pkg: "github.com/EventStore/EventStore-Client-Go", folder: "adapters"},
	{pkg: "github.com/alecthomas/kong", folder: "cmd"},
	{pkg: "github.com/standard-webhooks/standard-webhooks", folder: "adapters/webhook"},
}

// harness are packages for tests alone; a log in memory promises nothing.
var harness = []string{"adapters/eventstorelog/eventstoretest", "adapters/logtest", "adapters/memlog", "adapters/servertest", "adapters/carriertest", "domain/node/nodetest", "projections/viewtest", "cmd/internal/terminal/terminaltest"}

// impure are the packages that have a clock, I/O or chance in them.
var impure = []string{"os", "net", "database/sql", "syscall", "log", "plugin", "path/filepath", "io/ioutil",
	"math/rand", "crypto/rand", "runtime", "unsafe"}

// clocks are the names in package time that read a clock, wait for one, or depend on
// the machine's zones.
var clocks = []string{"Now", "Since", "Until", "After", "AfterFunc", "Tick", "NewTicker", "NewTimer", "Sleep", "Local", "LoadLocation"}

func TestWalls(t *testing.T) {
	found, files, err := walls(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range found {
		t.Error(v)
	}
	if files < 50 {
		t.Errorf("%d files were read; the walls stand around more than that", files)
	}
}

// walls reads every Go file of the module in fsys, whatever its build constraints,
// and says what goes through a wall. files is how many it read.
func walls(fsys fs.FS) (violations []string, files int, err error) {
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p == "." {
				return nil
			}
			if strings.HasPrefix(d.Name(), ".") || strings.HasPrefix(d.Name(), "_") || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "data" {
				return fs.SkipDir
			}
			if _, err := fs.Stat(fsys, path.Join(p, "go.mod")); err == nil {
				return fs.SkipDir // a module of its own
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), p, src, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		violations = append(violations, through(p, file)...)
		return nil
	})
	return violations, files, err
}

// through says what is wrong with one file.
func through(p string, file *ast.File) (violations []string) {
	bad := func(format string, a ...any) {
		violations = append(violations, p+": "+fmt.Sprintf(format, a...))
	}
	folder, test := path.Dir(p), strings.HasSuffix(p, "_test.go")
	if folder == "." {
		if !test {
			bad("the root of the module has tests only")
		}
		return violations
	}
	i := slices.IndexFunc(rooms, func(r room) bool { return under(folder, r.folder) })
	if i < 0 {
		bad("%s is no room of the house; give it one in walls_test.go", folder)
		return violations
	}
	r := rooms[i]
	timeName := ""
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			bad("%v", err)
			continue
		}
		for _, h := range homes {
			if under(imported, h.pkg) && !under(folder, h.folder) && !(test && h.tests != "" && under(folder, h.tests)) {
				bad("imports %s, which belongs in %s", imported, h.folder)
			}
		}
		own, ours := strings.CutPrefix(imported, module+"/")
		std := !strings.Contains(strings.Split(imported, "/")[0], ".")
		switch {
		case ours && under(own, "cmd") && !under(folder, "cmd"):
			bad("imports %s: nothing outside cmd does", own)
		case ours && anyUnder(own, harness):
			if !test && !anyUnder(folder, harness) {
				bad("imports %s, which is for tests", own)
			}
		case ours && neighbours(folder, own):
			bad("imports %s: one adapter never imports another", own)
		case ours && under(own, r.folder):
		case ours && test && anyUnder(own, r.tests):
		case ours && !anyUnder(own, r.own):
			bad("imports %s; %s may import %s", own, r.folder, list(r.own))
		case test:
		case !ours && !std && r.others != nil && !anyUnder(imported, r.others):
			bad("imports %s; of other modules, %s may import %s", imported, r.folder, list(r.others))
		case std && r.pure && anyUnder(imported, impure) && !slices.Contains(r.except, imported):
			bad("imports %s; %s has no clock, no I/O and no chance", imported, r.folder)
		}
		if imported == "time" {
			timeName = "time"
			if spec.Name != nil {
				timeName = spec.Name.Name
			}
		}
	}
	if test || !r.pure || timeName == "" {
		return violations
	}
	if timeName == "." {
		bad("imports time without its name, so that a clock could not be seen")
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == timeName && slices.Contains(clocks, s.Sel.Name) {
				bad("uses time.%s; %s has no clock", s.Sel.Name, r.folder)
			}
		}
		return true
	})
	return violations
}

// under reports whether a path is the folder or lies under it.
func under(p, folder string) bool { return p == folder || strings.HasPrefix(p, folder+"/") }

func anyUnder(p string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return under(p, f) })
}

// shared has what adapters have in common, in a folder each. An adapter may import
// them, and they import no adapter.
const shared = "adapters/internal"

// neighbours reports whether both lie in adapters, not in the same one, and b is not shared.
func neighbours(a, b string) bool {
	return under(a, "adapters") && under(b, "adapters") && adapter(a) != adapter(b) && !under(b, shared)
}

// adapter is the folder of the adapter that p lies in: its first two elements, three in shared.
func adapter(p string) string {
	n := 2
	if under(p, shared) {
		n = 3
	}
	parts := strings.SplitN(p, "/", n+1)
	return strings.Join(parts[:min(n, len(parts))], "/")
}

func list(s []string) string {
	if len(s) == 0 {
		return "none"
	}
	return strings.Join(s, ", ")
}

// TestWallsCatch plants one violation at a time in a tree that exists in memory only.
func TestWallsCatch(t *testing.T) {
	const own = `"` + module + `/`
	tests := []struct {
		name, file, source string
		want               string // part of the violation; empty: none
	}{
		{"the fold reads its own past", "domain/recipient/a.go", `package recipient; import ` + own + `domain/event"`, ""},
		{"events know nobody", "domain/event/a.go", `package event; import ` + own + `domain/sms"`, "may import none"},
		{"ids are drawn", "domain/event/a.go", `package event; import "crypto/rand"`, ""},
		{"the fold draws nothing", "domain/recipient/a.go", `package recipient; import "crypto/rand"`, "no chance"},
		{"the fold reads no clock", "domain/recipient/a.go", `package recipient; import "time"; var _ = time.Now`, "time.Now"},
		{"nor under another name", "domain/recipient/a.go", `package recipient; import t "time"; var _ = t.Since(t.Time{})`, "time.Since"},
		{"nor under none", "domain/recipient/a.go", `package recipient; import . "time"; var _ = Now()`, "without its name"},
		{"a written time is no clock", "domain/recipient/a.go", `package recipient; import "time"; var _ = time.Unix(0, 0)`, ""},
		{"a test may look at the clock", "domain/recipient/a_test.go", `package recipient; import "time"; var _ = time.Now`, ""},
		{"the machine's zones", "domain/sms/a.go", `package sms; import "time"; var _, _ = time.LoadLocation("Europe/Paris")`, "time.LoadLocation"},
		{"files in sms", "domain/sms/a.go", `package sms; import "os"`, "no I/O"},
		{"sockets in proof", "domain/proof/a.go", `package proof; import "net/http"`, "no I/O"},
		{"trees in proof", "domain/proof/a.go", `package proof; import "github.com/transparency-dev/merkle/rfc6962"`, ""},
		{"numbers in sms alone", "domain/ledger/a.go", `package ledger; import "github.com/nyaruka/phonenumbers"`, "of other modules"},
		{"an adapter in the domain", "domain/ledger/a.go", `package ledger; import ` + own + `adapters/sqlitelog"`, "may import domain/event"},
		{"a log in memory for a test", "domain/ledger/a_test.go", `package ledger_test; import ` + own + `adapters/memlog"`, ""},
		{"a log in memory for a user", "cmd/chirograph/a.go", `package main; import ` + own + `adapters/memlog"`, "for tests"},
		{"SQL in the domain", "domain/ledger/a.go", `package ledger; import "database/sql"`, "belongs in adapters"},
		{"SQL in a test of the domain", "domain/ledger/a_test.go", `package ledger; import _ "modernc.org/sqlite"`, "belongs in adapters"},
		{"policies see no events", "policies/a.go", `package policies; import ` + own + `domain/event"`, "may import domain/decision"},
		{"policies see no log", "policies/a.go", `package policies; import "log/slog"`, "no I/O"},
		{"policies have no clock", "policies/a.go", `package policies; import "time"; var _ = time.Now()`, "time.Now"},
		{"OPA elsewhere", "api/v1/a.go", `package v1; import "github.com/open-policy-agent/opa/v1/rego"`, "belongs in policies"},
		{"views from a clock", "projections/a.go", `package projections; import "time"; var _ = time.Now()`, "time.Now"},
		{"views from an adapter", "projections/a.go", `package projections; import ` + own + `adapters/sqldb"`, "may import domain"},
		{"an adapter in the API", "api/v1/a.go", `package v1; import ` + own + `adapters/vault"`, "may import domain"},
		{"the API asks reading, not the views", "api/v1/a.go", `package v1; import ` + own + `projections"`, "may import domain"},
		{"reading knows no projections", "domain/reading/a.go", `package reading; import ` + own + `projections"`, "may import domain/"},
		{"reading knows no face", "domain/reading/a.go", `package reading; import ` + own + `api/v1"`, "may import domain/"},
		{"the writer knows no reader", "domain/ledger/a.go", `package ledger; import ` + own + `domain/reading"`, "may import domain/event"},
		{"the door knows no face", "api/door/a.go", `package door; import ` + own + `api/v1"`, "may import domain/ledger"},
		{"the door knows no numbers", "api/door/a.go", `package door; import ` + own + `domain/sms"`, "may import domain/ledger"},
		{"a face has a folder", "api/a.go", `package api`, "no room"},
		{"the clerk has no clock", "domain/clerk/a.go", `package clerk; import "time"; var _ = time.Now`, "time.Now"},
		{"the clerk runs nothing of the node", "domain/clerk/a.go", `package clerk; import ` + own + `domain/node"`, "may import domain/control"},
		{"the matcher looks nothing up", "domain/receipts/a.go", `package receipts; import ` + own + `domain/node"`, "may import domain/control"},
		{"the matcher waits for nothing", "domain/receipts/a.go", `package receipts; import "time"; var _ = time.After`, "time.After"},
		{"a dispatcher has no timer", "domain/dispatch/a.go", `package dispatch; import "time"; var _ = time.NewTimer`, "time.NewTimer"},
		{"control decides nothing", "domain/control/a.go", `package control; import ` + own + `domain/decision"`, "may import domain/event"},
		{"decisions read no clock", "domain/decision/a.go", `package decision; import "time"; var _ = time.Now`, "time.Now"},
		{"routing is a table", "domain/routing/a.go", `package routing; import ` + own + `domain/ledger"`, "may import domain/event"},
		{"intake knows no node", "domain/intake/a.go", `package intake; import ` + own + `domain/node"`, "may import domain/control"},
		{"the audit does not ask the clerk", "domain/audit/a.go", `package audit; import ` + own + `domain/clerk"`, "may import domain/event"},
		{"echo elsewhere", "cmd/chirograph/a.go", `package main; import "github.com/labstack/echo/v4"`, "belongs in api"},
		{"one adapter imports another", "adapters/sqldb/a.go", `package sqldb; import ` + own + `adapters/vault"`, "never imports another"},
		{"even in a test", "adapters/sqldb/a_test.go", `package sqldb; import ` + own + `adapters/vault"`, "never imports another"},
		{"what adapters share", "adapters/sqldb/a.go", `package sqldb; import ` + own + `adapters/internal/postgres"`, ""},
		{"an adapter in what adapters share", "adapters/internal/postgres/a.go", `package postgres; import ` + own + `adapters/vault"`, "never imports another"},
		{"even in its test", "adapters/internal/postgres/a_test.go", `package postgres; import ` + own + `adapters/leases"`, "never imports another"},
		{"the API in what adapters share", "adapters/internal/postgres/a.go", `package postgres; import ` + own + `api"`, "may import domain"},
		{"the centre is a part of smpp", "adapters/smpp/smsc/a.go", `package smsc; import ` + own + `adapters/smpp/wire"`, ""},
		{"the suite for a test", "adapters/sqlitelog/a_test.go", `package sqlitelog; import ` + own + `adapters/logtest"`, ""},
		{"the API in an adapter", "adapters/vault/a.go", `package vault; import ` + own + `api/v1"`, "may import domain"},
		{"SMPP in another adapter", "adapters/twilio/a.go", `package twilio; import "github.com/linxGnu/gosmpp/pdu"`, "belongs in adapters/smpp"},
		{"SMPP in a command", "cmd/chirograph/a.go", `package main; import "github.com/linxGnu/gosmpp/pdu"`, "belongs in adapters/smpp"},
		{"a test's own message centre", "cmd/chirograph/a_test.go", `package main; import "github.com/linxGnu/gosmpp/pdu"`, ""},
		{"OPA in a command's test", "cmd/chirograph/a_test.go", `package main; import "github.com/open-policy-agent/opa/v1/rego"`, "belongs in policies"},
		{"webhooks are signed in their adapter", "adapters/webhook/a.go", `package webhook; import "github.com/standard-webhooks/standard-webhooks/libraries/go"`, ""},
		{"webhooks are signed nowhere else", "api/v1/a.go", `package v1; import "github.com/standard-webhooks/standard-webhooks/libraries/go"`, "belongs in adapters/webhook"},
		{"a new adapter", "adapters/kafkalog/a.go", `package kafkalog; import "github.com/twmb/franz-go/pkg/kgo"`, ""},
		{"cmd in anything", "api/v1/a.go", `package v1; import ` + own + `cmd/chirograph"`, "nothing outside cmd does"},
		{"a part of cmd in anything", "adapters/smpp/a.go", `package smpp; import ` + own + `cmd/internal/config"`, "nothing outside cmd does"},
		{"main has flags", "cmd/chirograph/a.go", `package main; import ` + own + `cmd/internal/cli"`, ""},
		{"main opens nothing", "cmd/chirograph/a.go", `package main; import ` + own + `cmd/internal/assemble"`, "may import cmd/internal/cli"},
		{"a test of the binary opens what it left", "cmd/chirograph/a_test.go", `package main; import ` + own + `cmd/internal/assemble"`, ""},
		{"the command line opens no ledger", "cmd/internal/cli/a.go", `package cli; import ` + own + `cmd/internal/assemble"`, "may import api"},
		{"nor a log", "cmd/internal/cli/a.go", `package cli; import ` + own + `adapters/sqlitelog"`, "may import api"},
		{"nor the domain's inside", "cmd/internal/cli/a.go", `package cli; import ` + own + `domain/ledger"`, "may import api"},
		{"the command line reads statuses", "cmd/internal/cli/a.go", `package cli; import ` + own + `domain/recipient"`, ""},
		{"an operator opens a ledger", "cmd/internal/operate/a.go", `package operate; import ` + own + `cmd/internal/assemble"`, ""},
		{"assembling knows no command", "cmd/internal/assemble/a.go", `package assemble; import ` + own + `cmd/internal/operate"`, "may import domain"},
		{"a file assembles nothing", "cmd/internal/config/a.go", `package config; import ` + own + `cmd/internal/assemble"`, "may import api/door"},
		{"nothing imports main", "cmd/internal/serve/a.go", `package serve; import ` + own + `cmd/chirograph"`, "may import domain"},
		{"a harness for the command line's tests", "cmd/internal/cli/a.go", `package cli; import ` + own + `cmd/internal/terminal/terminaltest"`, "for tests"},
		{"flags are parsed in cmd", "cmd/internal/terminal/terminaltest/a.go", `package terminaltest; import "github.com/alecthomas/kong"`, ""},
		{"and nowhere else", "api/v1/a.go", `package v1; import "github.com/alecthomas/kong"`, "belongs in cmd"},
		{"a new folder of cmd", "cmd/internal/util/a.go", `package util`, "no room"},
		{"whatever the build", "domain/sms/a.go", "//go:build plan9\n\npackage sms\nimport \"os\"", "no I/O"},
		{"a new room", "util/a.go", `package util`, "no room"},
		{"code at the root", "a.go", `package chirograph`, "tests only"},
		{"another module's", "tools/a.go", `package tools; import "os"`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			found, files, err := walls(fstest.MapFS{
				tt.file:                {Data: []byte(tt.source)},
				"tools/go.mod":         {},
				"domain/event/ok.go":   {Data: []byte("package event")},
				"adapters/smpp/doc.go": {Data: []byte("package smpp")},
			})
			if err != nil {
				t.Fatal(err)
			}
			if files < 2 {
				t.Fatalf("%d files were read", files)
			}
			got := strings.Join(found, "\n")
			if tt.want == "" && got != "" || tt.want != "" && (len(found) != 1 || !strings.Contains(got, tt.want)) {
				t.Errorf("found %q, want one with %q", got, tt.want)
			}
		})
	}
}
