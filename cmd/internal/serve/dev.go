package serve

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"net/http"
	_ "net/http/pprof" // on its own listener, with --dev-pprof
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	smpp "github.com/chirograph/chirograph/adapters/smpp/client"
	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/adapters/sqldb"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/cmd/internal/world"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
)

// on its own listener, with --dev-pprof

// DevFlags are for tests and benchmarks of a development node.
type DevFlags struct {
	Smsc            string        `help:"Use the message centre at this address (chirograph simulate smsc) instead of a simulated one of its own." placeholder:"ADDR"`
	Window          int           `help:"How many submits may be unanswered at a time." default:"250"`
	Tps             float64       `help:"How many submits a second are sent at most; 0: no limit." default:"0"`
	Pprof           string        `help:"Serve net/http/pprof on this loopback address." hidden:""`
	Decode          bool          `help:"Decode every event as it is read, instead of handing it on in memory." hidden:""`
	Quiet           bool          `help:"Do not print what the centre receives."`
	Hex             bool          `help:"The centre writes ids in hexadecimal in its responses and in decimal in its receipts."`
	ResponseTimeout time.Duration `help:"How long a submit may be unanswered." default:"5s"`
	CallWindow      time.Duration `help:"How long after a hand-off was proposed the carrier may be called for it." default:"5s"`
}

// Names of the development tenant.
const (
	devTenant  = "dev"
	devCarrier = "simulated"
	devEntity  = "Example Bank Ltd"
)

// dev runs a development node: everything on loopback, keys in the data folder.
func (c *Cmd) dev(ctx context.Context, g *terminal.Globals) error {
	if !config.IsLoopback(c.Listen) {
		return fmt.Errorf("--dev listens on loopback only, not on %s: its key and its simulated carrier are only for trying it out; use --config for everything else", c.Listen)
	}
	started := time.Now()
	l, err := listen(c.Listen)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := assemble.CheckDevelopment(c.Data, devTenant); err != nil {
		return err
	}
	if c.Reset {
		if err := resetData(c.Data); err != nil {
			return err
		}
	}
	d, err := assemble.OpenFolder(assemble.Folder{Dir: c.Data, Create: true, Decode: c.Decode})
	if err != nil {
		return err
	}
	key, err := devKey(filepath.Join(c.Data, "dev-key"))
	if err == nil {
		d.Development = true
		err = d.Begin("dev", true)
	}
	if err == nil {
		err = d.ForDevelopment()
	}
	if err != nil {
		return errors.Join(err, d.Close())
	}
	out := world.NewLines(g.Stdout)
	log := slog.New(slog.NewTextHandler(g.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))

	// The simulated carrier: a message centre behind a real TCP bind.
	addr, control := c.Smsc, ""
	if addr == "" {
		w, err := world.Begin(func(m smsc.Message) {
			if !c.Quiet {
				out.Message(m)
			}
		}, log)
		if err != nil {
			return errors.Join(err, d.Close())
		}
		defer w.End()
		addr, control = w.Addr, w.Control
	}
	carrier := assemble.SMPPAccount(smpp.Config{Account: devCarrier, Addr: addr, SystemID: "dev", Password: "dev", Window: c.Window, TPS: c.Tps, HexIDs: c.Hex,
		ResponseTimeout: c.ResponseTimeout, ReconnectMin: 100 * time.Millisecond, ReconnectMax: 2 * time.Second})
	node, clients, err := assemble.NewNode(d, "dev", nil, []assemble.Account{carrier}, clerk.Config{CallWindow: c.CallWindow, AnswerWithin: 2 * c.ResponseTimeout}, log)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	stopPprof, err := c.pprof()
	if err != nil {
		return errors.Join(err, d.Close())
	}
	defer stopPprof()
	keys, err := assemble.OneKey(key, "dev-key", devTenant)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	r := &assemble.Running{Data: d, Name: "dev", Node: node, Carriers: clients, Listener: l, Keys: keys, Drain: c.Drain, Log: log,
		Exports: assemble.Exports{Node: "dev", Dir: filepath.Join(c.Data, "exports"), Keep: 7 * 24 * time.Hour},
		// A developer's receiver runs on the same machine.
		Webhooks: assemble.Webhooks{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}}}
	r.Started = func(ctx context.Context) error {
		if err := assemble.Apply(ctx, node, d, "dev", &assemble.Wanted{Programs: devPrograms(), Routes: []event.Route{{Rule: "everything", Carrier: devCarrier}}}); err != nil {
			return err
		}
		out.Print(welcome{URL: "http://" + l.Addr().String(), Key: key, Dir: c.Data, Fresh: d.New, Took: time.Since(started), Control: control}.text())
		return nil
	}
	err = r.Run(ctx)
	if ctx.Err() != nil {
		out.Print("Stopped. Everything is in " + c.Data + "; start again to go on.\n")
	}
	return err
}

// pprof serves net/http/pprof, where a benchmark asks for it, until stop.
func (c *Cmd) pprof() (stop func(), err error) {
	if c.Pprof == "" {
		return func() {}, nil
	}
	if !config.IsLoopback(c.Pprof) {
		return nil, errors.New("--dev-pprof takes a loopback address only")
	}
	l, err := net.Listen("tcp", c.Pprof)
	if err != nil {
		return nil, err
	}
	srv := &http.Server{Handler: http.DefaultServeMux, ReadHeaderTimeout: 5 * time.Second}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = srv.Serve(l) }() // until it is closed
	return func() { srv.Close(); <-ended }, nil
}

// devPrograms are one program a purpose, named after it.
func devPrograms() map[string][]*event.ProgramChanged {
	var out []*event.ProgramChanged
	for i, purpose := range slices.Sorted(maps.Keys(control.Purposes)) {
		out = append(out, &event.ProgramChanged{Name: purpose, LegalEntity: devEntity, Brand: "Example Bank", Purposes: []string{purpose},
			Countries: []string{"*"}, Senders: []string{fmt.Sprintf("+1202555%04d", 101+i), "ExampleBank"},
			PrefersDuplicate: purpose == "otp", Default: purpose == "account"})
	}
	return map[string][]*event.ProgramChanged{devTenant: out}
}

// devKey reads the development key, or makes one, readable by its owner alone. A crash leaves the key, or
// none. The caller has the folder's lock.
func devKey(path string) (key string, err error) {
	raw, err := os.ReadFile(path)
	if err == nil {
		if key = strings.TrimSpace(string(raw)); len(key) < 20 && len(raw) > 0 {
			return "", fmt.Errorf("%s contains no API key; delete it to get a new one", path)
		}
		if len(raw) > 0 {
			return key, nil
		}
		err = fs.ErrNotExist // an older version was killed as it made the file
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var b [32]byte
	rand.Read(b[:])
	key = "dev_" + base64.RawURLEncoding.EncodeToString(b[:])
	whole := path + ".new"
	f, err := os.OpenFile(whole, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(key + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(whole, path)
	}
	return key, err
}

// resetData deletes what serve --dev made in a data folder, and nothing else. That --dev made it was checked before.
func resetData(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	lock, err := sqlitelog.Lock(dir)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := os.RemoveAll(filepath.Join(dir, "exports")); err != nil {
		return err
	}
	if err := os.RemoveAll(filepath.Join(dir, "views.db"+sqldb.FoldsSuffix)); err != nil {
		return err
	}
	for _, name := range []string{"ledger.db", "vault.db", "views.db", "webhooks.db", "master.key", "dev-key"} {
		for _, suffix := range []string{"-head", "-head.new", "", "-wal", "-shm", ".new"} {
			if err := os.Remove(filepath.Join(dir, name+suffix)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// welcome is what a person needs to try the node out.
type welcome struct {
	URL, Key, Dir, Control string
	Fresh                  bool
	Took                   time.Duration
}

// text is what a person reads once the node is up.
func (w welcome) text() string {
	var b strings.Builder
	p := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	p("")
	p("Chirograph is up (%.1f s): a development node with a simulated carrier. API docs: %s/docs", w.Took.Seconds(), w.URL)
	p("Data and keys are in %s.", w.Dir)
	if w.Fresh {
		p("A new ledger: its master.key and vault.db are the keys to everything in it. In production, back both up, apart from the ledger.")
	}
	p("Dev API key: %s", w.Key)
	p("")
	p("Paste these one after the other:")
	p("")
	p("1. Send a message. 202 means that it is recorded durably; the answer has its id.")
	p(`   ID=$(curl -s %s/v1/messages -H "Authorization: Bearer %s" -H "Content-Type: application/json" -d '{"to":"+14155550123","body":"Your statement is ready."}' | tee /dev/stderr | sed 's/.*"id":"\([^"]*\)".*/\1/')`, w.URL, w.Key)
	p("")
	p("2. Read its status, with the decision in words. The call answers when the status changes; paste it once more for the next change.")
	p(`   curl -s "%s/v1/messages/$ID?wait=10s" -H "Authorization: Bearer %s"`, w.URL, w.Key)
	p("")
	p("3. The recipient opts out, by phone. Then send again: the answer is still 202, because the message was recorded;")
	p("   the decision refuses it, and is recorded as evidence too. The last line shows it.")
	p(`   curl -s %s/v1/opt-outs -H "Authorization: Bearer %s" -H "Content-Type: application/json" -d '{"number":"+14155550123","scope":"legal_entity","source":"phone","evidence":"Called and asked us to stop."}'`, w.URL, w.Key)
	p(`   ID=$(curl -s %s/v1/messages -H "Authorization: Bearer %s" -H "Content-Type: application/json" -d '{"to":"+14155550123","body":"Your statement is ready."}' | tee /dev/stderr | sed 's/.*"id":"\([^"]*\)".*/\1/')`, w.URL, w.Key)
	p(`   curl -s "%s/v1/messages/$ID?wait=10s" -H "Authorization: Bearer %s"`, w.URL, w.Key)
	p("")
	p("4. The same from a shell, with a handset that answers STOP: the second message is refused, and its decision names the STOP.")
	p(`   bin/chirograph send --wait +14155550199 "Your card was used at Example Shop."`)
	p(`   bin/chirograph simulate inbound%s --from +14155550199 STOP`, w.Control)
	p(`   bin/chirograph send --wait +14155550199 "Your card was used again."`)
	p("")
	p("What the carrier receives is shown below. Ctrl-C stops.")
	p("")
	return b.String()
}
