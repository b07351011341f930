package world

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/cmd/internal/client"
	"github.com/chirograph/chirograph/cmd/internal/config"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// SimulateCmd plays the world around the gateway.
type SimulateCmd struct {
	Smsc    SimulateSmscCmd    `cmd:"" name:"smsc" help:"Run a simulated message centre (SMPP 3.4)."`
	Inbound SimulateInboundCmd `cmd:"" help:"Send a text as a handset of a simulated message centre (that of serve --dev or simulate smsc)."`
}

// defaultControl is where a simulated centre lets its handsets be moved.
const defaultControl = "127.0.0.1:2776"

// SimulateSmscCmd runs a centre by itself. Shares are 0 to 1, each drawn on its own.
type SimulateSmscCmd struct {
	Listen  string `help:"SMPP address, host:port. Port 0 chooses a free port and prints it." default:"127.0.0.1:2775" placeholder:"ADDR"`
	Control string `help:"Loopback address at which it takes texts from simulate inbound; - for none." default:"127.0.0.1:2776" placeholder:"ADDR"`

	Password string `help:"The password that a bind must have. Default: any." placeholder:"TEXT"`
	Seed     uint64 `help:"Seed of the random numbers." default:"0" placeholder:"N"`
	Record   string `help:"Append every PDU, sent and received, to this file, as one line of JSON each." type:"path" placeholder:"FILE"`
	Quiet    bool   `help:"Do not print what is received."`

	ReceiptDelay      time.Duration `help:"How long after a submit its receipt is sent." default:"0s"`
	NoReceipts        float64       `help:"Share of messages that never get a receipt." default:"0" placeholder:"SHARE"`
	EarlyReceipts     float64       `help:"Share of messages whose receipt is sent before submit_sm_resp." default:"0" placeholder:"SHARE"`
	DuplicateReceipts float64       `help:"Share of messages whose receipt is sent twice." default:"0" placeholder:"SHARE"`
	TextReceipts      bool          `help:"Send receipts as text only, without optional parameters (TLVs)."`
	HexIDs            bool          `name:"hex-ids" help:"Write message ids in hexadecimal in submit_sm_resp and in decimal in receipts."`
	MaskedNumbers     bool          `help:"Hide the last four digits of both numbers in a receipt."`
	Undeliverable     float64       `help:"Share of messages whose receipt says UNDELIV." default:"0" placeholder:"SHARE"`
	Reject            float64       `help:"Share of submits refused for good." default:"0" placeholder:"SHARE"`
	Throttle          float64       `help:"Share of submits refused with ESME_RTHROTTLED or ESME_RMSGQFUL." default:"0" placeholder:"SHARE"`
	Silent            float64       `help:"Share of submits that are accepted and never answered." default:"0" placeholder:"SHARE"`
	Drop              float64       `help:"Share of submits at which the connection is cut; half of them are accepted before." default:"0" placeholder:"SHARE"`
	MO                float64       `name:"mo" help:"Share of messages that the recipient answers." default:"0" placeholder:"SHARE"`
	MOText            []string      `name:"mo-text" help:"A text that recipients answer with. The flag may be repeated. Default: STOP, HELP, START and a sentence." sep:"none" placeholder:"TEXT"`
}

// Validate is called by kong before Run.
func (c *SimulateSmscCmd) Validate() error {
	for _, s := range []struct {
		flag  string
		share float64
	}{
		{"no-receipts", c.NoReceipts}, {"early-receipts", c.EarlyReceipts}, {"duplicate-receipts", c.DuplicateReceipts},
		{"undeliverable", c.Undeliverable}, {"reject", c.Reject}, {"throttle", c.Throttle}, {"silent", c.Silent}, {"drop", c.Drop}, {"mo", c.MO},
	} {
		if !(s.share >= 0 && s.share <= 1) {
			return fmt.Errorf("--%s must be a share, from 0 (none) to 1 (all)", s.flag)
		}
	}
	switch {
	case c.ReceiptDelay < 0:
		return errors.New("--receipt-delay must not be negative")
	case len(c.Password) > 8:
		return errors.New("--password must have at most 8 characters (SMPP 3.4 §5.2.2)")
	case c.Control != "-" && !config.IsLoopback(c.Control):
		return errors.New("--control takes a loopback address only: a caller can make any handset answer")
	}
	return nil
}

// Run serves until it is interrupted.
func (c *SimulateSmscCmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	log := slog.New(slog.NewTextHandler(g.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("the centre cannot listen: %w; choose another address with --listen", err)
	}
	defer l.Close()
	cfg := smsc.Config{Password: c.Password, Seed: c.Seed, ReceiptDelay: c.ReceiptDelay, NoReceipts: c.NoReceipts,
		EarlyReceipts: c.EarlyReceipts, DuplicateReceipts: c.DuplicateReceipts, TextReceipts: c.TextReceipts, HexIDs: c.HexIDs,
		MaskedNumbers: c.MaskedNumbers, Undeliverable: c.Undeliverable, Reject: c.Reject, Throttle: c.Throttle, Silent: c.Silent,
		Drop: c.Drop, MO: c.MO, MOTexts: c.MOText, Log: log}
	if c.Record != "" {
		f, err := os.OpenFile(c.Record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("the record cannot be written: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		cfg.Record = f
	}
	out := NewLines(g.Stdout)
	var control *handsets
	if !c.Quiet || c.Control != "-" {
		cfg.OnMessage = func(m smsc.Message) {
			if control != nil {
				control.saw(m)
			}
			if !c.Quiet {
				out.Message(m)
			}
		}
	}
	s := smsc.New(cfg)
	out.Print(fmt.Sprintf("The simulated centre listens on %s (SMPP 3.4).\n", l.Addr()))
	if c.Control != "-" {
		cl, err := net.Listen("tcp", c.Control)
		if err != nil {
			return fmt.Errorf("the control port cannot listen: %w; choose another address with --control", err)
		}
		control = simulateControl(s, log)
		srv := &http.Server{Handler: control, ReadHeaderTimeout: 5 * time.Second}
		served := make(chan struct{})
		go func() {
			defer close(served)
			if err := srv.Serve(cl); !errors.Is(err, http.ErrServerClosed) {
				log.Error("the control port has stopped", "error", err)
			}
		}()
		defer func() { srv.Close(); <-served }()
		at := ""
		if cl.Addr().String() != defaultControl {
			at = " --control " + cl.Addr().String()
		}
		out.Print("Answer as a handset: chirograph simulate inbound" + at + " --from NUMBER STOP\n")
	}
	return s.Serve(ctx, l)
}

// SimulateInboundCmd makes a handset answer.
type SimulateInboundCmd struct {
	Text string `arg:"" help:"What the handset sends, such as STOP."`

	From    string `help:"The handset's number, in E.164." required:"" placeholder:"NUMBER"`
	To      string `help:"The sender ID to which the text goes. Default: the last one that texted this number." placeholder:"SENDER"`
	Control string `help:"The --control address of the simulated message centre." default:"127.0.0.1:2776" placeholder:"ADDR"`
}

// inbound is a text that a handset sends: what the control port takes.
type inbound struct {
	From string `json:"from"`
	To   string `json:"to,omitempty"`
	Text string `json:"text"`
}

// Run posts it to the simulated centre.
func (c *SimulateInboundCmd) Run(g *terminal.Globals) error {
	ctx, stop := terminal.Interruptible()
	defer stop()
	cl := client.At("http://"+c.Control, "")
	raw, err := cl.Do(ctx, client.Call{Method: http.MethodPost, Path: "/inbound", Body: inbound{From: c.From, To: c.To, Text: c.Text}})
	if err != nil {
		var e *terminal.ExitError
		var p *client.Refusal
		if !errors.As(err, &e) && !errors.As(err, &p) {
			err = fmt.Errorf("no simulated centre answers at %s: start `chirograph serve --dev` or `chirograph simulate smsc`, or name its --control address", c.Control)
		}
		return client.Failed(g, err)
	}
	if g.JSON {
		return g.PrintJSON(raw)
	}
	var in inbound
	if err := json.Unmarshal(raw, &in); err != nil {
		return errors.New("the answer is not that of a simulated centre")
	}
	_, err = fmt.Fprintf(g.Stdout, "%s -> %s  %q is on its way.\n", terminal.Plain(in.From), terminal.Plain(in.To), in.Text)
	return err
}

// handsets is the control port of a simulated centre. It takes POST /inbound and
// remembers who texted whom last. It is for loopback: it asks for no key.
type handsets struct {
	s   *smsc.Server
	log *slog.Logger

	mu          sync.Mutex
	last, older map[string]string // number → sender; both at most maxHandsets
}

// maxHandsets bounds what is remembered: the last that many numbers, and up to
// as many before them.
const maxHandsets = 50_000

// simulateControl is the control port of s. Its saw must be told what s receives,
// or an inbound text has to name the sender that it answers.
func simulateControl(s *smsc.Server, log *slog.Logger) *handsets {
	return &handsets{s: s, log: log, last: map[string]string{}}
}

// saw remembers who texted a number last. A name cannot be answered and is not kept.
func (h *handsets) saw(m smsc.Message) {
	to, ok := digits(m.To)
	from, answerable := digits(m.From)
	if !ok || !answerable {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.last) >= maxHandsets {
		h.last, h.older = map[string]string{}, h.last
	}
	h.last[to] = from
}

func (h *handsets) sender(number string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s := h.last[number]; s != "" {
		return s
	}
	return h.older[number]
}

// digits is a number as SMPP writes it, without its plus.
func digits(number string) (string, bool) {
	d := strings.TrimPrefix(number, "+")
	ok := len(d) >= 3 && len(d) <= 20 && strings.Trim(d, "0123456789") == ""
	return d, ok
}

// controlProblem is how the control port says no: a problem (RFC 9457) without a reference.
type controlProblem struct {
	Type    string `json:"type"`
	Title   string `json:"title"`
	Status  int    `json:"status"`
	Detail  string `json:"detail"`
	Pointer string `json:"pointer,omitempty"`
}

// ServeHTTP takes an inbound text.
func (h *handsets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, title, detail, pointer string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(controlProblem{Type: "about:blank", Title: title, Status: status, Detail: detail, Pointer: pointer})
	}
	host := r.Host
	if _, _, err := net.SplitHostPort(host); err != nil {
		host += ":80"
	}
	media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case r.URL.Path != "/inbound":
		refuse(http.StatusNotFound, "There is nothing at this address", "Post to /inbound.", "")
		return
	case r.Method != http.MethodPost:
		w.Header().Set("Allow", http.MethodPost)
		refuse(http.StatusMethodNotAllowed, "The address does not allow this method", "Post to /inbound.", "")
		return
	case !config.IsLoopback(host) || media != "application/json":
		// A web page can send neither from a browser without asking first.
		refuse(http.StatusUnsupportedMediaType, "The body must be JSON, sent to a loopback address", "Send it with Content-Type: application/json.", "")
		return
	}
	var in inbound
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10))
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil || d.Decode(new(any)) != io.EOF {
		refuse(http.StatusBadRequest, "The body cannot be read", `Send {"from": "+14155550123", "to": "+12025550101", "text": "STOP"}; to may be left out.`, "")
		return
	}
	from, ok := digits(in.From)
	if !ok {
		refuse(http.StatusUnprocessableEntity, "The handset's number is not in E.164", "Write a plus sign, the country calling code and the number.", "/from")
		return
	}
	to, ok := digits(in.To)
	if in.To == "" {
		if to = h.sender(from); to == "" {
			refuse(http.StatusNotFound, "No sender to answer", "No number has texted this handset since the centre started; name one with --to.", "/to")
			return
		}
	} else if !ok {
		refuse(http.StatusUnprocessableEntity, "The sender cannot be answered", "A handset answers a number or a short code, not a name.", "/to")
		return
	}
	if in.Text == "" {
		refuse(http.StatusUnprocessableEntity, "The text is empty", "Give a text, such as STOP.", "/text")
		return
	}
	if err := h.s.Inject(from, to, in.Text); err != nil {
		if errors.Is(err, smsc.ErrNoBind) {
			refuse(http.StatusServiceUnavailable, "No client is bound to the centre", "Start the gateway first, and wait until it is bound.", "")
			return
		}
		refuse(http.StatusUnprocessableEntity, "The text cannot be sent", "Shorten it, or write it in valid Unicode.", "/text")
		return
	}
	h.log.Info("an inbound text is on its way")
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	if len(to) > 8 { // no short code
		to = "+" + to
	}
	_ = json.NewEncoder(w).Encode(inbound{From: "+" + from, To: to, Text: in.Text})
}
